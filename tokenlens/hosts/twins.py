"""Twins of modules: they share everything with the original but for some parts, in whose place others stand.

So a library's own forward runs around what we put in, on whatever hooks, adapters and wrappers are there, and nothing
stays on the model: threads do not meet, and an exception leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor, nn


def twin(module: nn.Module, parts: Mapping[str, nn.Module | None]) -> nn.Module:
    """A twin of a module.

    Args:
        module: it is not changed.
        parts: dotted name -> what stands in the place of that part or parameter; None: the twin has none.

    Examples:
        >>> from torch import nn, ones
        >>> doubled = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
        >>> twin(doubled, {"0": nn.Identity()})(ones(1))
        tensor([1.])
    """
    inner: dict[str, dict[str, nn.Module | None]] = {}
    for name, part in parts.items():
        first, _, rest = name.partition(".")
        inner.setdefault(first, {})[rest] = part
    made: nn.Module = object.__new__(type(module))
    made.__dict__.update({name: value for name, value in module.__dict__.items() if name not in inner})
    made.__dict__["_parameters"] = {name: value for name, value in module._parameters.items() if name not in inner}
    children = dict(module._modules)
    for first, below in inner.items():
        children[first] = below[""] if "" in below else twin(module.get_submodule(first), below)
    made.__dict__["_modules"] = children
    return made


class Heard(nn.Module):
    """Stands in a layer's place, calls it, and writes what came out under a name."""

    def __init__(self, layer: nn.Module, into: dict[str, Tensor], name: str) -> None:
        super().__init__()
        self.layer, self.into, self.name = layer, into, name

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        self.into[self.name] = out
        return out


def given(module: nn.Module, value: Any) -> nn.Module:
    """A twin that gives `value` whatever it is called with; its attributes are the original's, its hooks rest."""
    made = twin(module, {})
    made.__class__ = _giving(type(module))  # type: ignore[arg-type]  # classes can be hashed
    made.__dict__["_given"] = value
    return made


@cache
def _giving(kind: Any) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"__call__": lambda self, *args, **named: self.__dict__["_given"]})
