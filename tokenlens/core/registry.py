"""Things by name: our own, those that other packages bring, those of a notebook.

One class serves methods, metrics, figures, data sets and hosts. What is known of a thing are attributes of the thing
itself; nothing else in the house lists names.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from ..errors import BadInput, UnknownName

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Name -> thing, in the order of registration: our own first, then those of other packages.

    Our own register when `home` is imported. Other packages name an entry point in the group `tokenlens.<plural>`: a
    module that registers on import, or a thing itself, which `adopt` takes under the entry point's name. A package
    whose import fails is named in a warning and left out.
    """

    def __init__(
        self, kind: str, home: str, plural: str = "", adopt: Callable[[str, Any], object] | None = None
    ) -> None:
        """`kind` is the word for one thing, as in "method"; `adopt(name, loaded)` registers what is no module."""
        self.kind, self.home, self.group, self.adopt = kind, home, f"tokenlens.{plural or kind + 's'}", adopt
        self._things: dict[str, T] = {}
        self._origin: dict[str, str] = {}
        self._complete = False

    def add(self, name: str, thing: T, maker: Any) -> None:
        """Register a thing under a name; `maker` is the class or function that it comes from.

        Raises:
            BadInput: another thing has that name. The same one defined anew, as in a notebook, takes its own place.
        """
        origin = f"{maker.__module__}.{maker.__qualname__}"
        there = self._origin.get(name)
        if there not in (None, origin):
            raise BadInput(f"{origin} registers a {self.kind} {name!r}, and {there} has that name; rename one of them")
        self._things[name], self._origin[name] = thing, origin

    def origin(self, name: str) -> str:
        """The dotted name of what a thing comes from, e.g. "tokenlens.methods.topk.TopK"."""
        self._gather()
        return self._origin[name]

    def _gather(self) -> None:
        if self._complete:
            return
        self._complete = True  # first: what is imported below may ask for names
        import_module(self.home)
        for entry in sorted(entry_points(group=self.group), key=lambda entry: (entry.name, entry.value)):
            try:
                loaded = entry.load()
                if self.adopt is not None and not hasattr(loaded, "__path__") and not hasattr(loaded, "__spec__"):
                    self.adopt(entry.name, loaded)
            except Exception as error:  # somebody else's code, whose fault must not take our own things away
                reason = (
                    str(error)
                    if isinstance(error, BadInput)
                    else f"its import failed ({type(error).__name__}: {error})"
                )
                warnings.warn(f"the {self.kind} {entry.name} of {entry.value} is left out: {reason}", stacklevel=4)

    def __getitem__(self, name: str) -> T:
        """The thing of this name; UnknownName offers the nearest."""
        self._gather()
        if not isinstance(name, str) or name not in self._things:
            raise UnknownName(self.kind, str(name), self._things)
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        self._gather()
        return iter(tuple(self._things))

    def __len__(self) -> int:
        self._gather()
        return len(self._things)

    def __contains__(self, name: object) -> bool:
        self._gather()
        return name in self._things
