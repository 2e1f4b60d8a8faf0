"""Inference on a mean over crossed factors: data sets, capacities, methods, each drawn from more than are there.

What shares a level (two methods on one data set) is not independent, and counting cells as if they were makes intervals
too narrow. Each factor's part of the variance is taken by leaving out one of its levels at a time (the jackknife); the
parts add up, which counts what is left between them more than once and so errs to the wide side; the degrees of freedom
are Satterthwaite's. Images and seeds need no factor of their own: what they add moves all cells of their data set or
method, and is in those parts.
Sources: Satterthwaite, Biometrics Bulletin 1946; Owen, Annals of Applied Statistics 2007 (crossed random effects);
Aronow, Samii & Assenova, Political Analysis 2015 (a factor that both ends of a pair belong to).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
FEWEST = 3  # cells below which nothing is inferred


class Estimate(NamedTuple):
    """A mean with its interval and standard error, NaN where none can be given; over `n` cells, with `df` degrees of
    freedom; and how many levels of each factor there are, by name.
    """

    value: float
    low: float
    high: float
    n: int
    error: float
    df: float
    levels: dict[str, int]

    def pvalue(self, reference: float) -> float:
        """Two-sided p-value of the mean being this number; NaN without a standard error."""
        return float(2 * stdtr(self.df, -abs(self.value - reference) / self.error)) if self.error > 0 else np.nan


def estimate(rows: pd.DataFrame, factors: Sequence[str], shared: float = 0.0) -> Estimate:
    """Mean of `value` over the cells of crossed factors, with a 95 % interval for levels that are not there.

    Args:
        rows: a column `value`, and one a factor; where a pair of levels is what a row is of, as two data sets, the
            other in a column of the factor's name and `_b`. Rows of one cell are averaged first, NaN left out.
        factors: names of columns. Of a factor with one level, or one pair, nothing is known beyond it.
        shared: a standard error, in the units of `value`, that all cells share beyond their factors.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"dataset": list("aabbcc"), "method": list("xyxyxy"), "value": [1, 2, 2, 3, 3, 4.0]})
        >>> found = estimate(rows, ["dataset", "method"])
        >>> found.value, found.n, found.levels
        (2.5, 6, {'dataset': 3, 'method': 2})
    """
    columns = {name: [c for c in (name, f"{name}_b") if c in rows] for name in factors}
    keys = [column for group in columns.values() for column in group]
    cells = rows.dropna(subset="value").groupby(keys, sort=True, observed=True)["value"].mean().reset_index()
    values, n = cells["value"].to_numpy(np.float64), len(cells)
    mean = float(values.mean()) if n else np.nan
    touched = {name: [(cells[group] == level).any(axis=1).to_numpy() for level in _levels(cells, group)]
               for name, group in columns.items()}  # fmt: skip
    levels = {name: len(each) for name, each in touched.items()}
    parts = [(_jackknife(values, each), len(each) - 1) for each in touched.values()]
    parts = [(variance, df) for variance, df in parts if not np.isnan(variance)]
    total = sum(variance for variance, _ in parts)
    if n < FEWEST or total <= (1e-12 * max(1.0, abs(mean))) ** 2:  # no spread but rounding says nothing of others
        return Estimate(mean, np.nan, np.nan, n, np.nan, np.nan, levels)
    df = _degrees([variance for variance, _ in parts], [df for _, df in parts])
    error = float(np.sqrt(total + shared**2))
    df *= error**4 / total**2  # what is shared is known, not estimated
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * error
    return Estimate(mean, mean - half, mean + half, n, error, df, levels)


def _levels(cells: pd.DataFrame, columns: Sequence[str]) -> list[object]:
    return sorted({level for column in columns for level in cells[column]}, key=str)


def _jackknife(values: NDArray[np.float64], touched: Sequence[NDArray[np.bool_]]) -> float:
    """The variance of the mean over a factor's levels; NaN where leaving one out leaves nothing."""
    without = [values[~cells] for cells in touched]
    if len(without) < 2 or not all(map(len, without)):
        return np.nan
    means = np.array([part.mean() for part in without])
    return float((len(means) - 1) / len(means) * ((means - means.mean()) ** 2).sum())


def _degrees(variances: Sequence[float], degrees: Sequence[int]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances."""
    return float(sum(variances) ** 2 / sum(v**2 / df for v, df in zip(variances, degrees, strict=True)))
