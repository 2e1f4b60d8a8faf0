"""How each method is drawn and called in the figure that is being drawn, and how other things are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import zip_longest
from pathlib import PurePath
from typing import Any

import matplotlib
import numpy as np

from tokenlens.analysis.metrics.base import METRICS
from tokenlens.records.run import CAPACITIES

from .looks import FAMILIES, OTHERS, Look, looks, place_among

FEW = 6  # methods that are shown large, or in colour
FAINT = "#d0d0d0"
_among: ContextVar[Mapping[str, Look]] = ContextVar("among", default={})  # noqa: B039  never written to
MEASURES = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "mAP": "mAP", "given": "accuracy", "": "accuracy"}


def fading(given: Mapping[str, Look], drawn: Iterable[str], most: int | None) -> dict[str, Look]:
    """The looks where of the reduction methods that are drawn so many stand out, by `few`; None: all of them."""
    with among(given):
        reduced = [method for method in in_order(drawn) if _look(method).family != "none"]
        behind = set(reduced) - set(few(reduced, most))
        return {**given, **{method: replace(_look(method), color=FAINT, faint=True) for method in behind}}


@contextmanager
def among(methods: Mapping[str, Look]) -> Iterator[None]:
    """Draw these methods as they look."""
    before = _among.set(methods)
    try:
        yield
    finally:
        _among.reset(before)


def color(method: str) -> str:
    """A method's colour, #rrggbb."""
    return _look(method).color


def marker(method: str) -> Any:
    """A method's marker as matplotlib takes it."""
    return _look(method).marker


def faint(method: str) -> bool:
    """Whether a method is drawn behind those that stand out."""
    return _look(method).faint


def zorder(method: str) -> float:
    """Where a method's line lies: matplotlib's 2, or below."""
    return 1.9 if faint(method) else 2


def linestyle(method: str) -> Any:
    """The line of a method's family, as matplotlib takes it."""
    return FAMILIES.get(_look(method).family, OTHERS).line


def label(method: str) -> str:
    """A method's name for readers: its own where it gives no other."""
    return _look(method).label


def metric_label(metric: str) -> str:
    """A metric's name for readers: its own where its package is gone."""
    return METRICS[metric].title if metric in METRICS else metric


def metric_reading(metric: str) -> str:
    """Which end of a metric's values is the good one, in words; empty where nobody knows."""
    return METRICS[metric].reading if metric in METRICS else ""


def place(dataset: str) -> str:
    """A data set's name for readers, without the path to it: embedded:shapes is shapes."""
    return PurePath(dataset.partition(":")[2] or dataset).name or dataset


def order_key(method: str) -> tuple[int, int, str]:
    """Sorts methods: by the order that they give, then by family and name."""
    one = _look(method)
    return place_among(method, {"order": one.order, "family": one.family})


def in_order(methods: Iterable[str]) -> list[str]:
    """Each method once, in the order that methods give."""
    return sorted(set(methods), key=order_key)


def few(methods: Iterable[str], most: int | None = FEW) -> list[str]:
    """So many methods at most, in their order: the first of each family, then the second of each; None for all.

    The un-reduced model, which is beside them all, comes last.
    """
    families: dict[str, list[str]] = {}
    for method in in_order(methods):
        families.setdefault(_look(method).family, []).append(method)
    spare = families.pop("none", [])
    turns = [one for turn in zip_longest(*families.values()) for one in turn if one is not None] + spare
    return in_order(turns[: len(turns) if most is None else most])


def size_key(capacity: str) -> tuple[int, str]:
    """Sorts capacities from small to large; strangers last and by name."""
    return (CAPACITIES.index(capacity) if capacity in CAPACITIES else len(CAPACITIES)), capacity


def by_size(capacities: Iterable[str]) -> list[str]:
    """Each capacity once, from small to large."""
    return sorted(set(capacities), key=size_key)


def ink(ground: Any) -> str:
    """Black or white, whichever has the greater contrast ratio (WCAG 2) with a colour (3,), 0 to 1, of the ground."""
    part = np.asarray(ground, dtype=np.float64)[:3]
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    bright = float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05
    return "black" if bright / 0.05 >= 1.05 / bright else "white"


def rate_color(rate: float) -> Any:
    """A keep rate's colour: dark where few tokens are left, light where most are, in grey too."""
    return matplotlib.colormaps["viridis"](0.05 + 0.85 * min(max(rate, 0.0), 1.0))


def _look(method: str) -> Look:
    """The look of a method; of one that nothing is known of, what its name alone gives."""
    return _among.get().get(method) or looks([{"method": method}])[method]
