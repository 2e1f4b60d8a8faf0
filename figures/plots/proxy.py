"""Is similarity a proxy for accuracy? Similarity to an anchor against how much less accurate a method is.

One column an anchor: the best run of its setting, Top-K, the un-reduced model. Rows: class-token features by
Procrustes distance, groups by NMI, kept patches by IoU, all after the last stage. A point is a method at one keep
rate on one data set with one capacity, which make a setting and have one anchor. ρ is Spearman's and τ Kendall's
correlation within a setting, in the mean over settings with its 95 % Student-t interval; of a single setting, with
the interval of a bootstrap over methods. For the distance, a positive correlation says that who is like the anchor is
as accurate; for the others, a negative one. Sets with a photographer's bias are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenlens.analysis.metrics.base import METRICS

from ..catalogue import figure
from ..select.pairs import interval_of, joined, last_stage, without_bias
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SHOWN = ("procrustes", "vmeasure", "iou")  # alike from both sides, so that it does not matter which run is the anchor
ANCHORS = {"best": "best run", "topk": "Top-K", "none": "un-reduced"}
LACKING = {  # what runs lack that a metric is of
    "feature": "no features of these runs:\ntokenlens extract --features",
    "group": "this anchor\nmerges nothing",
    "kept": "this anchor keeps\nno set of patches",
}
LETTERS = {"spearman": "ρ", "kendall": "τ"}


def numbers(source: Source) -> pd.DataFrame:
    """One row a point: anchor, metric, dataset, capacity, keep_rate, method, similarity, difference in accuracy."""
    import pandas as pd

    settings = correlations(source).drop_duplicates(["anchor", "run", "metric", "keep_rate"])
    pairs = last_stage(joined(source, "method", SHOWN))
    names = ("run", "method", "family", "keep_rate")
    turned = {f"{name}_{end}": f"{name}_{other}" for name in names for end, other in ("ab", "ba")}
    both = pd.concat([pairs, pairs.rename(columns=turned)], ignore_index=True)
    accuracy = source.table("runs").set_index("run")["accuracy"]
    columns = {"run": "run_a", "metric": "metric", "keep_rate": "keep_rate_b"}
    found = settings[["anchor", "dataset", "capacity", *columns]].merge(
        both[both["family_b"] != "none"][[*columns.values(), "run_b", "method_b", "value"]],
        left_on=list(columns), right_on=list(columns.values()),
    )  # fmt: skip
    if not len(found):
        raise Missing(
            "the proxy and comparison tables are not of the same runs; write both anew by `tokenlens compare`"
        )
    found = found.assign(
        method=found["method_b"], similarity=found["value"],
        difference=found["run"].map(accuracy) - found["run_b"].map(accuracy),
    )  # fmt: skip
    shown = ["anchor", "metric", "dataset", "capacity", "keep_rate", "method", "similarity", "difference"]
    rows: list[Any] = found[found["difference"].notna()][shown].to_dict("records")
    return pd.DataFrame(sorted(rows, key=_place))


def correlations(source: Source) -> pd.DataFrame:
    """The rows of the proxy table that are written into the panels: of these metrics, at their last stage."""
    proxy = without_bias(source.table("proxy"))
    part = last_stage(proxy[proxy["metric"].isin(SHOWN)])
    if not len(part):
        raise Missing(
            f"the proxy table has no correlation by {', '.join(SHOWN)}; it takes an anchor and three more methods "
            "with an accuracy at one keep rate, and `tokenlens compare`"
        )
    return part


def sentence(part: pd.DataFrame) -> str:
    """What the rows of one anchor and metric say: ρ and τ, each with its interval."""
    words = []
    for statistic, letter in LETTERS.items():
        one = part[part["statistic"] == statistic]
        value, low, high, _ = interval_of(one, (-1, 1))
        interval = "" if low != low else f" [{low:.2f}, {high:.2f}]"
        words.append(f"{letter} {value:.2f}{interval}".replace("-", "−"))
    return "\n".join(words)


@figure(
    "proxy",
    "similarity against difference in accuracy, one panel an anchor",
    numbers,
    needs=["runs", "comparison", "proxy"],
    fades=True,
)
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page."""
    points, said = numbers(source), correlations(source)
    anchors = list(dict.fromkeys(points["anchor"]))
    metrics = [metric for metric in SHOWN if metric in set(points["metric"])]
    canvas = style.canvas(
        figure, preset, "page", 1.9 * len(metrics) + 0.8 + style.legend_room(points["method"], preset)
    )
    panels = canvas.subplots(len(metrics), len(anchors), squeeze=False, sharey="row")
    for row, metric in zip(panels, metrics, strict=True):
        for ax, anchor in zip(row, anchors, strict=True):
            part = points[(points["anchor"] == anchor) & (points["metric"] == metric)]
            title = [f"anchor: {ANCHORS.get(anchor, style.label(anchor))}"] if metric == metrics[0] else []
            if not len(part):
                ax.set_title("\n".join(title))
                style.annotate_gap(ax, LACKING[METRICS[metric].of])
                continue
            here = said[(said["anchor"] == anchor) & (said["metric"] == metric)]
            ax.set_title("\n".join([*title, sentence(here)]))
            count = len(here) // len(LETTERS)
            shown = f"{style.metric_label(metric)} ({count} setting{'s' if count > 1 else ''})"
            ax.set_xlabel(style.directed(shown, style.metric_reading(metric)))
            _panel(ax, part)
        style.label_rows(row, style.directed("accuracy below the anchor", style.LOWER))
    style.legend_of(canvas, points["method"], lines=False)
    return canvas


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    for method in style.in_order(part["method"]):
        one = part[part["method"] == method]
        ax.plot(one["similarity"], one["difference"], color=style.color(method), marker=style.marker(method),
                linestyle="none", label=style.label(method), zorder=style.zorder(method))  # fmt: skip
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.grid(axis="both")


def _place(row: Any) -> tuple[Any, ...]:
    anchors = list(ANCHORS)
    first = anchors.index(row["anchor"]) if row["anchor"] in anchors else len(anchors)
    return (first, row["anchor"], SHOWN.index(row["metric"]), row["dataset"], style.size_key(row["capacity"]),
            row["keep_rate"], style.order_key(row["method"]))  # fmt: skip
