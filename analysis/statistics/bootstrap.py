"""Bootstrap over images, streamed: the same interval whatever the chunks, in memory that does not grow.

Shapes: R resamples, m images of a chunk, c columns (one a number that is averaged over images).
A resample draws n images out of n with replacement. Chunk by chunk that is: how many of the draws fall into this chunk
(binomial, given what is left), and then which of its images they hit. All columns share their draws.
Percentiles of few images are too narrow and blind to skew: below `FEW` images they are taken where BCa has them, as far
out as Student's t is. Where hardly any image differs from an end of the metric's range, resamples hardly ever see one
that does: there the number that differ is bounded as a Poisson count is, which is exact where none does.
Sources: Efron & Tibshirani, 1993, chapters 13 and 14 (percentiles, BCa); Hesterberg, The American Statistician, 2015
(as far out as Student's t); Fay & Feuer, Statistics in Medicine, 1997 (weighted Poisson counts).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv, ndtr, ndtri, stdtr, stdtrit

from ..metrics.shapes import Values

LEVEL = 0.95
FEW = 200  # images from which on percentiles are as good
RARE = 20  # images that differ from the end of the range, from which on resamples see enough of them


class Resampler:
    """Deals out how often each image is drawn, chunk after chunk, for R resamples of n images."""

    def __init__(self, images: int, resamples: int = 1000, seed: int | list[int] = 0) -> None:
        self.images = images
        self.resamples = resamples
        self.random = np.random.default_rng(seed)
        self.draws_left = np.full(resamples, images)
        self.images_left = images

    def counts(self, chunk: int) -> Float64[np.ndarray, "resamples chunk"]:
        """Times that each of the next `chunk` images is drawn: (R, chunk) float64, ready for a matrix product."""
        share = min(chunk / max(self.images_left, 1), 1.0)
        draws = self.random.binomial(self.draws_left, share)
        self.draws_left = self.draws_left - draws
        self.images_left -= chunk
        hit = self.random.integers(0, max(chunk, 1), size=int(draws.sum()), dtype=np.int32)
        hit += np.repeat(np.arange(self.resamples, dtype=np.int32) * chunk, draws)
        return np.bincount(hit, minlength=self.resamples * chunk).reshape(-1, chunk).astype(np.float64)


class Means:
    """Running mean, deviation and bootstrap of c columns over images; NaN entries are left out column by column."""

    def __init__(self, columns: int, resamples: int = 1000) -> None:
        self.n = np.zeros(columns)
        self.total = np.zeros(columns)
        self.squares = np.zeros(columns)
        self.cubes = np.zeros(columns)
        self.drawn = np.zeros((resamples, columns))
        self.weight = np.zeros((resamples, columns))

    def add(self, values: Float64[np.ndarray, "chunk columns"], counts: Float64[np.ndarray, "resamples chunk"]) -> None:
        """Add a chunk: values (m, c), counts (R, m) from `Resampler.counts`."""
        valid = ~np.isnan(values)
        if valid.all():
            self.n += len(values)
            self.weight += counts.sum(axis=1)[:, None]
        else:
            values = np.where(valid, values, 0)
            self.n += valid.sum(axis=0)
            self.weight += counts @ valid
        self.total += values.sum(axis=0)
        squares = values * values
        self.squares += squares.sum(axis=0)
        self.cubes += np.einsum("ij,ij->j", squares, values)
        self.drawn += counts @ values

    def include(self, other: Means) -> None:
        """Add what another has taken of further images."""
        for name, sums in vars(other).items():
            np.add(getattr(self, name), sums, out=getattr(self, name))

    def mean(self) -> Float64[np.ndarray, " columns"]:
        """Mean of each column, NaN where it has no value: (c,)."""
        return np.divide(self.total, self.n, out=np.full(self.total.shape, np.nan), where=self.n > 0)

    def std(self) -> Float64[np.ndarray, " columns"]:
        """Population standard deviation of each column: (c,)."""
        mean = self.mean()
        spread = np.divide(self.squares, self.n, out=np.full(self.total.shape, np.nan), where=self.n > 0) - mean**2
        return np.sqrt(np.maximum(spread, 0))

    def interval(self, ranges: ArrayLike = (-np.inf, np.inf)) -> tuple[Values, Values]:
        """Interval of each column's mean: two (c,); `ranges` (c, 2), or (2,), are the ends between which values lie.

        NaN where one image alone, or images that all give one value, say nothing and no range bounds what others give.
        """
        drawn = np.divide(self.drawn, self.weight, out=np.full(self.drawn.shape, np.nan), where=self.weight > 0)
        ends, few = np.empty((2, len(self.n))), self.n < FEW
        ends[:, ~few] = percentiles(drawn[:, ~few])
        ends[:, few] = percentiles(drawn[:, few], self._levels(drawn, few))
        return self._bounded(ends, np.broadcast_to(np.asarray(ranges, dtype=np.float64), (len(few), 2)))

    def test(self) -> tuple[Values, Values]:
        """How many standard errors each column's mean lies from 0, and its two-sided p-value by Student's t: two (c,).

        NaN where all values are the same.
        """
        mean, spread, free = self.mean(), self.std(), np.maximum(self.n - 1, 0)
        error = spread / np.sqrt(np.maximum(free, 1))
        z = np.divide(mean, error, out=np.full(mean.shape, np.nan), where=(free > 0) & (spread > 1e-9))
        return z, np.asarray(2 * stdtr(free, -np.abs(z)))

    def _levels(self, drawn: Values, few: NDArray[np.bool_]) -> Values:
        """The shares of resamples below both ends of some columns, by BCa: (2, columns)."""
        mean, n = self.mean()[few], np.maximum(self.n[few], 1)
        spread = self.std()[few]
        third = self.cubes[few] / n - 3 * mean * self.squares[few] / n + 2 * mean**3
        skew = np.divide(third, spread**3, out=np.zeros_like(third), where=spread > 1e-9 * (1 + np.abs(mean)))
        tied = np.abs(drawn[:, few] - mean) <= 1e-12 * (1 + np.abs(mean))  # but for rounding, as sums are batched
        below = ((drawn[:, few] < mean) & ~tied).mean(axis=0) + tied.mean(axis=0) / 2
        shift = ndtri(np.clip(below, 0.1, 0.9))
        out = np.sqrt(n / np.maximum(n - 1, 1)) * stdtrit(np.maximum(n - 1, 1), (1 + LEVEL) / 2)
        at = shift + np.stack([-out, out])
        return np.asarray(ndtr(shift + at / (1 - np.clip(skew / 6 / np.sqrt(n) * at, -0.5, 0.5))))

    def _bounded(self, ends: Values, ranges: Values) -> tuple[Values, Values]:
        """Put the ends of the intervals within the ranges, and bound what hardly any image shows."""
        (low, high), (least, most) = ends, ranges.T
        n, mean, variance = np.maximum(self.n, 1), self.mean(), self.std() ** 2
        finite = np.isfinite(least) & np.isfinite(most) & (self.n > 0)
        width = np.where(finite, most - least, 0)
        for away, seen_from_top in ((most - mean, True), (mean - least, False)):
            squared = np.where(finite, variance + np.where(finite, away, 0) ** 2, 0)
            few = finite & (away**2 <= variance + 1e-12) & (n * away**2 <= RARE * squared)
            near, far = _weighted_poisson(np.where(few, away, 0), squared / n, width / n)
            low = np.where(few, most - far if seen_from_top else least + near, low)
            high = np.where(few, most - near if seen_from_top else least + far, high)
        same = variance <= 1e-12 * (1 + mean**2)  # that many more may differ, to wherever the range ends
        unseen = 1 - ((1 - LEVEL) / 2) ** (1 / n)
        low = np.where(same, np.where(finite, mean - unseen * (mean - least), np.nan), low)
        high = np.where(same, np.where(finite, mean + unseen * (most - mean), np.nan), high)
        return np.clip(low, least, most), np.clip(high, least, most)


def _weighted_poisson(mean: Values, variance: Values, step: Values) -> tuple[Values, Values]:
    """Interval of a mean of rare values from its estimated variance, one of them adding at most `step`: two (c,)."""
    tail = (1 - LEVEL) / 2
    seen = np.where(mean > 0, mean, 1)
    low = variance / seen * gammaincinv(np.maximum(mean**2 / np.where(variance > 0, variance, 1), 1e-9), tail)
    above, spread = mean + step, variance + step**2
    high = (
        spread
        / np.where(above > 0, above, 1)
        * gammaincinv(np.maximum(above**2 / np.where(spread > 0, spread, 1), 1e-9), 1 - tail)
    )
    return np.where(mean > 0, low, 0), high


def widening(n: int, counted: float = 0) -> float:
    """By how much percentiles over resamples of n images, at least 2, are too narrow; source: Hesterberg, as above.

    `counted` are the images that the statistic is a mean over, where it is not over all n.
    """
    counted = counted or n
    return float(np.sqrt(counted / (counted - 1)) * stdtrit(n - 1, (1 + LEVEL) / 2) / ndtri((1 + LEVEL) / 2))


def noisier(value: float, drawn: Values, n: float) -> float:
    """What a value of n images, at least 2, would be with their noise once more, from resampled values (R,).

    Resamples add that noise, but for n / (n - 1) of its variance.
    """
    return value + n / (n - 1) * (float(drawn.mean()) - value)


def interval(values: ArrayLike, resamples: int = 1000, seed: int = 0, chunk: int = 2048) -> tuple[Values, Values]:
    """Interval of the mean over images of values (n,) or (n, c): low and high, (c,) float64, at 95 %."""
    values = np.asarray(values, dtype=np.float64)
    table = values.reshape(len(values), -1)
    draw, means = Resampler(len(table), resamples, seed), Means(table.shape[1], resamples)
    for start in range(0, len(table), chunk):
        part = table[start : start + chunk]
        means.add(part, draw.counts(len(part)))
    low, high = means.interval()
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def percentiles(resampled: ArrayLike, levels: ArrayLike = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)) -> tuple[Values, Values]:
    """Both ends of resampled statistics (R, ...) along the first axis, two (...); NaN where none is a number.

    `levels` are the shares of resamples below the two ends: (2,), or (2, ...) for each statistic its own.
    """
    resampled, levels = np.asarray(resampled, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    known = ~np.isnan(resampled)
    if levels.ndim == 1 and len(resampled) and known.all():
        low, high = np.quantile(resampled, levels, axis=0)
        return np.asarray(low), np.asarray(high)
    ordered = np.sort(resampled, axis=0)  # what is no number comes last
    last = known.sum(axis=0) - 1
    place = np.maximum(last, 0) * levels.reshape(2, *(levels.shape[1:] or (1,) * (resampled.ndim - 1)))
    below = np.floor(place).astype(int)
    ends = [np.take_along_axis(ordered, np.minimum(below + more, np.maximum(last, 0)), axis=0) for more in (0, 1)]
    low, high = np.where(last < 0, np.nan, ends[0] + (place - below) * (ends[1] - ends[0]))
    return np.asarray(low), np.asarray(high)
