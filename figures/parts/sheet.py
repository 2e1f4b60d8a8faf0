"""A contact sheet: a row is an image, a column a method, and below, what the shades of patches mean.

The first column is the image as the model sees it; cells are drawn pixel by pixel, words are letters.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tokenlens.errors import BadInput

from ..theme.style import Drawing, shortened
from .legend import swatches
from .patch_painter import Panel, Picture

PIXELS = 1_000_000  # of all cells: keeps a sheet of photographs below about 1.5 MB
SMALLEST, LARGEST = 112, 224  # pixels of a cell's longer side, about
GAP, DPI = 3, 100
MOST = 2**16 - 1  # pixels a side that matplotlib can draw
LEAST = 0.7  # of a title's size, to which long titles may shrink all of them
SOURCE = "image"  # title of the first column


def contact_sheet(images: Sequence[Picture], panels: Sequence[Panel], note: str = "") -> Figure:
    """Draw a contact sheet, which `output.formats.image` turns into a file.

    Args:
        images: one (H, W, 3) uint8 array a row, all of one size.
        panels: one a column; their first axis is that of `images`.
        note: a small line below the sheet.

    Returns:
        The figure; its `images` are the cells in reading order, its `texts` the titles and the note, its legend says
        what became of the patches that are there.

    Raises:
        ValueError: a panel whose arrays do not fit its grid or the images.
        BadInput: a sheet with more pixels a side than a picture can have.
    """
    for panel in panels:
        _check(panel, len(images))
    height, width = cell_size(images[0].shape, panels[0].grid if panels else (1, 1), len(images), len(panels) + 1)
    titles = [SOURCE, *(panel.title for panel in panels)]
    title_px = round(0.17 * width) + round(0.12 * width) * max(title.count("\n") for title in titles) + 4
    full_w = (width + GAP) * len(titles) + GAP
    shown, line_px = swatches(panels), round(0.14 * width)
    across = _across([str(patch.get_label()) for patch in shown], full_w, 0.085 * width)
    note_px = line_px * (bool(note) + -(-len(shown) // across))
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
    if shown:
        figure.legend(
            handles=shown, ncols=across, loc="lower left", bbox_to_anchor=(0, line_px * bool(note) / full_h),
            prop={"size": 0.085 * width * 72 / DPI}, borderpad=0, borderaxespad=0.3, labelspacing=0.3, handlelength=1.2,
            columnspacing=1.2, frameon=False,
        )  # fmt: skip
    return figure


def cell_size(shape: tuple[int, ...], grid: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
    """Return (h, w) of a cell: whole pixels a patch, in the image's proportions, few enough for a small file."""
    side = min(LARGEST, max(SMALLEST, (PIXELS / (rows * columns)) ** 0.5))
    scale = side / max(shape[:2])
    patch_h = max(3, int(shape[0] * scale / grid[0] + 0.5))
    patch_w = max(3, int(shape[1] * scale / grid[1] + 0.5))
    return patch_h * grid[0], patch_w * grid[1]


def _across(names: Sequence[str], full: float, size: float) -> int:
    """How many entries of a legend stand side by side in so many pixels, at letters of so many pixels."""
    wide = [size * (3 + 0.6 * len(name)) for name in names]
    if sum(wide) <= full:
        return max(len(names), 1)
    return max(int(full / max(wide)), 1)


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
