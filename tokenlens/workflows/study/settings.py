"""The values in a study file: checked one by one, and refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import BadInput, UnknownName
from ...extraction.reduced_models import PRECISIONS

Allowed = int | tuple[str, ...] | None  # a whole number from this up, one of these words, any word
EXTRACT: dict[str, Allowed] = {
    "split": None,
    "limit": 1,
    "features": ("float32", "float16"),
    "batch_size": 1,
    "precision": PRECISIONS,
    "workers": 0,
}
COMPARE: dict[str, Allowed] = {"resamples": 1, "chunk": 1, "workers": 1}
MOST = 2**63 - 1  # torch counts no further


def settings(said: Mapping[str, Any], key: str, known: Mapping[str, Allowed]) -> dict[str, Any]:
    """The settings of a step, each as `known` allows; what is null is left out, and so is what is false.

    `features: true` is float32.
    """
    given = mapping(said, key, str | int | float | None)
    check_known(f"setting of {key}", given, known)
    found = {}
    for name, value in given.items():
        allowed = known[name]
        if isinstance(allowed, tuple) and isinstance(value, bool):
            value = allowed[0] if value else None
        if value is None:
            continue
        if isinstance(allowed, int):
            check_whole(f"the {name} of {key}", value, allowed)
        elif not isinstance(value, str):
            raise BadInput(f"the {name} of {key} is {value!r}; give a word")
        elif allowed is not None:
            check_known(f"{name} of {key}", [value], allowed)
        found[name] = value
    return found


def check_known(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises UnknownName for the first word that is not known, with the nearest that is."""
    for key in given:
        if key not in known:
            raise UnknownName(kind, str(key), known)


def check_whole(what: str, value: Any, least: int = 0) -> None:
    """Raises BadInput for what is no whole number from `least` up."""
    if type(value) is not int or not least <= value <= MOST:  # True is an int for isinstance
        raise BadInput(f"{what} is {value!r}; give a whole number of at least {least} and at most {MOST}")


def mapping(said: Mapping[str, Any], key: str, inner: Any = object) -> dict[str, Any]:
    """What is said under a key: words, each with a value of the type `inner`."""
    value = said.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, inner) for k, v in value.items()):
        raise BadInput(f"{key} is {value!r}; it is a mapping of words, as in the study file paper")
    return value
