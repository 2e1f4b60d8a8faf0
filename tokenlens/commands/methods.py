"""`tokenlens methods`: the reduction methods."""

from __future__ import annotations

from collections.abc import Iterator

from .listing import Row, listing_command
from .options import examples


def rows() -> Iterator[Row]:
    """The methods in the order of the study, then those of other packages."""
    from ..methods.registry import METHODS

    for name, method in METHODS.items():
        reducer = method.reducer
        facts = {
            "learned": reducer.trained,
            "needs": list(reducer.needs),
            "paper": reducer.paper,
            "options": method.defaults,
            "onnx": reducer.portable,
            "defined in": METHODS.origin(name),
        }
        yield Row(name, reducer.family, method.card, facts)


methods = listing_command(
    "methods",
    "method",
    "List the methods: how they reduce, and what they do; with names, all that is known of these.",
    rows,
    examples("tokenlens methods", "tokenlens methods kmedoids,atc-average", "tokenlens methods --json"),
)
