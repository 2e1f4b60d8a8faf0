"""What a user did can be wrong in many places; it is told in one way.

A message is one sentence: the fact, the situation, the way out. The command line prints it and exits with code 2.
"""

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Something a user gave cannot be used; the message says what, where, and what would do."""


class UnknownName(BadInput, LookupError):
    """A name that is in no list; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        offer = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:20])}"
        super().__init__(f"there is no {kind} called {name!r}; {offer}")
