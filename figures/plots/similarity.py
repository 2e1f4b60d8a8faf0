"""How alike methods are: similarity of every two methods at one keep rate, stage by stage.

Rows are three measures: IoU of the kept patches, NMI of the merged groups, and the Procrustes distance of class-token
features, after the block above each matrix; darker is more alike. The methods that a measure can be taken of stand,
from left to right as from top to bottom, in the order of a hierarchical clustering (average linkage of the
dissimilarity, averaged over the stages; leaves ordered so that neighbours are alike), the same at every stage. The mean
chance level stands above each matrix and, where it is in range, as a red line in the colour bar; a red cross marks
pairs whose 95 % interval holds their own chance level. Grey: no such pair of runs. What no two runs have is left out,
and named below. Of several runs of a method at a rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from tokenlens.analysis.metrics.base import METRICS

from ..catalogue import figure
from ..select.pairs import is_distance, joined
from ..select.setting import default_rate, describe, select_setting, within
from ..source import Missing
from ..theme import style
from ..theme.style import annotate_gap, canvas, in_order, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..source import Source
    from ..theme.style import Canvas, Into

SHOWN = ("iou", "vmeasure", "procrustes")
LACKING = {  # what runs lack that a metric is of
    "kept": "no two runs keep patches",
    "group": "no two runs merge patches",
    "feature": "no two runs hold features, which `tokenlens extract --features` keeps",
}
COLORS, MARK = "cividis", "#d62728"
LOWEST = 0.06  # inches of a cell, at letters of 8 points: with many methods cells are higher than wide


class Matrix(NamedTuple):
    """One measure at one stage: values and chance levels (m, m), NaN without a pair; whether each is beyond chance."""

    value: NDArray[np.float64]
    chance: NDArray[np.float64]
    beyond: NDArray[np.bool_]


def numbers(
    source: Source, *, dataset: str | None = None, model: str | None = None, keep_rate: float | None = None
) -> pd.DataFrame:
    """One row a pair of methods, measure and stage: value, chance level, interval, and whether it is beyond chance.

    The rate is 0.5 if there are runs at it, else the most frequent one. The un-reduced model, which has no rate, is
    compared too.

    Raises:
        Missing: there is no pair of runs at this rate to show.
    """
    chosen = select_setting(source.table("runs"), dataset, model)
    rate = default_rate(chosen, keep_rate)
    chosen = chosen[(chosen["keep_rate"] == rate) | (chosen["family"] == "none")]
    rows = within(joined(source, "method", SHOWN), chosen)
    if not len(rows):
        raise Missing(
            f"no two methods of {describe(chosen)} are compared at the keep rate {rate:g}; "
            "extract more methods at it and run `tokenlens compare`"
        )
    below, above = rows["low"] > rows["chance"], rows["high"] < rows["chance"]
    rows = rows.assign(keep_rate=rate, beyond_chance=below | above)
    columns = ["metric", "stage", "method_a", "method_b", "value", "std", "n", "chance", "low", "high"]
    order = rows["metric"].map(SHOWN.index).sort_values(kind="stable").index
    return rows.loc[order, ["keep_rate", *columns, "beyond_chance"]].reset_index(drop=True)


def matrices(rows: pd.DataFrame, methods: list[str]) -> dict[int, Matrix]:
    """The rows of one measure as a symmetric matrix for each stage, in the order of `methods`."""
    place = {method: i for i, method in enumerate(methods)}
    made = {}
    for stage, part in rows.groupby("stage"):
        shape = (len(methods),) * 2
        one = Matrix(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, bool))
        a, b = (part[end].map(place).to_numpy() for end in ("method_a", "method_b"))
        for i, j in ((a, b), (b, a)):
            one.value[i, j], one.chance[i, j], one.beyond[i, j] = part["value"], part["chance"], part["beyond_chance"]
        made[int(str(stage))] = one
    return made


def clustered(rows: pd.DataFrame) -> list[str]:
    """The methods of one measure, ordered by hierarchical clustering of the dissimilarity averaged over stages.

    Average linkage with optimal leaf ordering (Bar-Joseph et al., 2001; scipy). A pair that is lacking counts as the
    least alike of all.
    """
    methods = in_order([*rows["method_a"], *rows["method_b"]])
    values = np.stack([one.value for one in matrices(rows, methods).values()])
    seen = ~np.isnan(values)
    mean = np.where(seen, values, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    away = mean if is_distance(rows["metric"].iloc[0]) else METRICS[rows["metric"].iloc[0]].best - mean
    away = np.where(seen.any(axis=0), away.clip(0), away[seen.any(axis=0)].max())
    np.fill_diagonal(away, 0)
    if len(methods) < 3:
        return methods
    order = leaves_list(linkage(squareform(away, checks=False), "average", optimal_ordering=True))
    return [methods[i] for i in order]


@figure(
    "similarity",
    "similarity between methods, ordered by hierarchical clustering",
    numbers,
    needs=["runs", "comparison"],
)
def draw(
    source: Source, *, figure: Into = None, preset: str = "iccv", dataset: str | None = None, model: str | None = None,
    keep_rate: float | None = None,
) -> Canvas:  # fmt: skip
    """Draw the matrices: a row a measure, a column a stage."""
    rows = numbers(source, dataset=dataset, model=model, keep_rate=keep_rate)
    stages, size = sorted(rows["stage"].unique()), style.preset(preset).size
    side = style.preset(preset).page * 8 / size / (len(stages) + 0.9)  # inches of a matrix at letters of 8 points
    shown = {metric: rows[rows["metric"] == metric] for metric in SHOWN if (rows["metric"] == metric).any()}
    orders = {metric: clustered(of) for metric, of in shown.items()}
    heights = [max(side, LOWEST * len(methods)) for methods in orders.values()]
    made = canvas(figure, preset, "page", 0.25 + sum(heights) + 0.25 * len(shown))
    axes = made.subplots(len(shown), len(stages), squeeze=False, height_ratios=heights)
    for (metric, of), line, height in zip(shown.items(), axes, heights, strict=True):
        found, unlike = matrices(of, orders[metric]), is_distance(metric)
        most = of["value"].max() if unlike else METRICS[metric].best
        shades = {"vmin": 0, "vmax": most, "cmap": COLORS if unlike else f"{COLORS}_r"}
        for ax, stage in zip(line, stages, strict=True):
            if stage in found:
                _matrix(ax, found[stage], stage, shades | {"aspect": "auto" if height > side else "equal"})
            else:
                annotate_gap(ax, f"no stage\nat block {stage}")
        line[0].set_yticks(range(len(orders[metric])), map(label, orders[metric]))
        line[0].tick_params(axis="y", labelsize=0.85 * min(72 * height / len(orders[metric]), 8) * size / 8)
        _bar(made, line, metric, found)
    setting = describe(select_setting(source.table("runs"), dataset, model))
    lacking = [f"{style.metric_label(name)}: {LACKING[METRICS[name].of]}" for name in SHOWN if name not in shown]
    style.say_left_out(made, lacking, f"keep {rows['keep_rate'].iloc[0]:g}; {setting}")
    _fit(made, axes)
    return made


def _fit(made: Canvas, axes: NDArray[np.object_]) -> None:
    """Give names and crosses the size of the cells, which is known when all has found its place."""
    made.figure.draw_without_rendering()
    for line in axes:
        high = line[0].get_window_extent().height * 72 / made.figure.dpi
        cell = min(high / max(len(line[0].get_yticks()), 1), matplotlib.rcParams["font.size"])
        line[0].tick_params(axis="y", labelsize=0.85 * cell)
        for crosses in (found for ax in line for found in ax.collections):
            crosses.set_sizes([cell**2 / 6])


def _matrix(ax: Axes, one: Matrix, stage: int, shades: dict[str, Any]) -> None:
    """Draw one matrix: crosses where it may be chance, grey where there is no pair, nothing on the diagonal."""
    ax.imshow(np.ma.masked_invalid(one.value), **shades)
    itself = np.eye(len(one.value), dtype=bool)
    for y, x in np.argwhere(np.isnan(one.value) & ~itself):
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="0.85", lw=0))
    y, x = np.nonzero(~np.isnan(one.value) & ~one.beyond)
    ax.scatter(x, y, marker="x", linewidths=0.6, color=MARK, gid="chance")
    ax.set_title(f"block {stage} · chance {np.nanmean(one.chance):.2f}", fontsize="small")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _bar(made: Canvas, line: NDArray[np.object_], metric: str, found: dict[int, Matrix]) -> None:
    """The colour bar of a row, with a line at the mean chance level of each stage."""
    image = next(image for ax in line for image in ax.images)
    unlike = is_distance(metric)
    bar = made.colorbar(image, ax=list(line), aspect=14, pad=0.01, fraction=0.03)
    bar.set_label(style.directed(f"{style.metric_label(metric)}{' distance' * unlike}", style.metric_reading(metric)))
    for one in found.values():
        if image.norm.vmin <= (level := float(np.nanmean(one.chance))) <= image.norm.vmax:
            bar.ax.axhline(level, color=MARK, lw=1, gid="chance")
    if unlike:
        bar.ax.invert_yaxis()  # alike at the top, as in the other rows
