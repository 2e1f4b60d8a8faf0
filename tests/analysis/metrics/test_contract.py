"""What every registered metric keeps, whoever wrote it: it is what its facts say."""

from collections.abc import Callable
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

from tokenlens.analysis.metrics import radial
from tokenlens.analysis.metrics.base import METRICS, Metric
from tokenlens.analysis.metrics.kinds import CURVES

Array = NDArray[Any]
PATCHES, IMAGES = 36, 400
METRIC = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
APART = ("layout", "segments", "attention", *CURVES)  # whose two sides are two things
ALIKE = pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.of not in APART],
                                ids=lambda m: m.name)  # fmt: skip


def patterns(rng: np.random.Generator, *leading: int) -> Array:
    """Sets of 12 patches, random ones."""
    return rng.random((*leading, PATCHES)).argsort(axis=-1) < 12


def features(rng: np.random.Generator, *leading: int) -> Array:
    return rng.normal(size=(*leading, 3, IMAGES))


def distance(rng: np.random.Generator, *leading: int) -> Array:
    row, column = np.divmod(np.arange(PATCHES), 6)
    return np.broadcast_to(radial.distance(row, column, "l2"), (*leading, PATCHES))


def whole(rng: np.random.Generator, *leading: int) -> Array:
    return np.ones((*leading, PATCHES), dtype=bool)


def shares(rng: np.random.Generator, *leading: int) -> Array:
    """Shares of patches shown, at the last point all."""
    return np.concatenate([rng.random((*leading, 3)), np.ones((*leading, 1))], axis=-1)


# one side at random, by what a metric is of: leading axes, then what is reduced
SIDES: dict[str, Callable[..., Array]] = {
    "kept": patterns, "object": patterns, "feature": features,
    "group": lambda rng, *leading: rng.integers(0, 6, (*leading, PATCHES)).astype(np.int16),
    "depth": lambda rng, *leading: rng.choice([3, 6, 9, 12], (*leading, PATCHES)).astype(np.int16),
    "heatmap": lambda rng, *leading: rng.random((*leading, PATCHES)) + 0.1,
}  # fmt: skip
SIDES |= {
    "layout": patterns,
    "segments": SIDES["group"],
    "attention": patterns,
    **dict.fromkeys(CURVES, lambda rng, *leading: rng.random((*leading, 4))),
}
SECOND = {
    "layout": whole,
    "segments": patterns,
    "attention": SIDES["heatmap"],
    **dict.fromkeys(CURVES, shares),
}  # where it is another thing than the first


def sides(metric: Metric, *leading: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    draw = SIDES[metric.of]
    second = distance if "radial" in metric.axes else SECOND.get(metric.of, draw)
    return draw(rng, *leading), second(rng, *leading)


def chance(metric: Metric, a: Array, b: Array) -> Any:
    return metric.expected(*metric.arguments(a, b, 6))


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.nulls], ids=lambda m: m.name)
def test_chance_is_met_on_random_arrays(metric: Metric) -> None:
    some = 40 if metric.grid and metric.of == "heatmap" else 300
    a, b = sides(metric, some)
    values, levels = metric(a, b), np.broadcast_to(chance(metric, a, b), (some,))
    error = np.sqrt((values.var() + levels.var()) / some)
    assert abs(values.mean() - levels.mean()) <= 4 * error
    assert error < 0.2


@METRIC
def test_values_are_of_the_type_and_shape_that_the_metric_declares(metric: Metric) -> None:
    assert isinstance(metric(*sides(metric, 5)), get_type_hints(metric.value)["return"])
    assert metric(*sides(metric, 5)).shape == (5,)


@ALIKE
def test_a_pattern_beside_itself_is_the_best_there_is(metric: Metric) -> None:
    a, _ = sides(metric, 5)
    assert metric(a, a) == pytest.approx(np.full(5, metric.best), abs=1e-6)
    assert metric.best in metric.range


@ALIKE
def test_it_is_symmetric_or_another_metric_when_both_sides_change_places(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    a, b = (SIDES[metric.of](rng, 5) for _ in range(2))
    if metric.of in ("kept", "object"):
        b[:, :9] = False  # of other sizes, so that it matters which is which
    if metric.of == "feature":
        b = np.concatenate([0.5 * a[:, :2] + b[:, :2], b[:, 2:]], axis=1)
    there, back = metric(a, b), metric(b, a)
    if metric.swap is None:
        assert np.abs(there - back).max() > 1e-3
    else:
        assert back == pytest.approx(METRICS[metric.swap or metric.name](a, b), abs=1e-9)
    if metric.swap:
        assert np.abs(there - back).max() > 1e-3, "it is symmetric, and no swap is needed"
        assert METRICS[metric.swap].swap == metric.name


@METRIC
def test_values_lie_in_its_range(metric: Metric) -> None:
    low, high = metric.range
    rounding = 1e-9
    for seed in range(5):
        values = metric(*sides(metric, 20, seed=seed))
        assert low - rounding <= np.min(values) and np.max(values) <= high + rounding


@METRIC
def test_it_batches_over_leading_axes(metric: Metric) -> None:
    a, b = sides(metric, 3, 2)
    values = metric(a, b)
    assert values.shape == (3, 2)
    for i in np.ndindex(3, 2):
        assert metric(a[i], b[i]) == pytest.approx(values[i], abs=1e-9)


@METRIC
def test_it_says_what_it_is(metric: Metric) -> None:
    assert METRICS[metric.name] is metric
    assert metric.title and metric.axes
    assert metric.chance is not None or (not metric.nulls and metric.few_nulls)
    assert metric.value.__doc__
