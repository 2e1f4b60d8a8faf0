"""The contact sheet: what is drawn."""

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tokenlens.errors import BadInput
from tokenlens.figures.output.formats import image as file_of
from tokenlens.figures.parts.patch_painter import Panel, paint
from tokenlens.figures.parts.sheet import GAP, PIXELS, cell_size, contact_sheet

GRID, SIZE = (2, 3), (32, 48)  # patches of 16 x 16
INSIDE = np.s_[3:13, 3:13]  # of a patch, clear of the lines


def blocks(image: np.ndarray) -> np.ndarray:
    """Cut a (32, 48, 3) cell into (6, 16, 16, 3) patches."""
    return image.reshape(2, 16, 3, 16, 3).swapaxes(1, 2).reshape(6, 16, 16, 3)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (*SIZE, 3), dtype=np.uint8)


def flags(*kept: int) -> np.ndarray:
    return np.isin(np.arange(6), kept)


def test_kept_patches_are_the_image_and_dropped_ones_dark_and_grey(image: np.ndarray) -> None:
    cell = blocks(paint(image, flags(0, 4), np.where(flags(0, 4), 0, -1), False, GRID))
    for patch in range(6):
        seen, real = cell[patch][INSIDE], blocks(image)[patch][INSIDE]
        if patch in (0, 4):
            assert (seen == real).all()
        else:
            assert np.ptp(seen, axis=-1).max() == 0 and seen.mean() < 0.6 * real.mean()


def test_a_line_runs_between_kept_and_dropped_and_nowhere_else(image: np.ndarray) -> None:
    every = paint(image, flags(*range(6)), np.arange(6), False, GRID)
    assert (every == image).all()
    half = paint(image, flags(0, 3), np.array([0, -1, -1, 1, -1, -1]), False, GRID)
    assert (half[:, 15].min(axis=-1) > 200).all() and half[:, 31].max() < 150
    assert (half[:, :15] == image[:, :15]).all()


def test_fused_patches_are_dark_and_tinted(image: np.ndarray) -> None:
    group = np.array([0, 1, 1, 1, 1, -1])
    cell = blocks(paint(image, flags(0), group, False, GRID))
    fused, dropped = (cell[p][INSIDE].reshape(-1, 3).mean(0) for p in (2, 5))
    assert fused[2] > 1.3 * fused[1] and np.ptp(dropped) < 1e-9 and fused.mean() < 100


def test_groups_take_their_mean_colour_and_single_patches_stay(image: np.ndarray) -> None:
    group = np.array([0, 0, 1, 2, 0, 1])
    kept = flags()  # a patch alone in its group may be marked as kept or not
    cell, real = blocks(paint(image, kept, group, True, GRID)), blocks(image).astype(float)
    assert (cell[3][INSIDE] == real[3][INSIDE]).all()
    mean = real[[0, 1, 4]].mean((0, 1, 2))
    assert np.abs(cell[0][INSIDE] - mean).mean() < 0.4 * np.abs(real[0][INSIDE] - mean).mean()


def test_a_patch_that_stands_for_its_group_shows_the_image(image: np.ndarray) -> None:
    group = np.zeros(6, int)
    cell = blocks(paint(image, flags(1), group, True, GRID))
    assert (cell[1] == blocks(image)[1]).all() and (cell[0] != blocks(image)[0]).any()


def test_a_line_surrounds_each_group_and_not_its_patches(image: np.ndarray) -> None:
    cell = paint(image, flags(), np.array([0, 0, 1, 0, 0, 1]), True, GRID)
    assert (cell[:, 31].min(axis=-1) > 190).all()
    assert (np.delete(cell, 31, axis=1).max(axis=-1) < 200).all()


def test_labels_of_groups_do_not_matter(image: np.ndarray) -> None:
    group = np.array([0, 0, 1, 2, 1, 2])
    first = paint(image, flags(), group, True, GRID)
    assert (first == paint(image, flags(), np.array([7, 3, 5])[group], True, GRID)).all()
    assert (first != paint(image, flags(), np.array([0, 1, 1, 2, 0, 2]), True, GRID)).any()


def panel(title: str, count: int = 2, grid: tuple[int, int] = GRID, merges: bool = False) -> Panel:
    patches = grid[0] * grid[1]
    kept = np.random.default_rng(1).random((count, patches)) < 0.5
    return Panel(title, kept, np.where(kept, kept.cumsum(1) - 1, -1), merges, grid)


def test_the_sheet_has_a_row_an_image_and_a_column_a_method(image: np.ndarray) -> None:
    panels = [panel("Top-K\nkeep 0.5"), panel("A longer method\nkeep 0.5", merges=True)]
    figure = contact_sheet([image, image[::-1]], panels, "a note in $ and 画")
    cells = [np.asarray(cell.get_array()) for cell in figure.images]
    assert len(cells) == 2 * 3 and len({cell.shape for cell in cells}) == 1
    words = [text.get_text() for text in figure.texts]
    assert words[:4] == ["image", "Top-K", "keep 0.5", "A longer method"]
    drawn = np.asarray(Image.open(BytesIO(file_of(figure, "png", "iccv"))).convert("RGB"))
    height, width = cells[0].shape[:2]
    assert max(text.get_window_extent().width for text in figure.texts[:5]) <= width + GAP
    for number, cell in enumerate(cells):  # pixel by pixel: nothing is resampled on the way to the file
        left, bottom = figure.images[number].ox, figure.images[number].oy
        top = drawn.shape[0] - int(bottom) - height
        assert (drawn[top : top + height, int(left) : int(left) + width] == cell).all()


@pytest.mark.parametrize(("shape", "grid"), [((224, 224), (14, 14)), ((256, 128), (16, 8)), ((112, 112), (7, 7))])
@pytest.mark.parametrize("columns", [2, 16, 60])
def test_patches_are_whole_pixels_in_the_images_proportions(
    shape: tuple[int, int], grid: tuple[int, int], columns: int
) -> None:
    height, width = cell_size(shape, grid, 4, columns)
    assert height % grid[0] == width % grid[1] == 0 and height * shape[1] == width * shape[0]
    assert 4 * columns * height * width < 1.3 * PIXELS or max(height, width) <= 118


def test_one_long_name_is_shortened_and_leaves_the_others_their_size(image: np.ndarray) -> None:
    titles = ["Top-K\nkeep 0.5", "a-very-long-name-of-a-method-that-goes-on-and-on\nkeep 0.5"]
    panels = [Panel(title, flags(0)[None], np.zeros((1, 6), int), False, GRID) for title in titles]
    figure, alone = (contact_sheet([image], some) for some in (panels, panels[:1]))
    width = cell_size(image.shape, GRID, 1, 3)[1]
    texts = {text.get_text(): text for text in figure.texts}
    (long,) = [text for name, text in texts.items() if "…" in name]
    assert long.get_text().startswith("a-ve") and long.get_text().endswith("on")
    assert long.get_window_extent().width <= width + 2 * GAP
    assert texts["Top-K"].get_size() >= 0.65 * 0.13 * width * 72 / 100 and len(alone.texts) == 3


def test_arrays_that_do_not_fit_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"kept of 'Top-K' has the shape \(2, 6\), and 1 images on a grid of 2 x 3"):
        contact_sheet([image], [panel("Top-K\nkeep 0.5")])


def test_importing_the_figures_imports_neither_torch_nor_for_help_matplotlib() -> None:
    code = (
        "import sys, tokenlens.commands.figures; assert not {'matplotlib', 'xarray', 'numpy'} & set(sys.modules);"
        "import tokenlens.figures.plots; assert not {'torch', 'tokenlens.analysis.compare'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sheet_is_no_larger_than_a_picture_can_be() -> None:
    with pytest.raises(BadInput, match=r"700 images of 0 runs make a sheet of \d+ x \d+ pixels, and 65535 are"):
        contact_sheet([np.zeros((8, 8, 3), np.uint8)] * 700, [])


def test_what_lies_outside_an_image_is_left_as_it_is(image: np.ndarray) -> None:
    valid = flags(0, 1, 3)[None]
    panel = Panel("", flags(0)[None], np.where(flags(0), 0, -1)[None], False, GRID, valid)
    cell, real = blocks(panel.painted(0, image)), blocks(image)
    assert (cell[[2, 4, 5]] == real[[2, 4, 5]]).all() and (cell[1] != real[1]).any()
