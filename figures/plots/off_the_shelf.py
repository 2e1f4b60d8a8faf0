"""What taking tokens away costs: accuracy (left) and likeness to the un-reduced model (right) against tokens left.

To the right, the patch tokens that are really left after the last block, the mean over images: methods that are asked
for as many may leave more or fewer. Upwards, accuracy, and how far the class-token features of the last block are from
those of the un-reduced model: on a logarithmic axis, where it has no place itself, being at 0. A line is a method, its
points what it was asked for, hollow where off the shelf most tokens go at the first blocks; the star is the un-reduced
model. Of several runs of a method at a rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tokenlens.analysis.metrics.base import METRICS

from ..catalogue import PATTERNS, figure
from ..select.setting import describe, rows_of, select_setting
from ..source import Missing
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..source import Source

METRIC = "procrustes"
PANELS = ("accuracy", "distance")


def numbers(source: Source, *, dataset: str | None = None, model: str | None = None) -> pd.DataFrame:
    """One row a method, schedule and keep rate: tokens left, accuracy in percent, distance from the un-reduced model.

    Raises:
        Missing: there are no runs of a reduction method, or it is known of none what they cost.
    """
    import pandas as pd

    chosen = select_setting(rows_of(source.runs), dataset, model)
    if not (chosen["family"] != "none").any():
        raise Missing("there are no runs of a reduction method; make some with `tokenlens extract --method tome`")
    runs = {str(run.attrs["run"]): run for run in source.runs}
    far = _distances(source, set(chosen.loc[chosen["family"] == "none", "run"]))
    rows: list[dict[str, Any]] = []
    for one in chosen.itertuples():
        run, unreduced = runs[str(one.run)], one.family == "none"
        rows.append({
            "method": one.method, "family": one.family, "schedule": str(run.attrs.get("schedule", "")),
            "keep_rate": one.keep_rate, "tokens_left": float(run["tokens_left"].isel(stage=-1).mean()),
            "accuracy": _accuracy(run), "distance": 0.0 if unreduced else far.get(str(one.run), np.nan),
            "n": run.sizes["image"],
        })  # fmt: skip
    found = pd.DataFrame(rows)
    if not found.loc[found["family"] != "none", list(PANELS)].notna().any(axis=None):
        raise Missing(
            "no run of a method has an accuracy or a distance from the un-reduced model; extract labelled images, or "
            "with --features the method none beside the others, more images than the model has channels"
        )
    return found


def _accuracy(run: xr.Dataset) -> float:
    found = dict(run.attrs.get("metrics") or {})
    return float(next((found[name] for name in ("mAP", "top1") if name in found), np.nan))


def _distances(source: Source, unreduced: set[str]) -> dict[str, float]:
    """The distance of each run from the un-reduced one, at the last block whose features were kept."""
    found = source.table("comparison")
    found = found[(found["axis"] == "method") & (found["metric"] == METRIC)]
    turned = found.rename(columns={"run_a": "run_b", "run_b": "run_a"})
    by_run: dict[str, float] = {}
    for part in (found, turned):
        part = part[part["run_a"].isin(unreduced)].sort_values("stage")
        by_run |= dict(zip(part["run_b"], part["value"], strict=True))
    return by_run


@figure("off_the_shelf", "accuracy and likeness to the un-reduced model against tokens left", numbers,
        needs=[PATTERNS, "comparison"], fades=True)  # fmt: skip
def draw(
    source: Source, *, figure: style.Into = None, preset: str = "iccv", dataset: str | None = None,
    model: str | None = None,
) -> style.Canvas:  # fmt: skip
    """Draw it at the width of the page."""
    rows = numbers(source, dataset=dataset, model=model)
    made = style.canvas(figure, preset, "page", 2.7 + style.legend_room(rows["method"], preset, 1))
    said = {"accuracy": style.directed("accuracy (%)", style.HIGHER),
            "distance": style.directed(f"{METRICS[METRIC].title} distance", METRICS[METRIC].reading)}  # fmt: skip
    known = [value for value in PANELS if rows.loc[rows["family"] != "none", value].notna().any()]
    for ax, value in zip(made.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        shown = rows[rows[value] > 0] if value == "distance" else rows  # a logarithm has no 0
        for (method, schedule), line in shown.groupby(["method", "schedule"], sort=False):
            line, name = line.sort_values("tokens_left"), str(method)
            inside = "white" if schedule == "decreasing" else style.color(name)
            above = 3 if (line["family"] == "none").all() else style.zorder(name)  # the star lies where all lines begin
            ax.plot(line["tokens_left"], line[value], color=style.color(name), marker=style.marker(name),
                    markerfacecolor=inside, linestyle=style.linestyle(name), label=style.label(name),
                    zorder=above)  # fmt: skip
        ax.set_xlabel("patch tokens left")
        ax.set_ylabel(said[value])
        ax.grid(axis="both")
        if value == "distance":
            style.logarithmic(ax, "y")
    made.supxlabel(describe(select_setting(rows_of(source.runs), dataset, model)), fontsize="medium")
    style.legend_of(made, rows["method"], above=True)
    return made
