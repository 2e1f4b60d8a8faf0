"""Where methods look: how much of the object the kept patches hit, against patterns that know nothing of the image.

A column is a stage; a line is a method, its points its keep rates, growing from left to right. To the right, the share
of all patches that the method kept. Above: the share of the object's patches that were kept (the hit rate), which for a
random pattern is the share of all patches, on the dashed diagonal. Below: the share of the kept patches that are on the
object, which for a random pattern is the object's share of the image, on the dashed line. Means over images with an
object, with 95 % intervals. Of several runs of a method at a rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from ..catalogue import figure
from ..output.latex_markdown import Layout
from ..parts.curves import EXPECTED, curves
from ..select.pairs import joined
from ..select.setting import describe, select_setting, within
from ..source import Missing
from ..theme import style
from ..theme.style import annotate_gap, canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..source import Source
    from ..theme.style import Canvas, Into

RECALL, PRECISION = "foreground_recall", "foreground_precision"
LABELS = {RECALL: "share of object kept", PRECISION: "share of kept patches\non the object"}

LAYOUT = Layout(
    rows=("metric", "stage", "method"), across="keep_rate", value="value", best="metric",
    caption="Share of the object's patches that are kept, and share of the kept patches that lie on it, after each "
    "stage at each keep rate, with 95 % intervals. Bold: the best method.",
)  # fmt: skip


def numbers(source: Source, *, dataset: str | None = None, model: str | None = None) -> pd.DataFrame:
    """One row a measure, stage, method and keep rate: value, interval, chance level, and the share of patches kept.

    Raises:
        Missing: no run has masks of objects to compare with.
    """
    chosen = select_setting(source.table("runs"), dataset, model)
    rows = within(joined(source, "object", [RECALL, PRECISION]), chosen)
    if not len(rows):
        raise Missing(
            f"{describe(chosen)}: no run has masks of objects; extract runs of a data set that has some, as "
            "`embedded:shapes`, and run `tokenlens compare`"
        )
    rows = rows.rename(columns={"method_a": "method", "keep_rate_a": "keep_rate"})
    recall = rows[rows["metric"] == RECALL].set_index(["run_a", "stage"])["chance"]  # of a random pattern: its size
    rows["kept"] = [recall.get((run, stage)) for run, stage in zip(rows["run_a"], rows["stage"], strict=True)]
    rows["first"], rows["order"] = rows["metric"].map(list(LABELS).index), rows["method"].map(style.order_key)
    rows = rows.sort_values(["first", "stage", "order", "keep_rate"], ignore_index=True)
    return rows[["metric", "stage", "method", "keep_rate", "value", "low", "high", "chance", "kept", "n"]]


@figure("object", "share of the object that is kept", numbers, needs=["runs", "comparison"], fades=True,
        layout=LAYOUT)  # fmt: skip
def draw(
    source: Source, *, figure: Into = None, preset: str = "iccv", dataset: str | None = None, model: str | None = None
) -> Canvas:
    """Draw a row a measure and a column a stage."""
    rows = numbers(source, dataset=dataset, model=model)
    stages = sorted(rows["stage"].unique())
    made = canvas(figure, preset, "page", 4.2 + style.legend_room(rows["method"], preset, 1))
    axes = made.subplots(len(LABELS), len(stages), squeeze=False, sharex=True, sharey="row")
    for line, metric in zip(axes, LABELS, strict=True):
        for ax, stage in zip(line, stages, strict=True):
            ax.tick_params(labelleft=False)
            _panel(ax, rows[(rows["metric"] == metric) & (rows["stage"] == stage)], metric)
            ax.set_title(f"after block {stage}" if metric == RECALL else "")
        style.label_rows(line, style.directed(LABELS[metric], style.metric_reading(metric)))
    made.supxlabel(
        f"share of patches kept ({describe(select_setting(source.table('runs'), dataset, model))})", fontsize="medium"
    )
    style.legend_of(made, rows["method"], also=[Line2D([], [], **EXPECTED, label="a random pattern")], above=True)
    return made


def _panel(ax: Axes, part: pd.DataFrame, metric: str) -> None:
    """Draw one measure at one stage, with the line where a random pattern is."""
    if not part["value"].notna().any():
        annotate_gap(ax, f"not compared by\n{metric}")
        return
    if metric == RECALL:
        ax.axline((0, 0), slope=1, **EXPECTED)
    else:
        ax.axhline(part["chance"].mean(), **EXPECTED)
    curves(ax, part, "kept", "value")
