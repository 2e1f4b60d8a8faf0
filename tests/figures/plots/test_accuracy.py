"""The intervals that the figures draw are scipy's."""

import numpy as np
import pytest
from scipy.stats import binomtest, t

from tokenlens.figures.plots.accuracy import wilson
from tokenlens.figures.select.pairs import mean_interval


def test_wilsons_interval_is_scipys() -> None:
    for right, n in ((50, 100), (0, 10), (999, 1000)):
        ends = binomtest(right, n).proportion_ci(0.95, "wilson")
        assert wilson(100 * right / n, n) == pytest.approx((100 * ends.low, 100 * ends.high), abs=1e-4)


def test_means_have_students_interval_and_one_value_has_none() -> None:
    values = np.array([1.0, 4.0, 2.0, np.nan])
    mean, low, high, n = mean_interval(values)
    ends = t.interval(0.95, 2, 7 / 3, np.std([1, 4, 2], ddof=1) / np.sqrt(3))
    assert (mean, n) == (pytest.approx(7 / 3), 3) and (low, high) == pytest.approx(ends)
    assert mean_interval([2.0])[0] == 2 and np.isnan(mean_interval([2.0])[1:3]).all() and mean_interval([])[3] == 0
