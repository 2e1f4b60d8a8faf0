"""Which models can be hosted, by the names that `--model` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

import timm
import torch
from torch import nn

from ..core.host import HOSTS, Host, host_of
from ..errors import BadInput, UnknownName
from ..weights import NANOS
from .loading import library_of, untrained


def hosted(search: Sequence[str] = ()) -> Iterator[tuple[str, Host]]:
    """Names and hosts of what holds one of these words in its name, or fits one with * in it; of all without any.

    Raises:
        BadInput: no model of such a name is understood, and why; or there is none.

    Examples:
        >>> [name for name, _ in hosted(["vit_small*dinov3"])]
        ['vit_small_patch16_dinov3', 'vit_small_plus_patch16_dinov3']
    """
    known = [*NANOS, *dict.fromkeys(name for kind in HOSTS.values() for name in kind.names())]
    found = False
    for name in _fitting(known, search):
        with suppress(BadInput):
            host = host_of(sketch(name))
            found = True
            yield name, host
    if not found:
        others = _fitting(timm.list_models(), search)
        if not others:
            raise UnknownName("model", ", ".join(search), known)
        host_of(sketch(next((name for name in others if name in search), others[0])))  # refuses it


def _fitting(names: Sequence[str], search: Sequence[str]) -> list[str]:
    patterns = [word if "*" in word else f"*{word}*" for word in search] or ["*"]
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def sketch(name: str) -> nn.Module:
    """A model without weights, and of one block where it can be made so: enough to tell what it is."""
    if name in NANOS:
        return untrained(name, 10)
    if library_of(name):
        with torch.device("meta"):
            return untrained(name, 1000)
    try:
        made: nn.Module = timm.create_model(name, device="meta", depth=1)
    except (TypeError, AssertionError):  # it is built otherwise
        made = timm.create_model(name, device="meta")
    return made
