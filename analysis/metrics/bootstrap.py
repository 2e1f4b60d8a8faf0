"""Percentile bootstrap over images, streamed: the same interval whatever the chunks, in memory that does not grow.

Shapes: R resamples, m images of a chunk, c columns (one a number that is averaged over images).
A resample draws n images out of n with replacement. Chunk by chunk that is: how many of the draws fall into this chunk
(binomial, given what is left), and then which of its images they hit. All columns share their draws.
Source: Efron & Tibshirani, 1993, chapter 13.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from .shapes import Values

LEVEL = 0.95


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
        self.squares += (values * values).sum(axis=0)
        self.drawn += counts @ values

    def mean(self) -> Float64[np.ndarray, " columns"]:
        """Mean of each column, NaN where it has no value: (c,)."""
        return np.divide(self.total, self.n, out=np.full(self.total.shape, np.nan), where=self.n > 0)

    def std(self) -> Float64[np.ndarray, " columns"]:
        """Population standard deviation of each column: (c,)."""
        mean = self.mean()
        spread = np.divide(self.squares, self.n, out=np.full(self.total.shape, np.nan), where=self.n > 0) - mean**2
        return np.sqrt(np.maximum(spread, 0))

    def interval(self) -> tuple[Values, Values]:
        """Percentile interval of each column's mean: two (c,)."""
        drawn = np.divide(self.drawn, self.weight, out=np.full(self.drawn.shape, np.nan), where=self.weight > 0)
        return percentiles(drawn)


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


def percentiles(resampled: ArrayLike, level: float = LEVEL) -> tuple[Values, Values]:
    """Both ends of the central `level` of resampled statistics, along the first axis; NaN where none is a number."""
    resampled = np.asarray(resampled, dtype=np.float64)
    tails = [50 * (1 - level), 50 * (1 + level)]
    valid = ~np.isnan(resampled)
    if len(resampled) and valid.all():
        low, high = np.percentile(resampled, tails, axis=0)
        return np.asarray(low), np.asarray(high)
    out = np.full((2, *resampled.shape[1:]), np.nan)
    for column in np.ndindex(*resampled.shape[1:]):
        numbers = resampled[(slice(None), *column)][valid[(slice(None), *column)]]
        if len(numbers):
            out[(slice(None), *column)] = np.percentile(numbers, tails)
    return out[0], out[1]
