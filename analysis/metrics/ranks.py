"""Rank correlation: Spearman, also partial, and Kendall, with permutation p-value and Benjamini-Hochberg correction.

Shapes: `...` leading axes that broadcast, P values that are ranked. Ties get their mean rank; Kendall is tau-b.
A row without variation orders nothing: its correlation is 0 here, stated, where SciPy gives NaN.
Sources: Spearman, 1904; Yule, 1907 (partial); Kendall, 1945 (tau-b); Benjamini & Hochberg, 1995.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from .shapes import Maps, Values

NORMAL = 1.96  # standard errors from an estimate to the ends of its 95 % interval


def ranks(values: ArrayLike) -> Maps:
    """Rank along the last axis from 1, ties sharing their mean rank: (..., P) -> (..., P) float64."""
    return np.asarray(rankdata(np.asarray(values), axis=-1), dtype=np.float64)


def pearson(a: ArrayLike, b: ArrayLike) -> Values:
    """Correlate along the last axis: (..., P) x (..., P) -> (...) float64 in -1..1; 0 where a row does not vary.

    NaN where a value is NaN, which no level of a constant row can hide.
    """
    x, y = (np.asarray(v, dtype=np.float64) for v in (a, b))
    x, y = (v - v.mean(axis=-1, keepdims=True) for v in (x, y))
    x_scale, y_scale = (np.sqrt((v * v).sum(axis=-1)) for v in (x, y))
    scale, product = x_scale * y_scale, (x * y).sum(axis=-1)
    level = 1e-14 * x.shape[-1]  # what is left of a constant row after its mean is taken off
    varies = (x_scale > level * _largest(a)) & (y_scale > level * _largest(b))
    known = np.where(varies, np.clip(product / np.where(varies, scale, 1), -1, 1), 0.0)
    return np.where(np.isnan(product), np.nan, known)


def spearman(a: ArrayLike, b: ArrayLike) -> Values:
    """Correlate the ranks along the last axis: (..., P) x (..., P) -> (...) float64 in -1..1."""
    return pearson(ranks(a), ranks(b))


def partial_spearman(a: ArrayLike, b: ArrayLike, given: ArrayLike) -> Values:
    """Spearman correlation of a and b beyond what `given` tells, along the last axis: three (..., P) -> (...) in -1..1.

    It is Pearson's of what least squares on the ranks of `given` leave of the ranks of a and b. 0 where `given` tells
    the order of either, so that nothing is left to correlate; `spearman` where it does not vary.
    """
    ab, ac, bc = spearman(a, b), spearman(a, given), spearman(b, given)
    left_a, left_b = 1 - ac * ac, 1 - bc * bc
    some = np.minimum(left_a, left_b) > 1e-12  # else rounding alone is left
    scale = np.sqrt(np.where(some, left_a * left_b, 1))
    partial = np.where(some, np.clip((ab - ac * bc) / scale, -1, 1), 0.0)
    return np.where(np.isnan(ab + ac + bc), np.nan, partial)


def left_beyond(a: ArrayLike, b: ArrayLike, given: ArrayLike, reliability: float = 1.0) -> Values:
    """Correlation of a and b less what `given` explains of it, along the last axis: three (..., P) -> (...).

    Ranks of few say less of each other than the values do, and what is measured with noise explains too little, so that
    a partial correlation of ranks is above 0 where nothing is left (Westfall & Yarkoni, PLOS ONE 2016). Here each rank
    correlation is first that of normal values which has it for its expectation (Moran, Biometrika 1948), and what is
    explained is divided by how much of the variance of `given` is no noise. Not divided by what is left of a and b,
    which would blow up where that is little.
    """
    size = np.shape(a)[-1]
    known = np.linspace(-1, 1, 2001)
    expected = 6 / np.pi / (size + 1) * (np.arcsin(known) + (size - 2) * np.arcsin(known / 2))
    ab, ac, bc = (np.interp(spearman(x, y), expected, known) for x, y in ((a, b), (a, given), (b, given)))
    return np.asarray(ab - ac * bc / reliability)


def spearman_within(a: ArrayLike, b: ArrayLike, families: Iterable[Any]) -> Values:
    """Spearman correlation within families: two (..., P) and labels (P,) -> (...); 0 where nothing varies within one.

    It is Pearson's of the ranks less the mean rank of each family, so that how families differ says nothing.
    """
    labels = np.array(list(families))
    member = (labels == np.unique(labels)[:, None]).astype(np.float64)
    mean = member.T @ (member / member.sum(axis=1, keepdims=True))  # (P, P): a value to its family's mean
    x, y = (ranks(v) - ranks(v) @ mean.T for v in (a, b))
    return pearson(np.where(np.abs(x) > 1e-9, x, 0), np.where(np.abs(y) > 1e-9, y, 0))


def kendall(a: ArrayLike, b: ArrayLike) -> Values:
    """Kendall's tau-b along the last axis: (..., P) x (..., P) -> (...) float64 in -1..1; NaN where a value is NaN."""
    a, b = np.broadcast_arrays(np.asarray(a), np.asarray(b))
    n = math.prod(a.shape[:-1])
    unknown = (np.isnan(a) | np.isnan(b)).any(-1)
    codes_a, codes_b = (_codes(np.where(unknown[..., None], 0, x)).reshape(n, x.shape[-1]) for x in (a, b))
    return np.where(unknown, np.nan, np.asarray(_tau_b(codes_a, codes_b)).reshape(a.shape[:-1]))


def kendall_codes(a: NDArray[np.int32], b: NDArray[np.int32]) -> Values:
    """Kendall's tau-b of rows that are already whole numbers from 0 up: (n, P) x (n, P) int32 -> (n,) float64.

    Costs P + levels of a x levels of b a row instead of sorting it: for depths and rings, which have few levels.
    """
    return np.asarray(_tau_b(np.ascontiguousarray(a, dtype=np.int32), np.ascontiguousarray(b, dtype=np.int32)))


def permutation_pvalue(
    x: ArrayLike,
    y: ArrayLike,
    statistic: Any = spearman,
    draws: int = 9999,
    seed: int = 0,
    families: Iterable[object] | None = None,
) -> float:
    """Two-sided p-value of a correlation when y is shuffled: (P,) x (P,) -> share of shuffles at least as far from 0.

    All P! orders are walked while they are no more than `draws`; else `draws` seeded shuffles, counting the data
    itself as one of them, so that p is never 0. NaN where the correlation is, and where there is one value or family.
    Members of one of the `families` (P,) are variants of one idea and do not vary independently: where these are told,
    each family is its mean, and families are shuffled.

    Examples:
        >>> row = [1, 2, 3, 4]
        >>> permutation_pvalue(row, row), permutation_pvalue(row, row, families="aabb")
        (0.08333333333333333, 1.0)
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if families is not None:
        labels = np.array(list(families))
        member = labels == np.unique(labels)[:, None]
        a, b = (member @ v / member.sum(axis=1) for v in (a, b))
    seen = abs(float(statistic(a, b))) - 1e-12 if len(a) > 1 else math.nan
    if math.isnan(seen):
        return math.nan
    if math.factorial(min(len(b), 20)) <= draws:
        orders = np.array(list(itertools.permutations(range(len(b)))))
        return float(np.mean(np.abs(statistic(a[None], b[orders])) >= seen))
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(len(b)), (draws, 1)), axis=1)
    return float((1 + np.sum(np.abs(statistic(a[None], b[orders])) >= seen)) / (draws + 1))


def correlation_interval(value: float, n: int, statistic: Any = spearman) -> tuple[float, float]:
    """A 95 % interval of a rank correlation, `spearman` or `kendall`, of n independent pairs, by Fisher's z.

    A perfect order of so few is no proof of one beyond them: it is taken for halfway to the next order there is, and
    its interval still ends at 1 (or -1). (-1, 1) where the pairs are too few to say anything, (NaN, NaN) of NaN.
    Sources of the variance: Bonett & Wright, Psychometrika 2000 (Spearman); Fieller, Hartley & Pearson, Biometrika 1957
    (Kendall).

    Examples:
        >>> low, high = correlation_interval(1.0, 6)
        >>> round(low, 2), high
        (0.62, 1.0)
    """
    if math.isnan(value):
        return math.nan, math.nan
    room, step = (n - 4, 4 / (n * (n - 1))) if statistic is kendall else (n - 3, 12 / (n * (n * n - 1)))
    if room <= 0:
        return -1.0, 1.0
    at = math.atanh(math.copysign(min(abs(value), 1 - step / 2), value))
    error = math.sqrt((0.437 if statistic is kendall else 1 + value * value / 2) / room)
    low, high = (math.tanh(at + side * NORMAL * error) for side in (-1, 1))
    return (low if value > -1 else -1.0), (high if value < 1 else 1.0)


def benjamini_hochberg(p: ArrayLike) -> Maps:
    """Adjust p-values for the false discovery rate: (n,) -> (n,) in 0..1; NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=np.float64)
    out, valid = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = valid[np.argsort(p[valid], kind="stable")[::-1]]  # largest first
    factor = len(order) / np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.minimum.accumulate(p[order] * factor), 1)
    return out


def holm(p: ArrayLike) -> Maps:
    """Adjust p-values so that any false one among them is as rare as p says: (n,) -> (n,) in 0..1; NaN as above."""
    p = np.asarray(p, dtype=np.float64)
    out, valid = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = valid[np.argsort(p[valid], kind="stable")]  # smallest first
    out[order] = np.maximum.accumulate(np.minimum(p[order] * np.arange(len(order), 0, -1), 1))
    return out


def _largest(values: ArrayLike) -> Values:
    return np.asarray(np.abs(np.asarray(values, dtype=np.float64)).max(axis=-1, initial=0))


def _codes(values: NDArray[Any]) -> NDArray[np.int32]:
    """Dense ranks from 0 along the last axis."""
    return np.ascontiguousarray(rankdata(values, method="dense", axis=-1) - 1, dtype=np.int32)


@njit(cache=True, nogil=True)
def _tau_b(a: Any, b: Any) -> Any:
    n, size = a.shape
    out = np.zeros(n)
    for i in range(n):
        high_a, high_b = 0, 0
        for j in range(size):
            high_a, high_b = max(high_a, a[i, j]), max(high_b, b[i, j])
        table = np.zeros((high_a + 1, high_b + 1), np.int64)
        for j in range(size):
            table[a[i, j], b[i, j]] += 1
        above = np.zeros(high_b + 1, np.int64)  # per column, everything in the rows done so far
        score, tied_a, tied_b = 0, 0, 0
        for x in range(high_a + 1):
            left, total = 0, above.sum()
            row = 0
            for y in range(high_b + 1):
                right = total - left - above[y]
                score += table[x, y] * (left - right)
                left += above[y]
                row += table[x, y]
            for y in range(high_b + 1):
                above[y] += table[x, y]
            tied_a += row * (row - 1) // 2
        for y in range(high_b + 1):
            tied_b += above[y] * (above[y] - 1) // 2
        pairs = size * (size - 1) // 2
        if pairs > tied_a and pairs > tied_b:
            out[i] = score / np.sqrt(np.float64(pairs - tied_a)) / np.sqrt(np.float64(pairs - tied_b))
    return out
