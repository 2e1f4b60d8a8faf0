"""Images by methods at one keep rate, after the last stage: what each method keeps and what it merges.

A row is an image, a column a method. Kept patches are bright, dropped ones dark and grey; patches that were dropped
into one fused token are dark and violet. Merged patches are filled with the mean colour of their group, which a line
surrounds. One sheet for each data set and model. Of more than six methods, the first of each family are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ..catalogue import PATTERNS, figure
from ..parts.sheet import contact_sheet
from ..select.runs import Sheet, choose_images, choose_runs, fewer, last_block, read_panel, read_pictures
from ..source import Source, missing_where_bad
from ..theme.style import FEW

if TYPE_CHECKING:
    import pandas as pd


def contact_sheets(
    runs: Sequence[xr.Dataset], images: int | Sequence[str] = 4, keep_rate: float | None = None,
    stage: int | None = None, where: Sequence[str] = (), allow_remote: bool = False, methods: int | None = FEW,
) -> Iterator[tuple[str, Figure, tuple[str, ...]]]:  # fmt: skip
    """Draw a sheet `contact-sheet-<dataset>-<model>` for each data set and model among the runs.

    Args:
        runs: the runs, as `tokenlens.records.store.open_runs` returns them.
        images: rows of a sheet, at most; or the ids of the images to show.
        keep_rate: the rate to show; None for 0.5, or the most frequent one.
        stage: the block whose stage is shown; None for each run's last.
        where: conditions on the runs' attributes, as in "method=topk|tome,keep_rate=0.5".
        allow_remote: fetch images from where the runs say they are.
        methods: columns of a sheet, at most; None for all methods.

    Yields:
        The name of each sheet, the sheet, and the names of further runs of the methods on it.

    Raises:
        BadInput: no runs, none that match, no image in common, or images that are gone.
    """
    taken: set[str] = set()
    for sheet in choose_runs(runs, where, keep_rate, stage):
        names = (sheet.name + (f"-{i}" if i > 1 else "") for i in count(1))
        name = next(name for name in names if name not in taken)
        taken.add(name)  # two folders of the same name, or two splits, must not write over each other
        yield name, _draw(sheet, images, stage, allow_remote, methods), sheet.left_out


def numbers(source: Source) -> pd.DataFrame:
    """Tokens left in each column: dataset, model, keep_rate, method, stage, tokens_left, images."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for sheet in choose_runs(source.runs):
        for run in sheet.runs:
            left = run["tokens_left"].isel(stage=-1).values
            rows.append({
                "dataset": sheet.dataset, "model": sheet.model, "keep_rate": sheet.rate, "method": run.attrs["method"],
                "stage": last_block(run), "tokens_left": float(np.mean(left)), "images": len(left),
            })  # fmt: skip
    return pd.DataFrame(rows)


@figure("contact-sheet", "images by methods at one keep rate", numbers, needs=[PATTERNS], pages=contact_sheets)
def draw(
    source: Source, *, figure: object = None, preset: str = "iccv", images: int | Sequence[str] = 4,
    keep_rate: float | None = None, stage: int | None = None, where: Sequence[str] = (), methods: int | None = FEW,
) -> Figure:  # fmt: skip
    """The first of the contact sheets, in a figure of its own: its cells are whole pixels, and fit no other."""
    with missing_where_bad():
        sheet = choose_runs(source.runs, where, keep_rate, stage)[0]
        return _draw(sheet, images, stage, source.allow_remote, methods)


def _draw(
    sheet: Sheet, images: int | Sequence[str], stage: int | None, allow_remote: bool, methods: int | None
) -> Figure:
    ids, runs = choose_images(sheet.runs, images), fewer(sheet.runs, methods)
    blocks = {last_block(run) if stage is None else stage for run in runs}
    panels = [read_panel(run, ids, stage, tell_block=len(blocks) > 1) for run in runs]
    after = f"after block {blocks.pop()}" if len(blocks) == 1 else "after the last stage"
    pictures = read_pictures(sheet.runs[0], ids, allow_remote)
    return contact_sheet(pictures, panels, f"{sheet.model} · {sheet.place} · {after}")
