"""`tokenlens metrics`: what patterns, heat maps and features are compared by."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from .listing import Row, listing_command
from .options import examples


def rows() -> Iterator[Row]:
    """The metrics; the family is what they are of."""
    from tokenlens.analysis.metrics.base import METRICS

    for name, metric in METRICS.items():
        sentence = (inspect.getdoc(metric.value) or metric.title).split("\n")[0]
        facts = {
            "title": metric.title,
            "range": [str(bound) for bound in metric.range],
            "direction": metric.direction,
            "chance": metric.chance is not None,
            "nulls": list(metric.nulls),
            "target": metric.target,
            "swapped": metric.swap or name,
            "axes": list(metric.axes),
            "defined in": METRICS.origin(name),
        }
        yield Row(name, metric.of, sentence, facts)


metrics = listing_command(
    "metrics",
    "metric",
    "List the metrics: what they are of, and what they tell; with names, all that is known of these.",
    rows,
    examples("tokenlens metrics", "tokenlens metrics iou,emd", "tokenlens metrics --json"),
)
