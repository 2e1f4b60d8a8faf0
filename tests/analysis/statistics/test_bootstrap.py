"""The bootstrap: its slow twin, its limits, and that chunks do not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenlens.analysis.statistics import bootstrap


@given(st.integers(0, 50), st.integers(1, 60), st.integers(1, 70))
def test_every_resample_draws_as_many_images_as_there_are(seed: int, images: int, chunk: int) -> None:
    draw = bootstrap.Resampler(images, 20, seed)
    sizes = [min(chunk, images - start) for start in range(0, images, chunk)]
    counts = np.concatenate([draw.counts(size) for size in sizes], axis=1)
    assert counts.shape == (20, images)
    assert counts.sum(axis=1).tolist() == [images] * 20


def test_draws_are_multinomial_across_chunks() -> None:
    draw = bootstrap.Resampler(10, 20000, 0)
    counts = np.concatenate([draw.counts(4), draw.counts(6)], axis=1)
    assert counts.mean(axis=0) == pytest.approx(np.ones(10), abs=0.03)
    assert counts.var(axis=0) == pytest.approx(np.full(10, 0.9), abs=0.05)
    assert np.cov(counts.T)[0, 9] == pytest.approx(-0.1, abs=0.03)


def test_interval_is_that_of_the_slow_twin() -> None:
    values = np.random.default_rng(0).gamma(2, size=300)
    slow = [np.random.default_rng([1, i]).choice(values, 300).mean() for i in range(4000)]
    low, high = bootstrap.interval(values, resamples=4000)
    assert (low, high) == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])), abs=0.02)


@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_interval_covers_whatever_the_chunk(chunk: int) -> None:
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap.interval(values, resamples=2000, chunk=chunk)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_the_seed_decides_and_columns_share_draws() -> None:
    values = np.random.default_rng(2).normal(size=(50, 2))
    values[:, 1] = -values[:, 0]
    low, high = bootstrap.interval(values, seed=3)
    assert low[0] == pytest.approx(-high[1])
    assert bootstrap.interval(values, seed=3)[0].tolist() == low.tolist()
    assert bootstrap.interval(values, seed=4)[0].tolist() != low.tolist()


def test_missing_values_are_left_out_column_by_column() -> None:
    values = np.random.default_rng(3).normal(size=(40, 2))
    values[::2, 0] = np.nan
    draw, means = bootstrap.Resampler(40, 500, 0), bootstrap.Means(2, 500)
    for part in (values[:15], values[15:]):
        means.add(part, draw.counts(len(part)))
    assert means.n.tolist() == [20, 40]
    assert means.mean() == pytest.approx(np.nanmean(values, axis=0))
    assert means.std() == pytest.approx(np.nanstd(values, axis=0))
    assert np.all(means.interval()[0] < means.mean())


def test_nothing_known_is_nan() -> None:
    means = bootstrap.Means(1, 10)
    means.add(np.full((3, 1), np.nan), np.ones((10, 3)))
    assert np.isnan([means.mean(), means.std(), *means.interval()]).all()


def test_a_mean_over_fewer_than_all_images_falls_short_by_their_number() -> None:
    """An average precision is a mean over the images of its class; percentiles are as far out as n images allow."""
    assert bootstrap.widening(10, 3) / bootstrap.widening(10) == pytest.approx(np.sqrt((3 / 2) / (10 / 9)))
    assert bootstrap.widening(10, 10) == bootstrap.widening(10)
