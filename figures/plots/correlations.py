"""How well similarity to an anchor tells the difference in accuracy: the correlation tables as heat maps.

One column an anchor; above Spearman's ρ, below Kendall's τ. A row is a measure of similarity, taken after the last
stage; a cell is the mean over data sets and capacities at one keep rate, the last column that over all rates. Bold:
at least half of the correlations in the mean hold at 5 %, after Benjamini-Hochberg over the whole table. Distances,
below the line, should correlate positively, similarities negatively. Grey: the anchor has not what the measure
compares, or too few methods have. All panels have one range of colours. Sets with a photographer's bias are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns

from tokenlens.analysis.metrics.base import METRICS

from ..catalogue import figure
from ..output.latex_markdown import Layout
from ..select.pairs import is_distance, last_stage, without_bias
from ..source import Source
from ..theme import style
from .proxy import ANCHORS, LETTERS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ALL_RATES = "all"
SURE = 0.05
LAYOUT = Layout(
    rows=("statistic", "anchor", "metric"), across="keep_rate", value="value", best="strongest",
    caption="Rank correlation of similarity to an anchor with the accuracy below it, the mean over data sets and "
    "capacities at each keep rate. Bold: the measure that correlates most with it, of either sign.",
)  # fmt: skip


def numbers(source: Source) -> pd.DataFrame:
    """One row a statistic, anchor, metric and keep rate ("all": over them): value, share below 5 % by q, n."""
    import pandas as pd

    proxy = last_stage(without_bias(source.table("proxy")))
    proxy = proxy.assign(keep_rate=proxy["keep_rate"].map("{:g}".format), sure=proxy["q"] < SURE)
    every = pd.concat([proxy, proxy.assign(keep_rate=ALL_RATES)])
    keys = ["statistic", "anchor", "metric", "keep_rate"]
    drawn = {"value": ("value", "mean"), "sure": ("sure", "mean"), "n": ("value", "count")}
    frame = every.groupby(keys, as_index=False).agg(**drawn)
    rows: list[Any] = frame.to_dict("records")
    return pd.DataFrame(sorted(rows, key=_place))


@figure(
    "correlations", "correlations of similarity and accuracy, as heat maps", numbers, needs=["proxy"], layout=LAYOUT
)
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page."""
    frame = numbers(source)
    anchors, metrics = (list(dict.fromkeys(frame[name])) for name in ("anchor", "metric"))
    statistics = [name for name in LETTERS if name in set(frame["statistic"])]
    metrics = sorted(metrics, key=_row)
    canvas = style.canvas(figure, preset, "page", len(statistics) * (0.15 * len(metrics) + 0.45) + 0.3)
    panels = canvas.subplots(len(statistics), len(anchors), squeeze=False, sharex=True, sharey=True)
    for row, statistic in zip(panels, statistics, strict=True):
        for ax, anchor in zip(row, anchors, strict=True):
            _panel(ax, frame[(frame["statistic"] == statistic) & (frame["anchor"] == anchor)], frame, metrics)
            ax.set_title(f"{LETTERS[statistic]}, anchor: {ANCHORS.get(anchor, style.label(anchor))}")
            ax.set_xlabel("keep rate" if statistic == statistics[-1] else "")
            ax.set_ylabel("")
    bar = canvas.colorbar(panels[0, 0].collections[0], ax=panels, pad=0.01, fraction=0.02, aspect=30, shrink=0.6)
    bar.set_label("correlation with the loss of accuracy")
    return canvas


def _panel(ax: Axes, part: pd.DataFrame, frame: pd.DataFrame, metrics: list[str]) -> None:
    rates = sorted(set(frame["keep_rate"]), key=_rate)
    cells = {name: part.pivot(index="metric", columns="keep_rate", values=name).reindex(index=metrics, columns=rates)
             for name in ("value", "sure")}  # fmt: skip
    value = cells["value"].astype(float)
    ax.patch.set(facecolor="0.9")
    words = value.map(lambda v: f"{v:.2f}".replace("-", "−"))
    sns.heatmap(value, ax=ax, vmin=-1, vmax=1, cmap="vlag", annot=words, fmt="", mask=value.isna(), cbar=False,
                linewidths=0.3, annot_kws={"fontsize": "x-small"})  # fmt: skip
    sure = cells["sure"].to_numpy(float)[~value.isna().to_numpy()]
    shades = ax.collections[0].to_rgba(value.to_numpy()[~value.isna().to_numpy()])
    for text, share, shade in zip(ax.texts, sure, shades, strict=True):
        text.set(fontweight="bold" if share >= 0.5 else "normal", color=style.ink(shade))
    ax.set_yticks(np.arange(len(metrics)) + 0.5, list(map(style.metric_label, metrics)), rotation=0)
    ax.set_xticks(np.arange(len(rates)) + 0.5, rates, rotation=0)
    ax.axhline(sum(not is_distance(name) for name in metrics), color="0.2", linewidth=0.8)
    ax.tick_params(length=0)


def _rate(name: str) -> float:
    return 2.0 if name == ALL_RATES else float(name)


def _row(metric: str) -> tuple[Any, ...]:
    names = list(METRICS)
    return is_distance(metric), names.index(metric) if metric in names else len(names), metric


def _place(row: Any) -> tuple[Any, ...]:
    known = list(ANCHORS)
    anchor = known.index(row["anchor"]) if row["anchor"] in ANCHORS else len(known)
    return list(LETTERS).index(row["statistic"]), anchor, row["anchor"], _row(row["metric"]), _rate(row["keep_rate"])
