"""Inference over crossed factors: its slow twins, its limits, and worlds where the truth is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tokenlens.analysis.statistics.crossed import estimate


def cells(values: np.ndarray, names: str = "abc") -> pd.DataFrame:
    """One row a cell of an array of as many axes as there are factors."""
    at = product(*map(range, values.shape))
    return pd.DataFrame([(*place, values[place]) for place in at], columns=[*names[: values.ndim], "value"])


def test_one_factor_is_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=8)
    found = estimate(cells(values), ["a"])
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval()))
    assert found.pvalue(0.3) == pytest.approx(stats.ttest_1samp(values, 0.3).pvalue)
    assert found.df == pytest.approx(7)


def test_rows_of_a_cell_count_once_and_missing_ones_not() -> None:
    rows = cells(np.random.default_rng(1).normal(size=(3, 4)))
    more = pd.concat([rows, rows, rows[:1].assign(value=np.nan)])
    assert estimate(more, ["a", "b"]) == estimate(rows, ["a", "b"])


def test_a_pair_of_levels_belongs_to_both() -> None:
    """Leaving out a data set leaves out all of its pairs: three data sets are three, not three independent pairs."""
    rows = pd.DataFrame({"dataset": list("xxy"), "dataset_b": list("yzz"), "value": [1.0, 2.0, 6.0]})
    found = estimate(rows, ["dataset"])
    assert found.levels == {"dataset": 3}
    assert found.error == pytest.approx(np.sqrt(2 / 3 * np.sum((np.array([6, 2, 1]) - 3) ** 2)))


@pytest.mark.parametrize("values", [np.ones((2, 2, 2)), np.arange(2.0), np.zeros((0, 2))])
def test_what_says_nothing_of_others_has_no_interval(values: np.ndarray) -> None:
    found = estimate(cells(values), "abc"[: values.ndim])
    assert np.isnan([found.low, found.high, found.error, found.pvalue(0)]).all()


def test_an_interval_ends_where_the_statistic_does() -> None:
    rows = cells(np.array([0.9, 1.0, 0.2]))
    free, held = estimate(rows, "a"), estimate(rows, "a", span=(0, 1))
    assert free.low < 0 < 1 < free.high and (held.low, held.high) == (0, 1)
    assert held.pvalue(0.5) == free.pvalue(0.5)


@pytest.mark.parametrize("shape", [(6,), (6, 9, 1), (30,)])
def test_levels_that_are_all_alike_bound_how_many_others_are_not(shape: tuple[int, ...]) -> None:
    """The bound is the binomial's: of a share that is just as large none is seen in one of forty worlds."""
    found = estimate(cells(np.ones(shape)), "abc"[: len(shape)], span=(0, 1))
    assert found.high == 1 and stats.binom.pmf(0, shape[0], 1 - found.low) == pytest.approx(0.025)
    assert found.pvalue(found.low) == pytest.approx(0.05)
    assert found.pvalue(1) == 1 and found.pvalue(2) == found.pvalue(-0.5) == 0
    assert found.pvalue(0.5) == pytest.approx(2 * 0.5 ** shape[0])


def test_cells_that_are_measured_do_not_differ_by_less_than_their_errors() -> None:
    """Three sets that all give 1, each to 0.02: surely not 0.5, and not surely 1."""
    found = estimate(cells(np.ones(3)).assign(error=0.02), "a", span=(-np.inf, 1))
    assert 0.9 < found.low < 0.99 and found.high == 1 and found.df == 2
    assert found.pvalue(0.5) < 0.01
    apart = cells(np.array([0.2, 0.5, 0.9]))
    assert estimate(apart.assign(error=0.02), "a") == estimate(apart, "a")


@pytest.mark.parametrize("moves", [0, 2])
def test_votes_that_hang_together_are_hardly_ever_supported(moves: int) -> None:
    """Each vote is 0 or 1, half of them; all of a level agree. Two levels agree in half of the worlds, by chance."""
    rng, false, worlds, shape = np.random.default_rng(2), 0, 400, (2, 2, 4)
    for _ in range(worlds):
        votes = rng.random(shape[moves]) < 0.5
        values = np.broadcast_to(np.expand_dims(votes, [i for i in range(3) if i != moves]), shape).astype(float)
        found = estimate(cells(values), "abc", span=(0, 1))
        false += found.value > 0.5 and found.pvalue(0.5) <= 0.05
    assert false / worlds <= 0.05


def test_what_all_share_widens() -> None:
    rows = cells(np.random.default_rng(2).normal(size=(3, 4)))
    alone, more = estimate(rows, ["a", "b"]), estimate(rows, ["a", "b"], shared=0.5)
    assert more.error == pytest.approx(np.hypot(alone.error, 0.5)) and more.df > alone.df


@pytest.mark.parametrize("shape", [(2, 2, 4), (4, 3, 11)])
def test_intervals_cover_a_mean_that_is_nothing(shape: tuple[int, int, int]) -> None:
    """Data sets, capacities and methods each move their cells; independent cells would be covered half of the time."""
    rng, worlds, hit, above = np.random.default_rng(1), 100, 0, 0
    for _ in range(worlds):
        parts = [rng.normal(size=[n if axis == i else 1 for i, n in enumerate(shape)]) for axis in range(3)]
        found = estimate(cells(sum(parts) + rng.normal(size=shape)), "abc")
        hit, above = hit + (found.low <= 0 <= found.high), above + (found.low > 0)
    assert hit / worlds >= 0.9
    assert above / worlds <= 0.05 + 0.02  # of so few worlds; `tests/benchmarks/coverage.py` takes more
