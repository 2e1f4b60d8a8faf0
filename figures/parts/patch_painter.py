"""What each method keeps and what it merges: a row is an image, a column a method.

The first column is the image as the model sees it. Kept patches are bright; dropped ones are dark and grey, with a
white line around what is kept; patches that were dropped into one fused token are dark and violet. Patches that were
merged are filled with the mean colour of their group, which a line surrounds; patches that are alone in their
group, and those that stand for their group, show the image.

Shapes: H, W pixels of an image; P patches, row-major on the grid; h, w pixels of a cell of the sheet.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from tokenlens.errors import BadInput

from ..theme.style import Drawing, shortened

Picture = NDArray[np.uint8]

FILL = 0.72  # how much of a merged patch is its group's mean colour
LINE, BRIGHT = 0.8, 205.0  # how much of a line is white; above this brightness, a line between groups is dark
DIM, FLOOR = 0.3, 22.0  # dropped patches: share of the brightness that stays, and what is added (0 to 255)
FUSED = np.array([1.1, 0.88, 1.55])  # how a fused patch differs from a dropped one, by channel
PIXELS = 1_000_000  # of all cells: keeps a sheet of photographs below about 1.5 MB
SMALLEST, LARGEST = 112, 224  # pixels of a cell's longer side, about
LUMA = np.array([0.299, 0.587, 0.114])
GAP, DPI = 3, 100
MOST = 2**16 - 1  # pixels a side that matplotlib can draw
LEAST = 0.7  # of a title's size, to which long titles may shrink all of them
SOURCE = "image"  # title of the first column


@dataclass(frozen=True)
class Panel:
    """One column: what one method did to each image at one stage.

    `kept` is (image, patch) bool; `group` is (image, patch) int, below 0 for a dropped or waiting patch; `grid` is
    (rows, columns); the title's first line is set in bold, further ones small. `valid` is (image, patch) bool, the
    places that each image has, where grids are ragged.
    """

    title: str
    kept: NDArray[np.bool_]
    group: NDArray[np.integer]
    merges: bool
    grid: tuple[int, int]
    valid: NDArray[np.bool_] | None = None

    def painted(self, row: int, image: Picture, outline: NDArray[np.floating] | None = None) -> Picture:
        """One of the images, as `paint` draws it, and what lies outside of it left as it is."""
        drawn = paint(image, self.kept[row], self.group[row], self.merges, self.grid, outline)
        if self.valid is None:
            return drawn
        return np.where(self.valid[row][_patch_of_pixel(image.shape[:2], self.grid)][..., None], drawn, image)


def contact_sheet(
    images: Sequence[Picture], panels: Sequence[Panel], path: str | Path | IO[bytes], note: str = ""
) -> Figure:
    """Draw a contact sheet and write it as PNG.

    Args:
        images: one (H, W, 3) uint8 array a row, all of one size.
        panels: one a column; their first axis is that of `images`.
        path: the PNG file, whose folder must exist, or an open file.
        note: a small line below the sheet.

    Returns:
        The figure; its `images` are the cells in reading order, its `texts` the titles and the note.

    Raises:
        ValueError: a panel whose arrays do not fit its grid or the images.
        BadInput: a sheet with more pixels a side than a picture can have.
    """
    for panel in panels:
        _check(panel, len(images))
    height, width = cell_size(images[0].shape, panels[0].grid if panels else (1, 1), len(images), len(panels) + 1)
    titles = [SOURCE, *(panel.title for panel in panels)]
    title_px = round(0.17 * width) + round(0.12 * width) * max(title.count("\n") for title in titles) + 4
    note_px = round(0.14 * width) if note else 0
    full_w = (width + GAP) * len(titles) + GAP
    full_h = (height + GAP) * len(images) + title_px + note_px + GAP
    if max(full_w, full_h) > MOST:
        raise BadInput(
            f"{len(images)} images of {len(panels)} runs make a sheet of {full_w} x {full_h} pixels, and {MOST} are "
            "the most a side; give fewer --images, or fewer runs with --where"
        )
    figure = Drawing(figsize=(full_w / DPI, full_h / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)  # no window, no global state
    for i, image in enumerate(images):
        source = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
        cells = [source, *(panel.painted(i, source) for panel in panels)]
        bottom = full_h - title_px - (height + GAP) * (i + 1)
        for column, cell in enumerate(cells):
            figure.figimage(cell, GAP + column * (width + GAP), bottom, origin="upper")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a folder's name may be in any script
        _write_titles(figure, titles, width, full_h - title_px)
        if note:
            _fit([_write(figure, GAP, 0.03 * width, note, 0.09 * width, color="0.4", ha="left")], full_w - 2 * GAP)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return figure


def cell_size(shape: tuple[int, ...], grid: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
    """Return (h, w) of a cell: whole pixels a patch, in the image's proportions, few enough for a small file."""
    side = min(LARGEST, max(SMALLEST, (PIXELS / (rows * columns)) ** 0.5))
    scale = side / max(shape[:2])
    patch_h = max(3, int(shape[0] * scale / grid[0] + 0.5))
    patch_w = max(3, int(shape[1] * scale / grid[1] + 0.5))
    return patch_h * grid[0], patch_w * grid[1]


def paint(
    image: Picture, kept: NDArray[np.bool_], group: NDArray[np.integer], merges: bool, grid: tuple[int, int],
    outline: NDArray[np.floating] | None = None,
) -> Picture:  # fmt: skip
    """Draw on one image what became of its patches.

    Args:
        image: (h, w, 3) uint8.
        kept: (P,) bool, patches that still stand for themselves.
        group: (P,) int, which token a patch is in; -1 where it was dropped.
        merges: whether groups are drawn, or else what is kept.
        grid: (rows, columns) of the patches.
        outline: (P, 3), 0 to 255: the colour of a line around each patch's group of several, inside of it; fused
            patches are hatched then, which tells them from dropped ones in grey print too. None: white lines.

    Returns:
        (h, w, 3) uint8.
    """
    pixels = image.astype(np.float64)
    place = _patch_of_pixel(image.shape[:2], grid)
    if merges:
        size = np.bincount(group[group >= 0], minlength=1)
        filled = (group >= 0) & ~kept & (size[group.clip(0)] > 1)
        drawn = np.where(filled[place][..., None], _fill(pixels, group[place]), pixels)
        gone = group < 0
        line = _border(group[place])
    else:
        drawn = pixels
        gone = ~kept
        line = _border(kept[place])
    dark = DIM * pixels @ LUMA + FLOOR
    shade = np.where((gone & (group >= 0))[place][..., None], dark[..., None] * FUSED, dark[..., None])
    drawn = np.where(gone[place][..., None], shade, drawn)
    if outline is not None:
        drawn = _hatch(drawn, (gone & (group >= 0))[place], len(pixels) // grid[0])
        if merges:
            return _surround(drawn, np.where(size[group.clip(0)] > 1, group, -1)[place], outline[place])
    under = drawn[line]
    ink = np.where(merges & (under @ LUMA > BRIGHT), 60.0, 255.0)
    drawn[line] = LINE * ink[:, None] + (1 - LINE) * under
    return np.rint(drawn).clip(0, 255).astype(np.uint8)


def _patch_of_pixel(shape: tuple[int, ...], grid: tuple[int, int]) -> NDArray[np.intp]:
    row = np.arange(shape[0]) * grid[0] // shape[0]
    column = np.arange(shape[1]) * grid[1] // shape[1]
    patch: NDArray[np.intp] = row[:, None] * grid[1] + column
    return patch


def _fill(pixels: NDArray[np.float64], label: NDArray[np.integer]) -> NDArray[np.float64]:
    """Blend each pixel (h, w, 3) with the mean colour of its group (h, w)."""
    index = (label + 1).ravel()
    count = np.bincount(index).clip(1)
    mean = np.stack([np.bincount(index, channel.ravel()) / count for channel in np.moveaxis(pixels, 2, 0)], axis=-1)
    blend: NDArray[np.float64] = FILL * mean[label + 1] + (1 - FILL) * pixels
    return blend


def _hatch(drawn: NDArray[np.float64], where: NDArray[np.bool_], patch: int) -> NDArray[np.float64]:
    """Draw a slanting line across each patch, `patch` pixels high, over the pixels `where` (h, w)."""
    row, column = np.indices(where.shape)
    line = where & ((row + column) % patch < max(patch // 6, 1))
    hatched: NDArray[np.float64] = np.where(line[..., None], 0.5 * (BRIGHT + drawn), drawn)
    return hatched


def _surround(drawn: NDArray[np.float64], label: NDArray[np.integer], colour: NDArray[np.floating]) -> Picture:
    """Draw inside each group (h, w) a line in its colour (h, w, 3), also along the image's edge; -1 is no group."""
    reach = 2 * max(round(len(label) / 110), 1) + 1
    least, most = (find(label, reach, mode="constant", cval=-2) for find in (minimum_filter, maximum_filter))
    drawn = np.where(((least != most) & (label >= 0))[..., None], colour, drawn)
    return np.rint(drawn).clip(0, 255).astype(np.uint8)


def _border(label: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Mark one pixel's width where (h, w) changes to the right or below."""
    line = np.zeros(label.shape, bool)
    line[:, :-1] |= label[:, :-1] != label[:, 1:]
    line[:-1] |= label[:-1] != label[1:]
    return line


def _write_titles(figure: Figure, titles: Sequence[str], width: int, bottom: int) -> None:
    """Set the titles above the columns, all in the one size at which the widest fits its column."""
    lines = max(title.count("\n") for title in titles)
    middles = [GAP + column * (width + GAP) + width / 2 for column in range(len(titles))]
    heads, details = [], []
    for x, title in zip(middles, titles, strict=True):
        head, _, detail = title.partition("\n")
        heads.append(_write(figure, x, bottom + 4 + round(0.12 * width) * lines, head, 0.13 * width, weight="bold"))
        if detail:
            details.append(_write(figure, x, bottom + 4, detail, 0.095 * width, color="0.35"))
    _fit(heads, width)
    _fit(details, width)


def _write(figure: Figure, x: float, y: float, text: str, size: float, **style: str) -> Text:
    """Write text at a place in pixels from the lower left corner, `size` pixels high."""
    full_w, full_h = figure.canvas.get_width_height()
    style = {"ha": "center", "va": "bottom", **style}
    return figure.text(x / full_w, y / full_h, text, size=size * 72 / DPI, parse_math=False, **style)  # type: ignore[arg-type]


def _fit(texts: Sequence[Text], width: float) -> None:
    """Shrink texts of one size together until the widest is no wider than `width` pixels.

    One that would make all others too small is shortened.
    """
    for text in texts:
        while (wide := LEAST * text.get_window_extent().width) > width and len(name := text.get_text()) > 3:
            text.set_text(shortened(name, min(int(len(name) * width / wide), len(name) - 1)))
    widest = max((text.get_window_extent().width for text in texts), default=0.0)
    for text in texts:
        text.set_fontsize(float(text.get_fontsize()) * min(1.0, width / max(widest, 1.0)))


def _check(panel: Panel, count: int) -> None:
    want = (count, panel.grid[0] * panel.grid[1])
    for name, array in (("kept", panel.kept), ("group", panel.group)):
        if array.shape != want:
            raise ValueError(
                f"{name} of {panel.title.splitlines()[0]!r} has the shape {array.shape}, and {count} images on a grid "
                f"of {panel.grid[0]} x {panel.grid[1]} patches need {want}"
            )
