"""How alike a method's patterns are to its own at another capacity (above) and at another keep rate (below).

Kept patches by IoU, across keep rates by IoA (the share of the smaller set), both above chance: 0 is chance, 1 is the
same. Groups by adjusted mutual information, likewise; class-token features by Procrustes distance, where 0 is the
same. All after the last stage. A point is one pair of runs with its interval over images; or, of several pairs (data
sets, and the other of capacity and keep rate), their mean with a 95 % Student-t interval; n counts the pairs.
Methods stand side by side within a pair. What has no pairs is left out, and named below. Sets with a photographer's
bias are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tokenlens.analysis.metrics.base import METRICS

from ..catalogue import figure
from ..parts.lines import draw_lines
from ..select.pairs import (
    above_chance,
    count_range,
    interval_of,
    is_distance,
    joined,
    last_stage,
    range_of,
    without_bias,
)
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

AXES = {"capacity": "capacities", "keep_rate": "keep rates"}
SHOWN = {"capacity": ("iou", "ami", "procrustes"), "keep_rate": ("ioa", "ami", "procrustes")}
ABOVE_CHANCE = ("iou", "ioa")
LACKING = {  # what runs lack that a metric is of
    "kept": "no method here keeps patches",
    "group": "no method here merges patches",
    "feature": "no features, which `tokenlens extract --features` keeps",
}


def numbers(source: Source) -> pd.DataFrame:
    """One row an axis, metric, pair of capacities or rates (from, to), and method: value, low, high, n pairs."""
    import pandas as pd

    rows: list[Any] = []
    lacks: list[Missing] = []
    for axis in AXES:
        try:
            pairs = last_stage(without_bias(joined(source, axis, SHOWN[axis]), "dataset_a"))
        except Missing as lack:
            lacks.append(lack)
            continue
        pairs = above_chance(pairs, ABOVE_CHANCE)
        for (metric, a, b, method), part in pairs.groupby(["metric", f"{axis}_a", f"{axis}_b", "method_a"]):
            least, most = range_of(str(metric))  # above chance there is no common least value
            value, low, high, n = interval_of(part, (-np.inf if metric in ABOVE_CHANCE else least, most))
            rows.append({"axis": axis, "metric": metric, "from": _name(a), "to": _name(b), "method": method,
                         "value": value, "low": low, "high": high, "n": n})  # fmt: skip
    if not rows:
        raise lacks[0]
    return pd.DataFrame(sorted(rows, key=_place))


@figure("axes", "similarity along capacity and along keep rate", numbers, needs=["runs", "comparison"], fades=True)
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page."""
    frame = numbers(source)
    axes = list(dict.fromkeys(frame["axis"]))
    canvas = style.canvas(figure, preset, "page", 1.9 * len(axes) + 0.8 + style.legend_room(frame["method"], preset))
    grid = canvas.add_gridspec(len(axes), 1)
    for i, axis in enumerate(axes):
        part = frame[frame["axis"] == axis]
        metrics = list(dict.fromkeys(part["metric"]))
        row = grid[i].subgridspec(1, len(metrics))
        for j, metric in enumerate(metrics):
            _panel(canvas.add_subplot(row[j]), part[part["metric"] == metric], axis, metric)
    style.say_left_out(canvas, _left_out(frame))
    style.legend_of(canvas, frame["method"], above=True)
    return canvas


def _left_out(frame: pd.DataFrame) -> list[str]:
    """What has no panel, and why."""
    there = frame.groupby("axis")["metric"].agg(set).to_dict()
    said = [f"no two runs differ in {axis.replace('_', ' ')} only" for axis in AXES if axis not in there]
    for axis, metrics in there.items():
        lacking = (metric for metric in SHOWN[str(axis)] if metric not in metrics)
        said += [f"{style.metric_label(metric)}: {LACKING[METRICS[metric].of]}" for metric in lacking]
    return list(dict.fromkeys(said))


def _panel(ax: Axes, part: pd.DataFrame, axis: str, metric: str) -> None:
    ax.set_title(style.metric_label(metric) + " above chance" * (metric in ABOVE_CHANCE))
    ax.set_ylabel(style.metric_reading(metric))
    part = part.assign(pair=part["from"] + "\n" + part["to"])
    draw_lines(ax, part, "pair", "value", {pair: float(x) for x, pair in enumerate(dict.fromkeys(part["pair"]))})
    ax.set_xlabel(f"pair of {AXES[axis]}\nn = {count_range(part['n'])}")
    if not is_distance(metric):
        ax.axhline(0, color="0.5", linewidth=0.6)


def _name(end: Any) -> str:
    return f"{end:g}" if isinstance(end, float) else str(end)


def _place(row: Any) -> tuple[Any, ...]:
    """Axes and metrics as they are drawn; near pairs before far ones."""
    if row["axis"] == "keep_rate":
        away: tuple[Any, ...] = (round(float(row["from"]) - float(row["to"]), 6), -float(row["from"]))
    else:
        ends = [style.size_key(row[end]) for end in ("from", "to")]
        away = (ends[1][0] - ends[0][0], *ends)
    axis, metric = row["axis"], row["metric"]
    return list(AXES).index(axis), SHOWN[axis].index(metric), away, style.order_key(row["method"])
