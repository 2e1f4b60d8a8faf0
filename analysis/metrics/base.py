"""What a metric is, and the registry of them: everything that is known of a metric stands on the metric itself.

A metric is a function of two arrays that batches over leading axes and reduces the last; it knows nothing of runs or
files. Tables, figures, report, findings and proxies read its facts here and know no metric by name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from tokenlens.core.registry import Registry
from tokenlens.errors import BadInput

from .kinds import AXES, CEILINGS, MEANS, MORE_AXES, NULLS, ONE_NULL, READS, TARGETS, TESTS, Of
from .shapes import Values


@dataclass(frozen=True)
class Metric:
    """A registered metric, itself a function of two arrays.

    Its functions take (a, b), or what `shared` makes of both where that is given.
    """

    name: str
    value: Callable[..., Any]
    """values: (..., P) x (..., P) -> (...)"""
    of: Of
    """what it is taken of: bool sets of kept patches, integer groups, bool kept patches, or integer groups
    (segments), beside object masks, kept patches alone beside the grid's own (layout), or beside the attention
    that was paid to them, curves of what a model makes of them beside the shares shown, depths of each image beside the
    distance from the centre, mean-depth heat maps, sums of class-token features"""
    range: tuple[float, float] = (0.0, 1.0)
    """least and greatest value"""
    direction: Literal["similarity", "distance"] = "similarity"
    """similarity: higher is more alike; distance: lower is"""
    swap: str | None = ""
    """the metric that this one is when both sides change places; empty: itself, it is symmetric; None: none there is"""
    axes: tuple[str, ...] = ()
    """the axes along which it is taken; empty: all along which two runs have what it is of"""
    label: str = ""
    """its name for readers; the name where empty"""
    chance: Callable[..., Any] | float | None = None
    """what chance gives for these very arrays, or one number for all; None: not known, NaN in tables"""
    shared: Callable[..., Any] | None = None
    """(a, b) -> what several metrics are computed of, made once for all of them; features come as
    `features.Gram`, whose sums are streamed"""
    packed: bool = False
    """`shared` also takes sets of patches as `overlap.Packed`"""
    noise: Literal["adds", "shrinks", "detours"] = "adds"
    """what noise in heat maps does to it: adds to a divergence; shrinks a correlation; or, where the triangle
    inequality holds of its distance from the best, moves it by no more than each map is moved"""
    unbiased: bool = False
    """whether noise moves its value in no direction, so that it is the estimate of what all images would give"""
    as_correlation: Callable[[float], float] = float
    """the linear correlation that a value amounts to, where noise shrinks it"""
    of_correlation: Callable[[float], float] = float
    """and the other way round: the value that amounts to a linear correlation"""
    grid: bool = False
    """`shared` takes a third argument, the number of columns of the grid of patches"""
    interval: Callable[..., Any] | None = None
    """where an interval is not to be had by taking the value of resampled images: for heat maps, the values of
    resampled maps, (its argument, maps (R, P), maps (R, P)) -> (R,); for features, the influence of each image on the
    value, `influence.Chunk` -> (m,)"""

    def __post_init__(self) -> None:
        possible = AXES.get(self.of)
        if possible is None:
            raise BadInput(f"metric {self.name} is of {self.of!r}; a metric is of {', '.join(AXES)}")
        if not self.axes:
            object.__setattr__(self, "axes", possible)
        possible += MORE_AXES.get(self.of, ())
        if wrong := [axis for axis in self.axes if axis not in possible]:
            raise BadInput(
                f"metric {self.name} is of {self.of} and cannot be taken along {wrong[0]}; "
                f"leave axes out, or choose of {', '.join(possible)}"
            )
        if self.of == "feature" and self.shared is None:
            raise BadInput(
                f"metric {self.name} is of features, which are streamed as sums over images; write it as a function of "
                "these sums, with shared=tokenlens.analysis.metrics.features.gram"
            )

    def __call__(self, a: Any, b: Any, *more: Any, **named: Any) -> Any:
        """The value of two arrays; what else is given goes to `shared`, as the columns of a grid do."""
        return self.value(a, b) if self.shared is None else self.value(self.shared(a, b, *more, **named))

    def arguments(self, a: Any, b: Any, columns: int = 0, made: dict[Hashable, Any] | None = None) -> tuple[Any, ...]:
        """What value and chance take of two arrays; `made` remembers what is shared with other metrics of them."""
        if self.shared is None:
            return a, b
        made = {} if made is None else made
        if self.shared not in made:
            made[self.shared] = self.shared(a, b, columns) if self.grid else self.shared(a, b)
        return (made[self.shared],)

    def expected(self, *arguments: Any) -> Any:
        """What chance gives, with the same arguments as `value`; NaN where it is not known."""
        if callable(self.chance):
            return self.chance(*arguments)
        return np.nan if self.chance is None else self.chance

    def takes(self, axis: str) -> bool:
        """Whether it is taken along an axis; heat maps of two runs are along any together, as dataset+capacity."""
        of_two_runs = self.of == "heatmap" and set(self.axes) != {"radial"}
        return axis in self.axes or (of_two_runs and "+" in axis)

    @property
    def target(self) -> str:
        """What its estimate, and the interval, are of; its value is of these very images."""
        return TARGETS[self.of]

    @property
    def estimator(self) -> str:
        """What the estimate is, beside the value."""
        return "the value" if self.unbiased or self.of in MEANS else "the value less its bias"

    @property
    def nulls(self) -> tuple[str, ...]:
        """What its values can be put beside."""
        return tuple(null for null in NULLS[self.of] if null != "analytic" or self.chance is not None)

    def null(self, asked: str = "") -> str:
        """The null that is asked for, where it knows it; else that of its kind, empty where it does not know that."""
        return next((null for null in (asked, *NULLS[self.of][:1]) if null in self.nulls), "")

    @property
    def few_nulls(self) -> str:
        """Why it can be put beside the analytic level alone, or nothing; empty where it can be beside more."""
        return ONE_NULL.get(self.of, "")

    @property
    def test(self) -> str:
        """What z and p are, and where there are none."""
        return TESTS[self.of]

    @property
    def ceiling(self) -> str:
        """What the most is that two runs could be alike by it."""
        return CEILINGS[self.of]

    @property
    def title(self) -> str:
        """Its name for readers."""
        return self.label or self.name

    @property
    def reading(self) -> str:
        """How its values are read, as beside an axis: "lower is more alike"; empty where neither end is better.

        Example:
            >>> METRICS["procrustes"].reading, METRICS["foreground_recall"].reading, METRICS["moran"].reading
            ('lower is more alike', 'higher is better', '')
        """
        words = READS[self.of]
        return f"{'higher' if self.direction == 'similarity' else 'lower'} is {words}" if words else ""

    @property
    def best(self) -> float:
        """The value of a pattern beside itself."""
        return self.range[1] if self.direction == "similarity" else self.range[0]


def _adopt(name: str, loaded: Any) -> None:
    given = as_metric(loaded)
    METRICS.add(name, replace(given, name=name), given.value)


METRICS: Registry[Metric] = Registry("metric", "tokenlens.analysis.metrics", adopt=_adopt)


def metric(name: str, of: Of, **facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: make a function a metric of this name. What is left in its place is a plain function of two arrays.

    Args:
        name: what it is called in commands and tables.
        of: what it is taken of, as in `Metric.of`.
        **facts: the other fields of `Metric`: range, direction, swap, axes, label, chance, shared, interval.

    Raises:
        BadInput: another metric has that name, or the facts contradict each other.

    Examples:
        >>> import numpy as np
        >>> @metric("dice-of-the-docs", of="kept", label="Dice")
        ... def dice(a, b):
        ...     return 2 * (a & b).sum(-1) / (a.sum(-1) + b.sum(-1))
        >>> float(METRICS["dice-of-the-docs"](np.array([True, False]), np.array([True, True]))).__round__(3)
        0.667
    """

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        made = Metric(name, function, of, **facts)
        METRICS.add(name, made, function)
        if made.shared is None:
            function.metric = made  # type: ignore[attr-defined]
            return function

        def of_arrays(a: Any, b: Any, *more: Any, **named: Any) -> Any:
            return made(a, b, *more, **named)

        for known in ("__module__", "__name__", "__qualname__", "__doc__"):  # not its arguments, which are other ones
            setattr(of_arrays, known, getattr(function, known))
        of_arrays.metric = made  # type: ignore[attr-defined]
        return of_arrays

    return keep


def as_metric(given: Any) -> Metric:
    """A metric from what a user hands over: its name, a `Metric`, or a function, by default of kept patches.

    Raises:
        UnknownName: there is no metric of that name.
        BadInput: it is none of these, or a function with the name of another metric.
    """
    if isinstance(given, Metric):
        return given
    if isinstance(given, str):
        return METRICS[given]
    if isinstance(made := getattr(given, "metric", None), Metric):
        return made
    if callable(given) and hasattr(given, "__name__"):
        if given.__name__ in METRICS:
            raise BadInput(
                f"{given.__name__} is a metric already ({METRICS.origin(given.__name__)}); rename your function"
            )
        return Metric(given.__name__, given, "kept", range=(-np.inf, np.inf))
    raise BadInput(f"{given!r} is no metric; give a name, or a function of two arrays, with @metric to say more of it")


def above_chance(value: ArrayLike, chance: ArrayLike, metric: Metric | str) -> Values:
    """How far values lie from chance towards the metric's best: 0 is chance, 1 the best, (...) x (...) -> (...).

    NaN where chance is the best value already, but for rounding, so that there is nothing above it.
    """
    best = as_metric(metric).best
    value, chance = np.asarray(value, dtype=np.float64), np.asarray(chance, dtype=np.float64)
    gain, room = np.broadcast_arrays(value - chance, best - chance)
    return np.divide(gain, room, out=np.full(gain.shape, np.nan), where=np.abs(room) > 1e-12)
