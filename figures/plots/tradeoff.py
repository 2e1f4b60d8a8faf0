"""What speed costs: accuracy against measured throughput (left) and against GFLOPs (right), one row a data set.

A line joins the keep rates of one method on one model; the stars are the un-reduced models. The grey steps are the
Pareto front: no other point is as fast (as cheap) and as accurate. Throughput is the median of repeated runs of the
benchmark in the setting that the axis names, bars are its quartiles; GFLOPs are those of one image. Without a
benchmark (`tokenlens bench`) of these models there are GFLOPs alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from ..catalogue import figure
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

KEYS = ["model", "method", "keep_rate"]
HOW = ["device", "batch_size", "precision", "compiled", "graph", "threads", "data", "machine"]
COSTS = ("images_per_second", "gflops")
FRONT: dict[str, Any] = {"color": "0.72", "linewidth": 3, "label": "Pareto front"}
WIDE = 6  # times the smallest value, from which on an axis is logarithmic


def numbers(source: Source) -> pd.DataFrame:
    """One row a data set, model, method and keep rate: accuracy, throughput with quartiles, GFLOPs, how measured.

    `on_front_speed` and `on_front_gflops` say whether the point is on the front of its data set.
    """
    import pandas as pd

    runs = source.table("runs")
    scored = runs[runs["accuracy"].notna() & runs["keep_rate"].notna()]
    if not len(scored):
        raise Missing("no run has both an accuracy and one keep rate; make some with `tokenlens extract`")
    keys = ["dataset", "capacity", "family", *KEYS, "measure"]
    frame = scored.groupby(keys, as_index=False).agg(accuracy=("accuracy", "mean"), gflops=("gflops", "mean"))
    rows: list[Any] = _with_speed(frame, source).to_dict("records")
    frame = pd.DataFrame(sorted(rows, key=_place))
    for _, part in frame.groupby("dataset"):
        frame.loc[part.index, "on_front_speed"] = front(part["images_per_second"], part["accuracy"])
        frame.loc[part.index, "on_front_gflops"] = front(-part["gflops"], part["accuracy"])
    return frame.astype({"on_front_speed": bool, "on_front_gflops": bool})


def front(good: Any, accuracy: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which points (n,) no other is at least as good as in both and better in one; NaN is on no front."""
    x, y = np.asarray(good, dtype=np.float64), np.asarray(accuracy, dtype=np.float64)
    as_good = (x[:, None] >= x) & (y[:, None] >= y)
    better = as_good & ((x[:, None] > x) | (y[:, None] > y))
    on: np.ndarray[Any, np.dtype[np.bool_]] = ~better.any(axis=0) & ~np.isnan(x) & ~np.isnan(y)
    return on


def _with_speed(frame: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Add images_per_second, low, high and how: of the setting of the benchmark with most rows, NaN without one."""
    try:
        bench = source.table("bench")
    except Missing:
        return frame.assign(images_per_second=np.nan, low=np.nan, high=np.nan, how="")
    _, chosen = max(bench.groupby(HOW), key=lambda item: (len(item[1]), item[1]["batch_size"].iloc[0]))
    chosen, setting = chosen.drop_duplicates(KEYS), chosen.iloc[0]
    how = f"{setting['device']}, batch {setting['batch_size']}, {setting['precision']}"
    speed = chosen[[*KEYS, "images_per_second", "low", "high", "gflops"]].rename(columns={"gflops": "counted"})
    joined = frame.merge(speed, on=KEYS, how="left")
    joined["gflops"] = joined["gflops"].fillna(joined.pop("counted"))
    way = ", compiled" if setting["compiled"] else ", in a CUDA graph" if setting["graph"] else ""
    return joined.assign(how=how + way)


@figure("tradeoff", "accuracy against throughput and against GFLOPs", numbers, needs=["runs"], fades=True)
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page."""
    frame = numbers(source)
    datasets = list(dict.fromkeys(frame["dataset"]))
    costs = [cost for cost in COSTS if frame[cost].notna().any()] or COSTS
    canvas = style.canvas(
        figure, preset, "page", 2.4 * len(datasets) + 0.7 + style.legend_room(frame["method"], preset, 1)
    )
    panels = canvas.subplots(len(datasets), len(costs), squeeze=False, sharey="row", sharex="col")
    for row, dataset in zip(panels, datasets, strict=True):
        part = frame[frame["dataset"] == dataset]
        for ax, cost in zip(row, costs, strict=True):
            _panel(ax, part[part[cost].notna()], cost)
            ax.set_title(style.place(dataset))
        measures = sorted({style.MEASURES.get(name, name) for name in part["measure"]})
        style.label_rows(row, style.directed(f"{' or '.join(measures)} (%)", style.HIGHER))
    style.legend_of(canvas, frame["method"], also=[Line2D([], [], **FRONT)])
    return canvas


def _panel(ax: Axes, part: pd.DataFrame, cost: str) -> None:
    if not len(part):
        command = "tokenlens bench" if cost == "images_per_second" else "tokenlens compare"
        style.annotate_gap(ax, f"not measured for these runs:\n{command}")
        return
    for (model, method), one in part.groupby(["model", "method"], sort=False):
        x, name = one[cost].to_numpy(), str(method)
        bars = np.abs(one[["low", "high"]].to_numpy().T - x) if cost == "images_per_second" else None
        look = {"color": style.color(name), "marker": style.marker(name), "linestyle": style.linestyle(name),
                "zorder": style.zorder(name)}  # fmt: skip
        ax.errorbar(x, one["accuracy"], xerr=bars, linewidth=0.6, label=f"{style.label(name)} {model}", **look)
        if one["family"].iloc[0] == "none":
            ax.annotate(one["capacity"].iloc[0], (x[0], one["accuracy"].iloc[0]), (0, 4), textcoords="offset points",
                        ha="center", va="bottom", fontsize="small", zorder=5,
                        path_effects=[Stroke(linewidth=2, foreground="white"), Normal()])  # fmt: skip
    best = part[part["on_front_speed" if cost == "images_per_second" else "on_front_gflops"]].sort_values(cost)
    steps = "steps-post" if cost == "gflops" else "steps-pre"
    ax.plot(best[cost], best["accuracy"], drawstyle=steps, zorder=0.5, **FRONT)
    speed = f"images a second ({part['how'].iloc[0]})"
    ax.set_xlabel(style.directed(*(("GFLOPs", style.LOWER) if cost == "gflops" else (speed, style.HIGHER))))
    ax.grid(axis="both")
    ax.margins(0.1, 0.2)  # room for the names of capacities
    if part[cost].max() > WIDE * part[cost].min() > 0:
        style.logarithmic(ax, "x")


def _place(row: Any) -> tuple[Any, ...]:
    return row["dataset"], style.size_key(row["capacity"]), style.order_key(row["method"]), row["keep_rate"]
