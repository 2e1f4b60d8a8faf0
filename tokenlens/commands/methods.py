"""`tokenlens methods`: the reduction methods."""

from __future__ import annotations

from collections.abc import Iterator

from .listing import Row, listing_command
from .options import examples


def rows() -> Iterator[Row]:
    """The methods in the order of the study, those of other packages, and the one that denoisers alone can have."""
    from ..methods.registry import METHODS
    from ..synthesis.tome_sd import TOME_SD

    for name, method in (*METHODS.items(), (TOME_SD.name, TOME_SD)):
        reducer = method.reducer
        facts = {
            "learned": reducer.trained,
            "needs": list(reducer.needs),
            "paper": reducer.paper,
            "options": method.defaults,
            "onnx": reducer.portable,
            "defined in": METHODS.origin(name) if name in METHODS else method.reducer.__module__,
        }
        yield Row(name, reducer.family, method.card, facts)


methods = listing_command(
    "methods",
    "method",
    "List the methods: how they reduce, and what they do; with names, all that is known of these.",
    rows,
    examples("tokenlens methods", "tokenlens methods kmedoids,atc-average", "tokenlens methods --json"),
)
