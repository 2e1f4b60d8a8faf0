"""What a method is: a reducer, registered by name. The registry feeds the command line, the docs and the tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..core.reducer import Look, Reducer, Stage, demand
from ..core.registry import Registry
from ..errors import BadInput
from .digest import digest_of


@dataclass(frozen=True)
class Method:
    """A registered name: a reducer and the options that the name stands for."""

    name: str
    reducer: type[Reducer]
    preset: Mapping[str, Any] = field(default_factory=dict)
    look: Look | None = None
    """of this name, where it is not the reducer's"""

    @property
    def defaults(self) -> dict[str, Any]:
        """The options by name, with the values that hold unless others are given."""
        parameters = inspect.signature(self.reducer.__init__).parameters
        found = {name: p.default for name, p in parameters.items() if name not in ("self", "stage")}
        reading = {name: values[0] for name, values in self.reducer.settings().items()}
        return {**reading, **found, **self.preset}

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given options with the preset ones; refuses those that the method does not have."""
        known = self.defaults
        for name, value in given.items():
            if name not in known:
                offer = f"it has {', '.join(sorted(known))}" if known else "it has none"
                raise BadInput(f"{self.name} has no option {name!r}; {offer}")
            if known[name] is inspect.Parameter.empty:
                continue  # without a default nothing says what it takes
            if type(value) is not type(known[name]) and not (
                isinstance(known[name], float) and isinstance(value, int) and not isinstance(value, bool)
            ):
                kind = type(known[name]).__name__
                raise BadInput(f"option {name} of {self.name} is {value!r}; it takes a {kind} such as {known[name]!r}")
        for name, values in self.reducer.settings().items():
            if name in given:
                demand(given[name] in values, name, given[name], " or ".join(values))
        return {**self.preset, **given}

    def build(self, stage: Stage, options: Mapping[str, Any]) -> Reducer:
        """The reducer of one stage, with options that `options` has passed."""
        reading = self.reducer.settings().keys() & options.keys()
        made = self.reducer(stage, **{name: value for name, value in options.items() if name not in reading})
        for name in reading:
            setattr(made, name, options[name])
        return made

    def parse(self, words: Iterable[str]) -> dict[str, Any]:
        """Options from `name=value` words, each value of the type that the option has."""
        given: dict[str, Any] = {}
        for word in words:
            name, equals, text = word.partition("=")
            if not equals:
                raise BadInput(f"{word!r} is no option of {self.name}: write name=value, as in equal_weight=true")
            kind = type(self.defaults.get(name, ""))
            try:
                given[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
            except (KeyError, ValueError) as error:
                raise BadInput(f"option {name} of {self.name} is {text!r}; it takes a {kind.__name__}") from error
        return self.options(given)

    @property
    def card(self) -> str:
        """What it does: the first line of its module's docstring."""
        return (inspect.getdoc(inspect.getmodule(self.reducer)) or "").split("\n")[0]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the code that decides: another code makes other runs."""
        return digest_of(self.reducer)

    def facts(self) -> dict[str, Any]:
        """What a run remembers of the method, so that whoever reads the run need not know it."""
        reducer = self.reducer
        look = self.look or vars(reducer).get("look", Look())  # a subclass is another method, and not called its parent
        return {
            "family": reducer.family,
            "keeps": reducer.keeps,
            "merges": reducer.merges,
            "adaptive": reducer.adaptive,
            "site": reducer.site,
            "defined_in": f"{reducer.__module__}.{reducer.__qualname__}",
            "paper": reducer.paper,
            "label": look.label or self.name,
            "color": look.color,
            "marker": look.marker,
            "order": list(METHODS).index(self.name) if self.name in METHODS else len(METHODS),
        }


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
R = TypeVar("R", bound=type[Reducer])


def _adopt(name: str, loaded: Any) -> None:
    if inspect.isclass(loaded) and issubclass(loaded, Reducer):
        METHODS.add(name, Method(name, loaded), loaded)


METHODS: Registry[Method] = Registry("method", "tokenlens.methods", adopt=_adopt)


def register(name: str, look: Look | None = None, **preset: Any) -> Callable[[R], R]:
    """Class decorator: make a reducer a method of this name, with these options, and a look of its own.

    Raises:
        BadInput: another method has that name.

    Examples:
        >>> from tokenlens import Reducer, register, select
        >>> @register("loudest-of-the-docs")
        ... class Loudest(Reducer):
        ...     family = "pruning"
        ...
        ...     def forward(self, view):
        ...         return select(view, view.tokens.norm(dim=-1).topk(view.keep).indices)
        >>> METHODS["loudest-of-the-docs"].reducer.keeps
        True
    """

    def keep(reducer: R) -> R:
        METHODS.add(name, Method(name, reducer, preset, look), reducer)
        return reducer

    return keep


def methods() -> dict[str, Method]:
    """All registered methods by name, in the order of the study, then those of other packages."""
    return dict(METHODS)


def expanded(names: Iterable[str]) -> dict[str, bool]:
    """Names of methods, with `all` and families spelled out; of each whether it was asked for by its own name.

    A method whose name is a family's too is that method. One that is another under a second name comes once.

    Examples:
        >>> list(expanded(["tome", "radial"]))
        ['tome', 'l1', 'l2', 'linf']
    """
    found: dict[str, bool] = {}
    for name in names:
        group = {} if name in METHODS else {n: m for n, m in METHODS.items() if name in ("all", m.reducer.family)}
        if not group:
            found[name] = True
        known: list[Any] = []
        for each, one in group.items():
            if (one.reducer, one.defaults) not in known:
                known.append((one.reducer, one.defaults))
                found.setdefault(each, False)
    return found


def method(name: str) -> Method:
    """The method of this name, or UnknownName with the nearest ones."""
    return METHODS[name]
