"""`tokenlens metrics`: what patterns, heat maps and features are compared by."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .listing import Row, listing_command
from .options import examples

if TYPE_CHECKING:
    from ..analysis.metrics.base import Metric

INTRODUCTION = """# The metrics

What patterns, heat maps and features are compared by, as the registry knows them: `tokenlens metrics NAME` says the
same of one. `python -m tokenlens.commands.metrics > docs/metrics.md` writes this page anew.

*Target* is what an estimate and its interval are of; the value is of the very images that were compared. *Nulls* are
what it can be put beside with `tokenlens compare --null NAME`, its own first; *chance* is the level that the metric
states itself, for these sizes and these maps; *z and p* say how far from chance a value lies, *ceiling* how much alike
two runs could be at most. Shapes: `...` leading axes such as image and stage, P patches.
"""


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
            "z and p": metric.test,
            "ceiling": metric.ceiling,
            "target": metric.target,
            "estimate": metric.estimator,
            "swapped": metric.swap or name,
            "axes": list(metric.axes),
            "defined in": METRICS.origin(name),
        }
        yield Row(name, metric.of, sentence, facts)


def page() -> str:
    """All metrics in Markdown: docs/metrics.md."""
    from tokenlens.analysis.metrics.base import METRICS
    from tokenlens.analysis.selection import WHAT

    parts = [INTRODUCTION]
    for of, what in WHAT.items():
        kind = [
            metric
            for metric in METRICS.values()
            if metric.of == of and METRICS.origin(metric.name).startswith(METRICS.home)
        ]
        if not kind:
            continue
        nulls = ", ".join(dict.fromkeys(null for metric in kind for null in metric.nulls))
        only = f"; {kind[0].few_nulls}" if kind[0].few_nulls else ""
        facts = (f"Target: {kind[0].target}.", f"Nulls: {nulls or 'none'}{only}.", f"z and p: {kind[0].test}.",
                 f"Ceiling: {kind[0].ceiling}.")  # fmt: skip
        said = "\n\n".join((*facts, _sources(kind))).rstrip()
        head = "| name | what it is | range | alike is | chance | estimate | along |\n|---|---|---|---|---|---|---|"
        parts.append(f"## Of {what}\n\n{said}\n\n{head}{''.join(map(_line, kind))}\n")
    return "\n".join(parts)


def _line(metric: Metric) -> str:
    said = " ".join((inspect.getdoc(metric.value) or metric.title).split("\n\n")[0].split()).replace("|", "\\|")
    low, high = (f"{bound:g}".replace("inf", "∞") for bound in metric.range)
    alike = "higher" if metric.direction == "similarity" else "lower"
    level = "not known" if metric.chance is None else "stated for each pair"
    level = f"{metric.chance:g}" if isinstance(metric.chance, int | float) else level
    cells = (f"`{metric.name}`", said, f"{low} .. {high}", alike, level, metric.estimator, ", ".join(metric.axes))
    return f"\n| {' | '.join(cells)} |"


def _sources(kind: list[Metric]) -> str:
    """What the files of these metrics say of where they come from."""
    said = dict.fromkeys(sys.modules[metric.value.__module__].__doc__ or "" for metric in kind)
    found = [re.search(r"^Sources?( of .*?)?: .*", doc, re.DOTALL | re.MULTILINE) for doc in said]
    return " ".join(" ".join(match.group().split()) for match in found if match)


metrics = listing_command(
    "metrics",
    "metric",
    "List the metrics: what they are of, and what they tell; with names, all that is known of these.",
    rows,
    examples("tokenlens metrics", "tokenlens metrics iou,emd", "tokenlens metrics --json"),
)

if __name__ == "__main__":
    print(page(), end="")
