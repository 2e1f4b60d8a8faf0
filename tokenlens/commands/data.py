"""`tokenlens data`: the kinds of data sets."""

from __future__ import annotations

from collections.abc import Iterator

from .listing import Row, listing_command
from .options import examples


def rows() -> Iterator[Row]:
    """The kinds; the family is how many classes an image has."""
    from ..data.registry import DATA_SETS

    for name, data_set in DATA_SETS.items():
        facts = {
            "written": data_set.written,
            "splits": list(data_set.splits),
            "masks": data_set.masks,
            "ids": data_set.ids,
            "defined in": DATA_SETS.origin(name),
        }
        yield Row(name, f"{data_set.labels} label{'' if data_set.labels == 'one' else 's'}", data_set.card, facts)


data = listing_command(
    "data",
    "data set",
    "List the kinds of data sets that --data takes; with names, all that is known of these.",
    rows,
    examples("tokenlens data", "tokenlens data folder,coco", "tokenlens data --json"),
)
