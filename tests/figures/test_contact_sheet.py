"""The contact sheet: what is drawn, from which runs, and the images as the model saw them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tokenlens.errors import BadInput
from tokenlens.figures.contact_sheet import GAP, PIXELS, Panel, cell_size, contact_sheet, paint
from tokenlens.figures.runs import as_seen, choose_images, choose_runs, read_panel, read_pictures
from tokenlens.figures.sheets import draw_contact_sheets

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


@pytest.mark.parametrize("family", ["pruning", "radial", "random"])
def test_kept_patches_are_the_image_and_dropped_ones_dark_and_grey(image: np.ndarray, family: str) -> None:
    cell = blocks(paint(image, flags(0, 4), np.where(flags(0, 4), 0, -1), family, GRID))
    for patch in range(6):
        seen, real = cell[patch][INSIDE], blocks(image)[patch][INSIDE]
        if patch in (0, 4):
            assert (seen == real).all()
        else:
            assert np.ptp(seen, axis=-1).max() == 0 and seen.mean() < 0.6 * real.mean()


def test_a_line_runs_between_kept_and_dropped_and_nowhere_else(image: np.ndarray) -> None:
    every = paint(image, flags(*range(6)), np.arange(6), "pruning", GRID)
    assert (every == image).all()
    half = paint(image, flags(0, 3), np.array([0, -1, -1, 1, -1, -1]), "pruning", GRID)
    assert (half[:, 15].min(axis=-1) > 200).all() and half[:, 31].max() < 150
    assert (half[:, :15] == image[:, :15]).all()


def test_fused_patches_are_dark_and_tinted(image: np.ndarray) -> None:
    group = np.array([0, 1, 1, 1, 1, -1])
    cell = blocks(paint(image, flags(0), group, "pruning", GRID))
    fused, dropped = (cell[p][INSIDE].reshape(-1, 3).mean(0) for p in (2, 5))
    assert fused[2] > 1.3 * fused[1] and np.ptp(dropped) < 1e-9 and fused.mean() < 100


@pytest.mark.parametrize("family", ["merging", "soft"])
def test_groups_take_their_mean_colour_and_single_patches_stay(image: np.ndarray, family: str) -> None:
    group = np.array([0, 0, 1, 2, 0, 1])
    kept = flags()  # a patch alone in its group may be marked as kept or not
    cell, real = blocks(paint(image, kept, group, family, GRID)), blocks(image).astype(float)
    assert (cell[3][INSIDE] == real[3][INSIDE]).all()
    mean = real[[0, 1, 4]].mean((0, 1, 2))
    assert np.abs(cell[0][INSIDE] - mean).mean() < 0.4 * np.abs(real[0][INSIDE] - mean).mean()


def test_a_patch_that_stands_for_its_group_shows_the_image(image: np.ndarray) -> None:
    group = np.zeros(6, int)
    cell = blocks(paint(image, flags(1), group, "merging", GRID))
    assert (cell[1] == blocks(image)[1]).all() and (cell[0] != blocks(image)[0]).any()


def test_a_line_surrounds_each_group_and_not_its_patches(image: np.ndarray) -> None:
    cell = paint(image, flags(), np.array([0, 0, 1, 0, 0, 1]), "merging", GRID)
    assert (cell[:, 31].min(axis=-1) > 190).all()
    assert (np.delete(cell, 31, axis=1).max(axis=-1) < 200).all()


def test_labels_of_groups_do_not_matter(image: np.ndarray) -> None:
    group = np.array([0, 0, 1, 2, 1, 2])
    first = paint(image, flags(), group, "merging", GRID)
    assert (first == paint(image, flags(), np.array([7, 3, 5])[group], "merging", GRID)).all()
    assert (first != paint(image, flags(), np.array([0, 1, 1, 2, 0, 2]), "merging", GRID)).any()


def panel(title: str, count: int = 2, grid: tuple[int, int] = GRID, family: str = "pruning") -> Panel:
    patches = grid[0] * grid[1]
    kept = np.random.default_rng(1).random((count, patches)) < 0.5
    return Panel(title, kept, np.where(kept, kept.cumsum(1) - 1, -1), family, grid)


def test_the_sheet_has_a_row_an_image_and_a_column_a_method(image: np.ndarray, tmp_path: Path) -> None:
    panels = [panel("Top-K\nkeep 0.5"), panel("A method with quite a long name\nkeep 0.5", family="merging")]
    figure = contact_sheet([image, image[::-1]], panels, tmp_path / "sheet.png", "a note in $ and 画")
    cells = [np.asarray(cell.get_array()) for cell in figure.images]
    assert len(cells) == 2 * 3 and len({cell.shape for cell in cells}) == 1
    words = [text.get_text() for text in figure.texts]
    assert words[:4] == ["image", "Top-K", "keep 0.5", "A method with quite a long name"]
    with Image.open(tmp_path / "sheet.png") as written:
        drawn = np.asarray(written.convert("RGB"))
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


def test_arrays_that_do_not_fit_are_refused(image: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kept of 'Top-K' has the shape \(2, 6\), and 1 images on a grid of 2 x 3"):
        contact_sheet([image], [panel("Top-K\nkeep 0.5")], tmp_path / "sheet.png")


def run(method: str, rate: Any = 0.5, ids: str = "abcde", stages: tuple[int, ...] = (3, 6), **attrs: Any) -> xr.Dataset:
    rng = np.random.default_rng(len(method))
    kept = rng.random((len(ids), len(stages), 6)) < 0.5
    known = {
        "run": f"{method}-{rate}-{attrs.get('seed', 0)}", "dataset": "folder:/photos", "split": "val", "model": "tiny",
        "method": method, "family": "pruning", "keep_rate": rate, "grid": [2, 3], "input_size": [32, 48],
        "crop_pct": 0.9, "written": len(ids), "complete": True, "seed": 0,
    }  # fmt: skip
    dims = ("image", "stage", "patch")
    return xr.Dataset(
        {"kept": (dims, kept), "group": (dims, np.where(kept, 0, -1).astype(np.int16))},
        {"image": list(ids), "stage": list(stages), "patch": np.arange(6)},
        {**known, **attrs},
    )


def methods(sheets: list[Any]) -> list[list[str]]:
    return [[run.attrs["method"] for run in sheet.runs] for sheet in sheets]


def test_columns_come_in_the_order_of_the_studies() -> None:
    names = ["random", "mine", "linf", "atc-single", "atc", "tome", "evit", "topk"]
    order = [["topk", "evit", "tome", "atc", "atc-single", "linf", "random", "mine"]]
    assert methods(choose_runs([run(name) for name in names])) == order


def test_the_keep_rate_is_the_usual_one_or_the_most_frequent_or_the_one_asked_for() -> None:
    runs = [run("topk", 0.5), run("tome", 0.25), run("evit", 0.25), run("tome", [0.5, 0.3])]
    assert methods(choose_runs(runs)) == [["topk"]]
    assert methods(choose_runs(runs[1:])) == [["evit", "tome"]]
    assert methods(choose_runs(runs, keep_rate=0.25)) == [["evit", "tome"]]
    with pytest.raises(BadInput, match=r"no run has the keep rate 0\.7; the runs have 0\.25, 0\.5, 0\.5, 0\.3"):
        choose_runs(runs, keep_rate=0.7)


def test_of_several_runs_of_a_method_the_complete_one_is_shown() -> None:
    runs = [run("topk", complete=False), run("topk", seed=2), run("topk", seed=1), run("none", family="none")]
    (sheet,) = choose_runs(runs)
    assert [r.attrs["seed"] for r in sheet.runs] == [1] and sheet.left_out == ("topk-0.5-2", "topk-0.5-0")


def test_each_model_and_data_set_has_its_sheet() -> None:
    runs = [run("topk"), run("topk", model="base"), run("evit", dataset="embedded:shapes"), run("topk", split="train")]
    sheets = choose_runs(runs)
    assert [(s.dataset, s.split, s.model) for s in sheets] == [
        ("embedded:shapes", "val", "tiny"), ("folder:/photos", "train", "tiny"),
        ("folder:/photos", "val", "base"), ("folder:/photos", "val", "tiny"),
    ]  # fmt: skip
    assert sheets[0].name == "contact-sheet-embedded-shapes-tiny"


def test_conditions_on_runs() -> None:
    runs = [run("topk"), run("tome"), run("evit")]
    for conditions in (["method=topk", "method=evit", "keep_rate=0.5"], ["method=topk|evit,keep_rate=0.50"]):
        assert methods(choose_runs(runs, conditions)) == [["topk", "evit"]]
    for condition, message in {
        "method": "write KEY=VALUE",
        "colour=red": "no run attribute called 'colour'",
        "method=ats": "none of the 3 runs has method=ats",
    }.items():
        with pytest.raises(BadInput, match=message):
            choose_runs(runs, [condition])


def test_no_runs_and_no_such_stage_are_refused() -> None:
    with pytest.raises(BadInput, match="there are no runs"):
        choose_runs([])
    with pytest.raises(BadInput, match="no run has a stage at block 9; the blocks are 3, 6"):
        choose_runs([run("topk")], stage=9)


def test_images_are_those_that_all_runs_have() -> None:
    runs = [run("topk", ids="abcdef", written=5), run("tome", ids="fedcb")]
    assert choose_images(runs, 99) == ["b", "c", "d", "e"] and choose_images(runs, 2) == ["b", "d"]
    with pytest.raises(BadInput, match="no image in common"):
        choose_images([runs[0], run("evit", ids="xyz")], 2)


def test_a_panel_is_read_by_image_id_and_block() -> None:
    source = run("topk")
    column = read_panel(source, ["d", "b"], None)
    assert (column.kept == source["kept"].values[[3, 1], 1]).all() and column.title == "Top-K\nkeep 0.5"
    assert (read_panel(source, ["d"], 3).group == source["group"].values[[3], 0]).all()


@pytest.mark.parametrize("size", [(224, 224), (32, 48)])
@pytest.mark.parametrize("shape", [(301, 233), (100, 257), (224, 224)])
def test_images_are_as_timms_evaluation_shows_them(size: tuple[int, int], shape: tuple[int, int]) -> None:
    transforms = pytest.importorskip("timm.data.transforms_factory")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    timm = transforms.transforms_imagenet_eval(size, crop_pct=0.9, interpolation="bicubic", normalize=False)
    assert (as_seen(image, size, 0.9) == np.moveaxis(np.asarray(timm(image)), 0, 2)).all()


def photos(folder: Path) -> str:
    for i, name in enumerate("abcde"):
        Image.new("RGB", (60, 50), (40 * i, 90, 90)).save(folder / f"{name}.png")
    return f"folder:{folder}"


def test_runs_become_files(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    ids = [f"{name}.png" for name in "abcde"]
    where = photos(tmp_path / "photos")
    runs = [run(m, dataset=where, split=s).assign_coords(image=ids) for m in ("topk", "tome") for s in ("val", "test")]
    files = [path for path, _ in draw_contact_sheets(runs, tmp_path / "out", images=3)]
    stem = "contact-sheet-folder-photos-tiny"
    assert [file.name for file in files] == [f"{stem}.png", f"{stem}-2.png"] and all(map(Path.is_file, files))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    source = run("topk", dataset=photos(tmp_path / "photos")).assign_coords(image=[f"{name}.png" for name in "abcde"])
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"below cannot be written .*choose another folder"):
        list(draw_contact_sheets([source], tmp_path / "file" / "below"))
    (tmp_path / "out" / "contact-sheet-folder-photos-tiny.png").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"out cannot be written .*choose another folder"):
        list(draw_contact_sheets([source], tmp_path / "out"))


def test_images_that_are_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"1 of 2 images of topk-0\.5-0 are no longer in folder:.* \(z\.png, \.\.\.\)"):
        read_pictures(run("topk", dataset=photos(tmp_path)), ["a.png", "z.png"])


def test_importing_the_figures_imports_neither_torch_nor_for_help_matplotlib() -> None:
    code = (
        "import sys, tokenlens.figures.cli; assert not {'matplotlib', 'xarray', 'numpy'} & set(sys.modules);"
        "import tokenlens.figures.sheets; assert not {'torch', 'tokenlens.analysis'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
