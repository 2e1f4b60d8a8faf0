"""Accuracy against keep rate, one panel a data set and capacity, and the average rank of each method.

Bars are 95 % intervals: Wilson's, from the share of right answers and the number of images; a mean average precision
has none. Several runs of a method at a rate (seeds, options) are averaged; runs without one keep rate are left out. The
horizontal line is the un-reduced model; a hollow point cannot be told from it, image by image (McNemar's test after
Benjamini-Hochberg over all pairs of runs, q > 0.05). Right: the rank of each method by accuracy (1 is the best). A
small dot is the mean over data sets and capacities at one keep rate, the large mark the mean over all, with a 95 %
Student-t interval over data sets, capacities and rates; sets with a photographer's bias are left out of the ranks.
Where only one method has a rank, or none, there are no ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..catalogue import figure
from ..output.latex_markdown import Layout
from ..parts.lines import draw_lines
from ..select.pairs import biased, mean_interval
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SHARES = ("top1", "top5")  # measures that are the share of images answered rightly
Z = 1.959964  # of the normal distribution at 97.5 %
LEVEL = 0.05  # of the paired test, above which two runs cannot be told apart
HOLLOW: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "white", "zorder": 3}
SETTING = ["dataset", "capacity", "keep_rate"]
LAYOUT = Layout(
    rows=("dataset", "capacity", "method"), across="keep_rate", value="accuracy", best="higher",
    caption="Accuracy in percent at each keep rate, with Wilson's 95 % interval where it is a share of images. Bold: "
    "the best method of a data set and capacity at that rate.",
)  # fmt: skip


def numbers(source: Source) -> pd.DataFrame:
    """One row a data set, capacity, method and keep rate: measure, accuracy, low, high, rank (of the setting), n.

    And how many points it is below the un-reduced model on the same images, with q of the paired test.
    """
    import pandas as pd

    runs = source.table("runs")
    scored = runs[runs["accuracy"].notna() & runs["keep_rate"].notna()]
    if not len(scored):
        raise Missing(
            "no run has both an accuracy and one keep rate; extract labelled images with `tokenlens extract`, or give "
            "`tokenlens compare --accuracy FILE.csv`"
        )
    keys = ["dataset", "capacity", "method", "family", "keep_rate", "measure"]
    frame = scored.groupby(keys, as_index=False).agg(
        accuracy=("accuracy", "mean"), n=("images", "max"), below=("below", "mean"), q=("q", "max")
    )
    frame["low"], frame["high"] = wilson(frame["accuracy"], frame["n"])
    frame.loc[~frame["measure"].isin(SHARES), ["low", "high"]] = np.nan
    reduced = frame[(frame["family"] != "none") & ~biased(frame["dataset"])]
    frame["rank"] = reduced.groupby(SETTING)["accuracy"].rank(ascending=False)
    rows: list[Any] = frame[[*keys, "accuracy", "low", "high", "below", "q", "rank", "n"]].to_dict("records")
    return pd.DataFrame(sorted(rows, key=_place))


def wilson(percent: Any, n: Any) -> tuple[Any, Any]:
    """The ends of Wilson's 95 % interval of a share of n, all in percent."""
    share, n = np.asarray(percent) / 100, np.asarray(n, dtype=np.float64)
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return 100 * (middle - half), 100 * (middle + half)


def average_ranks(frame: pd.DataFrame) -> dict[str, tuple[float, float, float, int]]:
    """Mean rank, its interval and the number of settings of each method, the best first."""
    known = frame[frame["rank"].notna()]
    ends = (1, known["rank"].max())
    found = {str(method): mean_interval(part["rank"], ends) for method, part in known.groupby("method")}
    return dict(sorted(found.items(), key=lambda item: (item[1][0], style.order_key(item[0]))))


@figure(
    "accuracy",
    "accuracy against keep rate, and the average rank of each method",
    numbers,
    needs=["runs"],
    layout=LAYOUT,
    fades=True,
)
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page."""
    frame = numbers(source)
    datasets, capacities = sorted(set(frame["dataset"])), style.by_size(frame["capacity"])
    ranks = average_ranks(frame)
    ranked = len(ranks) > 1
    rates = sorted(set(frame.loc[frame["rank"].notna(), "keep_rate"])) if ranked else []
    room = 0.75 + style.legend_room(frame["method"], preset, len(rates))
    rows = max(1.75 * len(datasets), 2.5, 0.13 * len(ranks))
    canvas = style.canvas(figure, preset, "page", rows + room)
    widths = [1.0] * len(capacities) + [0.9] * ranked
    grid = canvas.add_gridspec(len(datasets), len(widths), width_ratios=widths)
    for i, dataset in enumerate(datasets):
        row: list[Axes] = []
        for j, capacity in enumerate(capacities):
            ax = canvas.add_subplot(grid[i, j], sharey=row[0] if row else None)
            row.append(ax)
            part = frame[(frame["dataset"] == dataset) & (frame["capacity"] == capacity)]
            _panel(ax, part)
            ax.set_title(f"{style.place(dataset)}, {capacity}")
            ax.tick_params(labelleft=False)
            ax.set_xlabel("keep rate" if i == len(datasets) - 1 else "")
        measures = {style.MEASURES.get(name, name) for name in frame.loc[frame["dataset"] == dataset, "measure"]}
        style.label_rows(row, style.directed(f"{' or '.join(sorted(measures))} (%)", style.HIGHER))
    if ranked:
        _ranks(canvas.add_subplot(grid[:, -1]), frame, ranks)
    also = [Line2D([], [], **_dot(rate)) for rate in rates]
    if (frame["q"] > LEVEL).any():
        also.append(Line2D([], [], color="0.3", marker="o", label="not told from un-reduced", **HOLLOW))
    style.legend_of(canvas, frame["method"], also=also)
    return canvas


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    if not len(part):
        style.annotate_gap(ax, "no runs")
        return
    unreduced = part["family"] == "none"
    for method, accuracy in part.loc[unreduced, ["method", "accuracy"]].itertuples(index=False):
        ax.axhline(accuracy, color=style.color(method), linewidth=0.8, label=style.label(method))
    reduced = part[~unreduced]
    draw_lines(ax, reduced, "keep_rate", "accuracy", {rate: rate for rate in sorted(set(reduced["keep_rate"]))})
    for method, rate, accuracy in reduced.loc[reduced["q"] > LEVEL, ["method", "keep_rate", "accuracy"]].itertuples(
        index=False
    ):
        ax.plot(rate, accuracy, color=style.color(method), marker=style.marker(method), **HOLLOW)


def _ranks(ax: Axes, frame: pd.DataFrame, ranks: dict[str, tuple[float, float, float, int]]) -> None:
    ax.set_title("average rank")
    for y, (method, (mean, low, high, _)) in enumerate(ranks.items()):
        one = frame[frame["method"] == method]
        for rate, rank in one.groupby("keep_rate")["rank"].mean().items():
            ax.plot(rank, y, zorder=1, **_dot(float(str(rate))))
        bars = np.nan_to_num([[mean - low], [high - mean]])
        ax.errorbar(mean, y, xerr=bars, color=style.color(method), marker=style.marker(method), elinewidth=0.7)
    ax.set_yticks(range(len(ranks)), [style.shortened(style.label(method), style.LONGEST) for method in ranks])
    ax.invert_yaxis()
    ax.set_xlim(0, frame["rank"].max() + 1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(style.directed("rank", style.LOWER, ", "))
    ax.grid(axis="x")


def _dot(rate: float) -> dict[str, Any]:
    size = 0.7 * matplotlib.rcParams["lines.markersize"]
    look = {"color": style.rate_color(rate), "marker": "o", "markersize": size, "linestyle": "none"}
    return look | {"label": f"at rate {rate:g}"}


def _place(row: Any) -> tuple[Any, ...]:
    return row["dataset"], style.size_key(row["capacity"]), style.order_key(row["method"]), row["keep_rate"]
