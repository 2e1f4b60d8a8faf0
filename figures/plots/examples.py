"""What each method does to an image, stage by stage: which patches it keeps, drops, fuses or merges.

For each image a row a stage and a column a method, at one keep rate; where methods do not fit side by side, they go on
below. Of more than six methods, the first of each family are shown. Kept patches are bright; dropped ones are dark and
grey; patches that were dropped into one fused token are dark, violet and hatched. Merged patches are filled with the
mean colour of their group and surrounded by a line in the group's own colour; a group keeps its colour from stage to
stage while others join it. A patch alone in its group, or one that stands for it, shows the image. Of several runs of a
method at a rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from ..catalogue import PATTERNS, figure
from ..parts.group_colors import group_colors
from ..parts.legend import swatches
from ..parts.patch_painter import Panel, Picture
from ..select.runs import choose_images, choose_runs, fewer, read_panel, read_pictures
from ..select.setting import check
from ..source import missing_where_bad
from ..theme import style
from ..theme.style import FEW, canvas, label

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from ..select.runs import Sheet
    from ..source import Source
    from ..theme.style import Canvas, Into

PIXELS, GAP = 12, 4  # of a patch, and between cells
HEAD, FOOT = 0.22, 0.42  # inches above a block of rows, and below all
SMALLEST, ENOUGH = 0.45, 0.62  # inches of a cell: below it one image is shown and not two; no need for larger ones
LARGEST = 1.2  # inches of a cell where there is room; all at letters of 8 points
STAGES = 4  # of runs with more, as many are shown, evenly spread


class Column(NamedTuple):
    """One method on one image: its name, its cell at each stage, None where it has no such stage, and its patterns."""

    title: str
    cells: list[Picture | None]
    panels: list[Panel]


def numbers(source: Source, *, images: int | Sequence[str] = 2, keep_rate: float | None = None) -> pd.DataFrame:
    """One row an image, stage and method: patches kept, dropped and fused, groups of several patches, tokens left.

    `images` are ids, or how many, evenly spread over those that all runs have. Shown is the data set and model with
    most methods at the keep rate: 0.5 if there are runs at it, else the most frequent one.

    Raises:
        Missing: there is nothing to show: no runs, none at this rate, no image that all of them have.
    """
    import pandas as pd

    sheet, ids = _chosen(source, images, keep_rate)
    rows: list[dict[str, Any]] = []
    for run in sheet.runs:
        for stage in (int(block) for block in run["stage"].values):
            panel = read_panel(run, ids, stage)
            for row, name in enumerate(ids):
                there = slice(None) if panel.valid is None else panel.valid[row]
                kept, group = panel.kept[row, there], panel.group[row, there]
                count = np.bincount(group[group >= 0], minlength=1)
                rows.append({
                    "image": name, "stage": stage, "method": str(run.attrs["method"]), "keep_rate": sheet.rate,
                    "kept": int(kept.sum()), "dropped": int((group < 0).sum()),
                    "fused": 0 if panel.merges else int((~kept & (group >= 0)).sum()),
                    "groups": int((count > 1).sum()) if panel.merges else 0, "tokens_left": int((count > 0).sum()),
                })  # fmt: skip
    return pd.DataFrame(rows).sort_values(["image", "stage"], kind="stable", ignore_index=True)


@figure("examples", "example images with what each method keeps or merges at every stage", numbers, needs=[PATTERNS])
def draw(
    source: Source, *, figure: Into = None, preset: str = "iccv", images: int | Sequence[str] | None = None,
    keep_rate: float | None = None, methods: int | None = FEW,
) -> Canvas:  # fmt: skip
    """Draw the images: ids, or how many; two if they fit on the page. `methods` at most, None for all."""
    sheet, ids = _chosen(source, 2 if images is None else images, keep_rate)
    shown = fewer(sheet.runs, methods)
    stages = _stages(shown)
    banks, cell = layout(len(shown), len(stages), len(ids), preset)
    if images is None and cell < SMALLEST:
        ids = ids[:1]
        banks, cell = layout(len(shown), len(stages), 1, preset)
    with missing_where_bad():
        pictures = read_pictures(shown[0], ids, source.allow_remote)
    across, letters = ceil(len(shown) / banks), style.preset(preset).size
    panels: list[Panel] = []
    made = canvas(figure, preset, "page", len(ids) * banks * (cell * len(stages) + HEAD) + FOOT)
    for i, ax in enumerate(made.subplots(banks * len(ids), 1, squeeze=False)[:, 0]):
        image, bank = divmod(i, banks)
        runs = shown[bank * across : (bank + 1) * across]
        columns = [_column(run, ids[image], pictures[image], stages) for run in runs]
        panels += [panel for column in columns for panel in column.panels]
        size = min(0.85, 1.05 * cell) * letters
        fit = int(cell * 9 * letters / (0.5 * size))  # letters of a name above a column
        _block(ax, pictures[image], columns, stages, across, fit)
        ax.tick_params(length=0, pad=1, labelsize=size)
        ax.set_ylabel(ids[image].rsplit("/", 1)[-1] if bank == 0 else " ", fontsize=size)
    words = f"keep {sheet.rate}; {style.place(sheet.dataset)} ({sheet.split}), {sheet.model}"
    kinds = swatches(panels, outlined=True)
    made.legend(handles=kinds, loc="outside lower center", ncols=5, title=words, handlelength=1.2)
    return made


def layout(methods: int, stages: int, images: int, preset: str) -> tuple[int, float]:
    """How many blocks an image takes, as few as give cells that are large enough, and inches of a cell."""
    chosen = style.preset(preset)
    wide, high = chosen.page * 8 / chosen.size - 0.3, chosen.height * 8 / chosen.size - FOOT
    sizes = {
        banks: min(wide / (ceil(methods / banks) + 1), (high / (images * banks) - HEAD) / stages)
        for banks in range(1, methods + 1)
    }
    best = max(sizes, key=lambda banks: (min(sizes[banks], ENOUGH), -banks))
    return best, min(sizes[best], LARGEST)


def _chosen(source: Source, images: int | Sequence[str], keep_rate: float | None) -> tuple[Sheet, list[str]]:
    check(source.runs, ("run", "method", "family", "dataset", "input_size"))
    with missing_where_bad():
        sheet = max(choose_runs(source.runs, keep_rate=keep_rate), key=lambda sheet: len(sheet.runs))
        return sheet, choose_images(sheet.runs, images)


def _stages(runs: Sequence[xr.Dataset]) -> list[int]:
    blocks = sorted({int(block) for run in runs for block in run["stage"].values})
    shown = np.linspace(0, len(blocks) - 1, min(len(blocks), STAGES)).round().astype(int)
    return [blocks[i] for i in shown]


def _column(run: xr.Dataset, name: str, picture: Picture, stages: Sequence[int]) -> Column:
    """Paint a run's cells of one image, (h, w, 3) uint8."""
    there = [stage for stage in stages if stage in run["stage"].values]
    panels = [read_panel(run, [name], stage) for stage in there]
    groups = [panel.group[0] for panel in panels]
    outlines = group_colors(np.stack(groups), panels[0].grid) if panels else np.empty((0, 0, 3))
    source = _resized(picture, run.attrs["grid"])
    cells = {
        stage: panel.painted(0, source, outline) for stage, panel, outline in zip(there, panels, outlines, strict=True)
    }
    return Column(label(str(run.attrs["method"])), [cells.get(stage) for stage in stages], panels)


def _resized(picture: Picture, grid: Sequence[int]) -> Picture:
    """The picture at whole pixels a patch."""
    rows, columns = (int(n) for n in grid)
    return np.asarray(Image.fromarray(picture).resize((columns * PIXELS, rows * PIXELS), Image.Resampling.LANCZOS))


def _block(ax: Axes, picture: Picture, columns: Sequence[Column], stages: Sequence[int], across: int, fit: int) -> None:
    """Draw the picture and a column a method into one image, cells `GAP` pixels apart; `fit` letters above each."""
    shape = next(cell.shape for column in columns for cell in column.cells if cell is not None)
    down, right = shape[0] + GAP, shape[1] + GAP
    whole = np.full((down * len(stages) - GAP, right * (across + 1) - GAP, 3), 255, np.uint8)
    top = (len(whole) - shape[0]) // 2
    whole[top : top + shape[0], : shape[1]] = Image.fromarray(picture).resize((shape[1], shape[0]))
    for x, column in enumerate(columns, 1):
        for y, cell in enumerate(column.cells):
            if cell is not None:
                whole[y * down : y * down + shape[0], x * right : x * right + shape[1]] = cell
            else:
                ax.text(x * right + shape[1] / 2, y * down + shape[0] / 2, "no such\nstage", ha="center", va="center",
                        color="0.25", size="x-small", gid="gap")  # fmt: skip
    ax.imshow(whole, interpolation="none")
    ax.spines[:].set_visible(False)
    ax.xaxis.tick_top()
    middles = shape[1] / 2 + right * np.arange(len(columns) + 1)
    ax.set_xticks(middles, ["image", *(style.wrapped(column.title, fit) for column in columns)])
    names = [f"block {stage}" for stage in stages]
    ax.set_yticks(shape[0] / 2 + down * np.arange(len(stages)), names, rotation=90, va="center")
