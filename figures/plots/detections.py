"""What a detector finds with fewer tokens: its boxes over what was kept or merged after the last stage.

A row is an image, a column a method at one keep rate. Kept patches are bright, dropped ones dark and grey; merged
patches are filled with the mean colour of their group, which a line surrounds. Boxes are those found with a score of at
least 0.5, with their class and score, whether there is such an object or not. Of more than five methods, the first of
each family are shown. Of several runs of a method at a rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from ..catalogue import PATTERNS, figure
from ..parts.sheet import cell_size
from ..select.runs import choose_images, choose_runs, fewer, read_panel, read_pictures
from ..source import Missing, missing_where_bad
from ..theme.style import canvas, label

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from ..select.runs import Sheet
    from ..source import Source
    from ..theme.style import Canvas, Into

SURE = 0.5  # least score of a box that is drawn
LINE = "#5ee0ff"
MOST = 5  # methods side by side, so that classes of boxes can be read


def numbers(
    source: Source, *, images: int | Sequence[str] = 3, keep_rate: float | None = None, methods: int | None = MOST
) -> pd.DataFrame:
    """One row a box: image, method, keep rate, class, score, and x1, y1, x2, y2 as shares of the picture.

    Raises:
        Missing: no run holds boxes.
    """
    import pandas as pd

    sheet, ids = _chosen(source, images, keep_rate, methods)
    rows: list[dict[str, Any]] = []
    for run in sheet.runs:
        for name in ids:
            for box, score, kind in boxes(run, name):
                rows.append({
                    "image": name, "method": str(run.attrs["method"]), "keep_rate": sheet.rate, "class": kind,
                    "score": score, **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
                })  # fmt: skip
    if not rows:
        raise Missing(
            f"no box of a score of at least {SURE:g} was found in these images; `tokenlens detect` makes more"
        )
    return pd.DataFrame(rows)


@figure("detections", "boxes that a detector finds, over its patterns", numbers, needs=[PATTERNS])
def draw(
    source: Source, *, figure: Into = None, preset: str = "iccv", images: int | Sequence[str] = 3,
    keep_rate: float | None = None, methods: int | None = MOST,
) -> Canvas:  # fmt: skip
    """Draw the images: ids, or how many; `methods` at most, None for all."""
    sheet, ids = _chosen(source, images, keep_rate, methods)
    with missing_where_bad():
        pictures = read_pictures(sheet.runs[0], ids, source.allow_remote)
    shape = cell_size(pictures[0].shape, sheet.runs[0].attrs["grid"], len(ids), len(sheet.runs) + 1)
    across = len(sheet.runs) + 1
    made = canvas(figure, preset, "page", 0.3 + len(ids) * 6.7 / across * shape[0] / shape[1])
    axes = made.subplots(len(ids), across, squeeze=False)
    for row, (name, picture) in enumerate(zip(ids, pictures, strict=True)):
        resized = np.asarray(Image.fromarray(picture).resize(shape[::-1], Image.Resampling.LANCZOS))
        _cell(axes[row, 0], resized, "image" if row == 0 else "")
        for ax, run in zip(axes[row, 1:], sheet.runs, strict=True):
            _cell(ax, read_panel(run, [name], None).painted(0, resized), label(run.attrs["method"]) if row == 0 else "")
            for box, score, kind in boxes(run, name):
                _draw_box(ax, np.multiply(box, (*shape[::-1], *shape[::-1])), f"{kind} {score:.2f}")
    return made


def boxes(run: xr.Dataset, name: str) -> list[tuple[tuple[float, ...], float, str]]:
    """Boxes that were found in an image with some certainty, as shares of the picture; their scores and classes."""
    here = run[["box", "box_score", "box_class", "box_scale"]].sel(image=name).load()
    height, width = run.attrs["input_size"]
    shares = here["box"].values * here["box_scale"].values / np.array([width, height] * 2)
    found = zip(shares.tolist(), here["box_score"].values.tolist(), here["box_class"].values.tolist(), strict=True)
    classes = run.attrs["classes"]
    return [(tuple(box), score, classes[kind]) for box, score, kind in found if kind >= 0 and score >= SURE]


def _chosen(
    source: Source, images: int | Sequence[str], keep_rate: float | None, methods: int | None
) -> tuple[Sheet, list[str]]:
    found = [run for run in source.runs if "box_scale" in run]
    if not found:
        raise Missing("no run holds boxes; make some with `tokenlens detect`")
    with missing_where_bad():
        sheet = max(choose_runs(found, keep_rate=keep_rate), key=lambda sheet: len(sheet.runs))
        ids = choose_images(sheet.runs, images)
    return replace(sheet, runs=tuple(fewer(sheet.runs, methods))), ids


def _cell(ax: Axes, picture: Any, title: str) -> None:
    ax.imshow(picture, interpolation="none")
    ax.set_title(title)
    ax.set_axis_off()


def _draw_box(ax: Axes, box: Any, said: str) -> None:
    x1, y1, x2, y2 = box
    cased: list[Any] = [Stroke(linewidth=2, foreground="black"), Normal()]
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=LINE, linewidth=1, path_effects=cased))
    ax.text(x1, y1, said, color=LINE, size="x-small", va="bottom", path_effects=cased, clip_on=True)
