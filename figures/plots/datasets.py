"""Do a method's patterns agree across data sets? Its mean-depth heat maps on two of them, against each other.

SCC: Spearman's correlation of the heat maps over patches, 1 for the same order of patches. EMD: earth mover's
distance on the grid of patches, 0 for the same map. One column a capacity; a point is a keep rate, dark for few
tokens left, with its interval over images, or the mean over pairs of runs (data sets, seeds) with a 95 % Student-t
interval. Grey ticks are chance. Fixed patterns, whose maps do not depend on the data, are the reference. Sets with a
photographer's bias are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalogue import figure
from ..output.latex_markdown import Layout
from ..select.pairs import count_range, interval_of, joined, range_of, without_bias
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SHOWN = ("scc", "emd")
UNITS = {"emd": " (patches)"}
LAYOUT = Layout(
    rows=("metric", "capacity", "method"), across="keep_rate", value="value", best="metric",
    caption="Agreement of a method's mean-depth heat maps on two data sets at each keep rate, with its 95 % interval: "
    "SCC (higher is more alike) and EMD in patches (lower is). Bold: the method that agrees best.",
)  # fmt: skip


def numbers(source: Source) -> pd.DataFrame:
    """One row a metric, capacity, method and keep rate: value, low, high, chance, n pairs of runs, their datasets."""
    import pandas as pd

    pairs = without_bias(joined(source, "dataset", SHOWN), "dataset_a", "dataset_b")
    rows: list[dict[str, Any]] = []
    for (metric, capacity, method, rate), part in pairs.groupby(["metric", "capacity_a", "method_a", "keep_rate_a"]):
        value, low, high, n = interval_of(part, range_of(str(metric)))
        sets = sorted({style.place(name) for end in "ab" for name in part[f"dataset_{end}"]})
        rows.append({"metric": metric, "capacity": capacity, "method": method, "keep_rate": rate, "value": value,
                     "low": low, "high": high, "chance": part["chance"].mean(), "n": n,
                     "datasets": " and ".join(sets)})  # fmt: skip
    if not rows:
        raise Missing(
            "the runs on two data sets follow no one keep rate; make some with `tokenlens extract --keep-rate 0.5` and "
            "then `tokenlens compare`"
        )
    return pd.DataFrame(sorted(rows, key=_place))


@figure(
    "datasets",
    "agreement of a method's patterns across data sets",
    numbers,
    needs=["runs", "comparison"],
    layout=LAYOUT,
)
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page, or of a column where there is one capacity."""
    frame = numbers(source)
    metrics = [metric for metric in SHOWN if metric in set(frame["metric"])]
    capacities, methods = style.by_size(frame["capacity"]), style.in_order(frame["method"])
    rates = sorted(set(frame["keep_rate"]))
    height = len(metrics) * (0.17 * len(methods) + 0.5) + 0.4
    canvas = style.canvas(figure, preset, "page" if len(capacities) > 1 else "column", height)
    panels = canvas.subplots(len(metrics), len(capacities), squeeze=False, sharex="row", sharey=True)
    for row, metric in zip(panels, metrics, strict=True):
        for ax, capacity in zip(row, capacities, strict=True):
            part = frame[(frame["metric"] == metric) & (frame["capacity"] == capacity)]
            _panel(ax, part, methods, rates)
            ax.set_title(capacity if metric == metrics[0] else "")
            shown = f"{style.metric_label(metric)} of heat maps{UNITS.get(metric, '')}"
            ax.set_xlabel(style.directed(shown, style.metric_reading(metric), "\n" if len(capacities) > 2 else ", "))
    dots = [ax.plot([], [], "o", color=style.rate_color(rate), label=f"{rate:g}")[0] for rate in rates]
    sets = "; ".join(dict.fromkeys(frame["datasets"]))
    canvas.legend(
        handles=dots,
        title=f"keep rate ({sets}; pairs of runs: {count_range(frame['n'])})",
        loc="outside lower center",
        ncols=len(rates),
        handlelength=0.5,
    )
    return canvas


def _panel(ax: Axes, part: pd.DataFrame, methods: list[str], rates: list[float]) -> None:
    if not len(part):
        style.annotate_gap(ax, "no runs on two data sets")
        return
    step = 0.7 / len(rates)
    for i, rate in enumerate(rates):
        one = part[part["keep_rate"] == rate].set_index("method").reindex(methods)
        bars = np.nan_to_num(np.abs(one[["low", "high"]].to_numpy().T - one["value"].to_numpy()))
        y = np.arange(len(methods)) + step * (i - (len(rates) - 1) / 2)
        look = {"color": style.rate_color(rate), "label": f"{rate:g}"}
        ax.errorbar(one["value"], y, xerr=bars, fmt="o", markersize=3, **look)
        ax.plot(one["chance"], y, "|", color="0.6", zorder=0)
    ax.set_yticks(range(len(methods)), [style.label(method) for method in methods])
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.grid(axis="x")


def _place(row: Any) -> tuple[Any, ...]:
    method = style.order_key(row["method"])
    return SHOWN.index(row["metric"]), style.size_key(row["capacity"]), method, row["keep_rate"]
