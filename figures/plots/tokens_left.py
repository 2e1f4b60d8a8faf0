"""Tokens left after each stage against the tokens asked for.

A panel is a stage; a line is a method, its points its keep rates, growing from left to right. To the right, the patch
tokens that the keep rate asks for; upwards, how many more or fewer were left: the mean over images, with a bar from the
5th to the 95th percentile. On the dashed line a method leaves what it was asked to; those that always do are named
below. One token more may be what a method fuses all dropped patches into; an adaptive method leaves fewer by design,
one that merges in pairs cannot take away more than half of the tokens at a stage, and radial rings are coarse. Of
several runs of a method at a rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..catalogue import PATTERNS, figure
from ..parts.curves import EXPECTED, curves
from ..select.setting import describe, rows_of, select_setting
from ..source import Missing
from ..theme import style
from ..theme.style import canvas

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..source import Source
    from ..theme.style import Canvas, Into


def numbers(source: Source, *, dataset: str | None = None, model: str | None = None) -> pd.DataFrame:
    """One row a stage, method and keep rate: tokens asked for, left on average, and the 5th and 95th percentile.

    Raises:
        Missing: there are no runs of a reduction method.
    """
    import pandas as pd

    chosen = select_setting(rows_of(source.runs), dataset, model)
    runs = {str(run.attrs["run"]): run for run in source.runs}
    rows: list[dict[str, Any]] = []
    for one in chosen[chosen["family"] != "none"].itertuples():
        run = runs[str(one.run)]
        left = run["tokens_left"].transpose("image", "stage").values
        low, high = np.percentile(left, [5, 95], axis=0)
        for i, (stage, asked) in enumerate(zip(run["stage"].values, requested_tokens(run), strict=True)):
            rows.append({
                "stage": int(stage), "method": one.method, "keep_rate": one.keep_rate, "asked": int(asked),
                "left": float(left[:, i].mean()), "more": float(left[:, i].mean()) - int(asked), "low": float(low[i]),
                "high": float(high[i]), "n": len(left),
            })  # fmt: skip
    if not rows:
        raise Missing("there are no runs of a reduction method; make some with `tokenlens extract`")
    return pd.DataFrame(rows).sort_values("stage", kind="stable", ignore_index=True)


def requested_tokens(run: xr.Dataset) -> list[int]:
    """Tokens that a run was asked to leave after each stage, also where it says them as shares of the patches."""
    return list(run.attrs.get("keep") or (round(rate * run.sizes["patch"]) for rate in run.attrs["keep_rates"]))


@figure("tokens_left", "tokens left against tokens asked for, at every stage", numbers, needs=[PATTERNS], fades=True)
def draw(
    source: Source, *, figure: Into = None, preset: str = "iccv", dataset: str | None = None, model: str | None = None
) -> Canvas:
    """Draw a panel a stage."""
    rows = numbers(source, dataset=dataset, model=model)
    stages = sorted(rows["stage"].unique())
    rows = rows.assign(low=rows["low"] - rows["asked"], high=rows["high"] - rows["asked"])
    moved = rows.loc[rows[["more", "low", "high"]].ne(0).any(axis=1), "method"].unique()
    exact = [style.label(method).replace(" ", "\u00a0") for method in style.in_order(set(rows["method"]) - set(moved))]
    drawn = moved if len(moved) else rows["method"].unique()  # else all would be named, and nothing drawn
    named = fill(f"always as asked: {', '.join(exact)}", 90) if exact else ""
    room = style.legend_room(drawn, preset) + 0.15 * named.count("\n")
    made = canvas(figure, preset, "page", 2.9 + room)
    axes = made.subplots(1, len(stages), squeeze=False, sharey=True)[0]
    for ax, stage in zip(axes, stages, strict=True):
        ax.set_title(f"after block {stage}")
        ax.axhline(0, **EXPECTED)
        curves(ax, rows[(rows["stage"] == stage) & rows["method"].isin(drawn)], "asked", "more")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator("auto", integer=True))
        if not len(moved):
            ax.set_ylim(-1, 1)
    axes[0].set_ylabel("tokens left above those asked for\n0 is as asked")
    setting = describe(select_setting(rows_of(source.runs), dataset, model))
    made.supxlabel(f"tokens asked for ({setting})\n{named}".strip(), fontsize="medium")
    style.legend_of(made, drawn, above=True)
    return made
