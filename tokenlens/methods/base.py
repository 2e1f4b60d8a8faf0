"""What a method is: a reducer, registered by name. The registry feeds the command line, the docs and the tests."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from ..errors import BadInput, UnknownName
from ..plan import Plan
from ..schedule import Schedule
from ..view import View


@dataclass(frozen=True)
class Stage:
    """Where a reducer stands."""

    index: int
    """0 for the first stage of the model"""
    block: int
    keep: int
    """tokens asked to remain, for the model's own input size"""
    patches: int
    dim: int
    """channels of a token"""


class Reducer(nn.Module):
    """Decides at one stage: looks at a View, returns a Plan, never touches the model.

    A subclass implements `forward` and says the following about itself.
    """

    site: ClassVar[str] = "after_attention"
    """where in its block it acts: "after_attention" (between attention and MLP) or "before_block" """
    family: ClassVar[str] = "pruning"
    """pruning, merging, soft, radial, random or none"""
    trained: ClassVar[bool] = False
    """it has parameters of its own, and means little before they are trained"""
    adaptive: ClassVar[bool] = False
    """it decides how many tokens remain, so it is asked even where no more are present than were asked to remain"""
    policy: ClassVar[bool] = False
    """in training no token leaves: it learns who stays, by the mass of its plan and from the un-reduced model"""
    portable: ClassVar[bool] = False
    """it decides by operations that ONNX has, the same on every runtime, so that `tokenlens export` takes it"""
    needs: ClassVar[tuple[str, ...]] = ()
    """what it reads of the host: "class token", "attention" """
    paper: ClassVar[str] = ""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, view: View) -> Plan:
        """Decide what becomes of the view's N tokens; `view.keep` of them are asked to remain."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Stay at float32 where the model is cast to less: decisions are made in it."""

        def wide(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            return tensor.to(cast.device, torch.float32) if cast.is_floating_point() and cast.itemsize < 4 else cast

        return super()._apply(wide, recurse)

    @classmethod
    def schedule(cls, asked: Schedule, grid: tuple[int, int], **options: Any) -> Schedule:
        """The stages that the method really uses; only the contiguous radial patterns depart from what was asked."""
        return asked


def demand(holds: bool, option: str, value: Any, wanted: str) -> None:
    """Refuse the value of an option, of which a reducer demands what does not hold."""
    if not holds:
        raise BadInput(f"option {option} is {value!r}; it takes {wanted}")


@dataclass(frozen=True)
class Method:
    """A registered name: a reducer and the options that the name stands for."""

    name: str
    reducer: type[Reducer]
    preset: Mapping[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """The options by name, with the values that hold unless others are given."""
        parameters = inspect.signature(self.reducer.__init__).parameters
        found = {name: p.default for name, p in parameters.items() if name not in ("self", "stage")}
        return {**found, **self.preset}

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
        return {**self.preset, **given}

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


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_METHODS: dict[str, Method] = {}
R = TypeVar("R", bound=type[Reducer])


def register(name: str, **preset: Any) -> Callable[[R], R]:
    """Class decorator: make a reducer a method of this name, with these options."""

    def keep(reducer: R) -> R:
        there = _METHODS.get(name)
        ours = there is not None and there.reducer.__module__.startswith("tokenlens.")
        if ours and not reducer.__module__.startswith("tokenlens."):
            raise BadInput(f"{reducer.__module__} registers a method {name!r}, which is one of tokenlens's own names")
        _METHODS[name] = Method(name, reducer, preset)
        return reducer

    return keep


@cache
def _third_parties() -> None:
    """Import what the entry-point group `tokenlens.methods` names: a module that registers, or a Reducer itself."""
    for entry in entry_points(group="tokenlens.methods"):
        try:
            loaded = entry.load()
        except Exception as error:  # somebody else's code, whose fault must not take our own methods away
            reason = f"{type(error).__name__}: {error}"
            sentence = f"the method {entry.name} of {entry.value} is left out, its import failed ({reason})"
            warnings.warn(sentence, stacklevel=2)
            continue
        if inspect.isclass(loaded) and issubclass(loaded, Reducer) and entry.name not in _METHODS:
            _METHODS[entry.name] = Method(entry.name, loaded)


def methods() -> dict[str, Method]:
    """All registered methods by name, those of other packages too, in the order of the study."""
    import_module("tokenlens.methods")  # its import line registers our own; the study's order is its order
    _third_parties()
    return dict(_METHODS)


def method(name: str) -> Method:
    """The method of this name, or UnknownName with the nearest ones."""
    known = methods()
    if not isinstance(name, str) or name not in known:
        raise UnknownName("method", str(name), known)
    return known[name]
