"""`tokenlens hosts`: the families of models that tokens run through."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from .listing import Row, listing_command
from .options import examples


def rows() -> Iterator[Row]:
    """The families of hosts."""
    from ..core.host import HOSTS

    for name, host in HOSTS.items():
        sentence = (inspect.getdoc(host) or "").split("\n")[0]
        yield Row(name, host.family, sentence, {"supported": host.supported, "defined in": HOSTS.origin(name)})


hosts = listing_command(
    "hosts",
    "host",
    "List the families of models that can be reduced; with names, all that is known of these.",
    rows,
    examples("tokenlens hosts", "tokenlens hosts --json"),
)
