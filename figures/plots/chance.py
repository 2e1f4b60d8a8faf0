"""Overlap of each method's kept patches with radial and with random patterns, against chance.

A column is a pattern to overlap with, as far as there are runs of it, a row a stage. A line is a method, its points its
keep rates, growing from left to right: the IoU that random patterns of the same two sizes would have, and by how much
the IoU with the pattern at the same rate is above that, averaged over images, with its 95 % interval. On the dashed
line the method is as near to the pattern as chance is; where all patches of a ring are kept (IoU 1), nothing is above
chance. Of several runs of a method at a rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..catalogue import figure
from ..parts.curves import EXPECTED, curves
from ..select.pairs import joined
from ..select.setting import describe, select_setting, within
from ..source import Missing
from ..theme import style
from ..theme.style import annotate_gap, canvas, label

if TYPE_CHECKING:
    import pandas as pd

    from ..source import Source
    from ..theme.style import Canvas, Into

METRIC = "iou"
FIXED = ("radial", "random")  # families whose patterns know nothing of the image


def numbers(source: Source, *, dataset: str | None = None, model: str | None = None) -> pd.DataFrame:
    """One row a pattern, stage, method and keep rate: the IoU, its interval, the chance level, and the IoU above it.

    Radial patterns are not compared with each other; the random ones are with the radial.

    Raises:
        Missing: no method is compared with a radial or a random pattern of the same keep rate.
    """
    import pandas as pd

    chosen = select_setting(source.table("runs"), dataset, model)
    rows = within(joined(source, "method", [METRIC]), chosen)
    rows = rows[rows["keep_rate_a"] == rows["keep_rate_b"]]
    turned = rows.rename(
        columns={f"{name}_{end}": f"{name}_{other}" for name in ("method", "family") for end, other in ("ab", "ba")}
    )
    both = pd.concat([rows, turned], ignore_index=True).rename(
        columns={"method_a": "method", "method_b": "pattern", "keep_rate_a": "keep_rate", "value": "iou"}
    )
    both["above"] = both["iou"] - both["chance"]
    both = both[both["family_b"].isin(FIXED) & (both["family_a"] != "radial")]
    if not len(both):
        raise Missing(
            f"no method of {describe(chosen)} is compared with a fixed pattern; "
            "`tokenlens extract --method l1,l2,linf,random` and `tokenlens compare` do it"
        )
    columns = ["pattern", "stage", "method", "keep_rate", "iou", "low", "high", "chance", "above", "n"]
    both["place"] = both["family_b"].map(FIXED.index)
    both["order"] = both["method"].map(style.order_key)
    return both.sort_values(["place", "stage", "order", "keep_rate"], ignore_index=True)[columns]


@figure(
    "chance",
    "overlap with radial and with random patterns, against chance",
    numbers,
    needs=["runs", "comparison"],
    fades=True,
)
def draw(
    source: Source, *, figure: Into = None, preset: str = "iccv", dataset: str | None = None, model: str | None = None
) -> Canvas:
    """Draw a column a pattern and a row a stage."""
    rows = numbers(source, dataset=dataset, model=model)
    stages = sorted(rows["stage"].unique())
    rows = rows.assign(low=rows["low"] - rows["chance"], high=rows["high"] - rows["chance"])
    patterns = list(dict.fromkeys(rows["pattern"]))
    made = canvas(figure, preset, "page", 1.3 * len(stages) + 0.7 + style.legend_room(rows["method"], preset))
    axes = made.subplots(len(stages), len(patterns), squeeze=False, sharex=True, sharey=True)
    for line, stage in zip(axes, stages, strict=True):
        for ax, pattern in zip(line, patterns, strict=True):
            part = rows[(rows["pattern"] == pattern) & (rows["stage"] == stage)]
            ax.set_title(f"IoU with {label(pattern)}" if stage == stages[0] else "")
            ax.tick_params(labelleft=False)
            if len(part):
                ax.axhline(0, **EXPECTED)
                curves(ax, part, "chance", "above")
            else:
                annotate_gap(ax, f"no runs of {label(pattern)}\nat block {stage}")
        style.label_rows(line, style.directed(f"block {stage}: above chance", style.metric_reading(METRIC)))
    setting = describe(select_setting(source.table("runs"), dataset, model))
    made.supxlabel(f"IoU by chance ({setting})", fontsize="medium")
    style.legend_of(made, rows["method"], above=True)
    return made
