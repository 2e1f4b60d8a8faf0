"""Which of the images that can be shown are shown: so many, or those that a user names."""

from collections.abc import Sequence

from tokenlens.errors import UnknownName


def chosen_of(ids: Sequence[str], wanted: int | Sequence[str]) -> list[str]:
    """At most so many of the images, evenly spaced; or those that are named. UnknownName for one that is not there."""
    if isinstance(wanted, int):
        count = min(wanted, len(ids))
        return [ids[i * len(ids) // count] for i in range(count)]
    if missing := [name for name in wanted if name not in ids]:
        raise UnknownName("image that all these runs hold", missing[0], ids)
    return list(wanted)
