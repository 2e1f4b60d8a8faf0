"""Inference on a mean over crossed factors: data sets, capacities, methods, each drawn from more than are there.

What shares a level (two methods on one data set) is not independent, and counting cells as if they were makes intervals
too narrow. Each factor's part of the variance is taken by leaving out one of its levels at a time (the jackknife); the
parts add up, which counts what is left between them more than once and so errs to the wide side; the degrees of freedom
are Satterthwaite's. Images and seeds need no factor of their own: what they add moves all cells of their data set or
method, and is in those parts.
Cells that do not differ leave no variance to go by, and no certainty either. Where they are measured with an error,
they are taken to differ by that. Where they are not, such as votes that are all for one, levels are counted: of k that
all gave one value, up to 1 - 0.025^(1/k) of others may give another, wherever in the range of the statistic (the exact
bound of a share of which none was seen). k is the number of levels of the factor that has the fewest.
Sources: Satterthwaite, Biometrics Bulletin 1946; Owen, Annals of Applied Statistics 2007 (crossed random effects);
Aronow, Samii & Assenova, Political Analysis 2015 (a factor that both ends of a pair belong to); Clopper & Pearson,
Biometrika 1934 (the exact bound).
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
EVERYTHING = (-np.inf, np.inf)


class Estimate(NamedTuple):
    """A mean with its interval, NaN where none can be given; over `n` cells.

    `error` and `df` are its standard error and their degrees of freedom; where all cells give one value, there are none
    (NaN), and `alike` levels did so. `levels` are how many each factor has, by name, `span` the ends of the statistic.
    """

    value: float
    low: float
    high: float
    n: int
    error: float
    df: float
    levels: dict[str, int]
    alike: int = 0
    span: tuple[float, float] = EVERYTHING

    def pvalue(self, reference: float) -> float:
        """Two-sided p-value of the mean being this number; NaN where there is no interval."""
        if self.error > 0:
            return float(2 * stdtr(self.df, -abs(self.value - reference) / self.error))
        if not self.alike:
            return np.nan
        room = self.value - self.span[0] if reference < self.value else self.span[1] - self.value
        others = min(abs(self.value - reference) / max(room, np.finfo(float).tiny), 1.0)
        return min(2 * float(1 - others) ** self.alike, 1.0)


def estimate(
    rows: pd.DataFrame, factors: Sequence[str], shared: float = 0.0, span: tuple[float, float] = EVERYTHING
) -> Estimate:
    """Mean of `value` over the cells of crossed factors, with a 95 % interval for levels that are not there.

    Args:
        rows: a column `value`, and one a factor; where a pair of levels is what a row is of, as two data sets, the
            other in a column of the factor's name and `_b`. Rows of one cell are averaged first, NaN left out. A
            column `error`, where there is one, is each value's own standard error: no level differs by less.
        factors: names of columns. Of a factor with one level, or one pair, nothing is known beyond it.
        shared: a standard error, in the units of `value`, that all cells share beyond their factors.
        span: least and greatest value that the statistic can have: the interval ends there.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"dataset": list("aabbcc"), "method": list("xyxyxy"), "value": [1, 2, 2, 3, 3, 4.0]})
        >>> found = estimate(rows, ["dataset", "method"])
        >>> found.value, found.n, found.levels
        (2.5, 6, {'dataset': 3, 'method': 2})
    """
    columns = {name: [c for c in (name, f"{name}_b") if c in rows] for name in factors}
    keys = [column for group in columns.values() for column in group]
    measured = [name for name in ("value", "error") if name in rows]
    cells = rows.dropna(subset="value").groupby(keys, sort=True, observed=True)[measured].mean().reset_index()
    values, n = cells["value"].to_numpy(np.float64), len(cells)
    mean = float(values.mean()) if n else np.nan
    touched = {name: [(cells[group] == level).any(axis=1).to_numpy() for level in _levels(cells, group)]
               for name, group in columns.items()}  # fmt: skip
    levels = {name: len(each) for name, each in touched.items()}
    parts = [(_jackknife(values, each), len(each)) for each in touched.values()]
    parts = [(variance, count) for variance, count in parts if not np.isnan(variance)]
    if n < FEWEST or not parts:
        return Estimate(mean, np.nan, np.nan, n, np.nan, np.nan, levels)
    total, fewest = sum(variance for variance, _ in parts), min(count for _, count in parts)
    least = float((cells["error"] ** 2).mean()) / fewest if "error" in cells else 0.0
    if max(total, least) <= (1e-12 * max(1.0, abs(mean))) ** 2:  # no spread but rounding
        return _all_alike(mean, n, levels, fewest, span)
    df = float(fewest - 1)
    if total > least:
        df = _degrees([variance for variance, _ in parts], [count - 1 for _, count in parts])
    total = max(total, least)
    error = float(np.sqrt(total + shared**2))
    df *= error**4 / total**2  # what is shared is known, not estimated
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * error
    low, high = np.clip([mean - half, mean + half], *span)
    return Estimate(mean, float(low), float(high), n, error, df, levels, span=span)


def _all_alike(value: float, n: int, levels: dict[str, int], fewest: int, span: tuple[float, float]) -> Estimate:
    """Of cells that all give one value, which says something of others where the statistic has ends."""
    if not np.isfinite(span).all():
        return Estimate(value, np.nan, np.nan, n, np.nan, np.nan, levels)
    unseen = 1 - ((1 - LEVEL) / 2) ** (1 / fewest)
    low, high = (value + unseen * (end - value) for end in span)
    return Estimate(value, low, high, n, np.nan, np.nan, levels, fewest, span)


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
