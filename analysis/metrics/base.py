"""What a metric is, and the registry of them: everything that is known of a metric stands on the metric itself.

A metric is a function of two arrays that batches over leading axes and reduces the last; it knows nothing of runs or
files. Tables, figures, report, findings and proxies read its facts here and know no metric by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from tokenlens.core.registry import Registry
from tokenlens.errors import BadInput

Of = Literal["kept", "group", "object", "depth", "heatmap", "feature"]
PAIRED = ("method", "capacity", "keep_rate", "dataset", "seed")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Metric:
    """A registered metric."""

    name: str
    value: Callable[..., Any]
    """(a, b) -> values, or (shared) -> values where `shared` says what is computed first"""
    of: Of
    """what it is taken of: sets of kept patches, groups, kept patches beside object masks, depths of each image beside
    the distance from the centre, mean-depth heat maps, class-token features"""
    range: tuple[float, float] = (0.0, 1.0)
    """least and greatest value"""
    direction: Literal["similarity", "distance"] = "similarity"
    """similarity: higher is more alike; distance: lower is"""
    swap: str | None = None
    """the metric that this one is when both sides change places; None: itself, it is symmetric"""
    axes: tuple[str, ...] = PAIRED
    """the axes along which it is taken"""
    label: str = ""
    """its name for readers; the name where empty"""
    chance: Callable[..., Any] | None = None
    """what chance gives for these very arrays, with the arguments of `value`; None: not known, NaN in tables"""
    shared: Callable[[Any, Any], Any] | None = None
    """(a, b) -> what several metrics are computed of, once for all of them"""

    def __call__(self, a: Any, b: Any) -> Any:
        """The value of two arrays."""
        return self.value(a, b) if self.shared is None else self.value(self.shared(a, b))

    @property
    def title(self) -> str:
        """Its name for readers."""
        return self.label or self.name

    @property
    def best(self) -> float:
        """The value of a pattern beside itself."""
        return self.range[1] if self.direction == "similarity" else self.range[0]


def _adopt(name: str, loaded: Any) -> None:
    given = as_metric(loaded)
    METRICS.add(name, given, given.value)


METRICS: Registry[Metric] = Registry("metric", "tokenlens.analysis.metrics", adopt=_adopt)


def metric(name: str, of: Of, **facts: Any) -> Callable[[F], F]:
    """Decorator: make a function of two arrays a metric of this name; it stays a plain function.

    Args:
        name: what it is called in commands and tables.
        of: what it is taken of, as in `Metric.of`.
        **facts: the other fields of `Metric`: range, direction, swap, axes, label, chance, shared.

    Example:
        >>> import numpy as np
        >>> @metric("dice-of-the-docs", of="kept", label="Dice")
        ... def dice(a, b):
        ...     return 2 * (a & b).sum(-1) / (a.sum(-1) + b.sum(-1))
        >>> float(METRICS["dice-of-the-docs"](np.array([True, False]), np.array([True, True]))).__round__(3)
        0.667
    """

    def keep(function: F) -> F:
        made = Metric(name, function, of, **facts)
        METRICS.add(name, made, function)
        function.metric = made  # type: ignore[attr-defined]
        return function

    return keep


def as_metric(given: Any) -> Metric:
    """A metric from what a user hands over: its name, a `Metric`, or a function, by default of kept patches.

    Raises:
        UnknownName: there is no metric of that name.
        BadInput: it is none of these.
    """
    if isinstance(given, Metric):
        return given
    if isinstance(given, str):
        return METRICS[given]
    if isinstance(made := getattr(given, "metric", None), Metric):
        return made
    if callable(given) and hasattr(given, "__name__"):
        return Metric(given.__name__, given, "kept", range=(-np.inf, np.inf))
    raise BadInput(f"{given!r} is no metric; give a name, or a function of two arrays, with @metric to say more of it")
