"""Global patterns: the mean depth at which each patch is dropped, and seven ways to compare two such heat maps.

Shapes: `...` leading axes that broadcast, S stages, P patches. A heat map is float (..., P), not negative; it is read
as a distribution (divided by its sum; a map of zeros counts as uniform) where a measure needs one. Logarithms are to
base 2.
Source: Haurum et al., 2023, arXiv:2308.04657; held against JoakimHaurum/TokenReduction@88fe07e,
reduction_methods_analysis/{compute_token_statistics,compare_heatmaps}.py. Departs: constant maps have a stated value,
and the Jensen-Shannon divergence is given beside what is published under that name. EMD is exact, theirs is
quantised.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr, xlogy

from tokenlens.errors import BadInput

from .base import METRICS, metric
from .ranks import partial_spearman, pearson, spearman
from .shapes import Maps, Values
from .transport_solver import solver

SHUFFLES, SHADOWS = 16, 512  # of a map, for the chance level of the transport: solved, and seen from sides
SIDES = 4
_LOG2 = np.log(2)


def depth(kept: ArrayLike, stages: ArrayLike, survived: int) -> NDArray[np.int16]:
    """Block at which each patch was dropped, `survived` if it never was: bool (..., S, P), (S,) -> int16 (..., P)."""
    kept, blocks = np.asarray(kept, dtype=bool), np.asarray(stages, dtype=np.int16)
    out = np.full((*kept.shape[:-2], kept.shape[-1]), survived, dtype=np.int16)
    for stage in range(len(blocks) - 1, -1, -1):  # the first stage that drops a patch has the last word
        np.copyto(out, blocks[stage], where=~kept[..., stage, :])
    return out


def mean_depth(kept: ArrayLike, stages: ArrayLike, survived: int) -> Maps:
    """Mean token depth of each patch over images, in blocks: bool (image, S, P), (S,) -> float64 (P,)."""
    return depth(kept, stages, survived).mean(axis=0, dtype=np.float64)


def distribution(heat: ArrayLike) -> Maps:
    """Divide a map by its sum: (..., P) -> (..., P); a map of zeros becomes uniform. BadInput where it is negative."""
    heat = np.asarray(heat, dtype=np.float64)
    if heat.size and not heat.min() >= 0:
        raise BadInput("a heat map holds a negative number or NaN, and is to be read as a distribution; pass depths")
    total = heat.sum(axis=-1, keepdims=True)
    return np.where(total > 0, heat, 1.0) / np.where(total > 0, total, max(heat.shape[-1], 1))


def _kl(p: Maps, q: Maps) -> Maps:
    return np.asarray(rel_entr(q, p))


def _js(p: Maps, q: Maps) -> Maps:
    mean = (p + q) / 2
    return np.asarray(rel_entr(p, mean) + rel_entr(q, mean)) / 2


def _js_published(p: Maps, q: Maps) -> Maps:
    mean = (p + q) / 2
    return np.asarray(rel_entr(mean, p) + rel_entr(mean, q)) / 2


def _shuffled(
    terms: Callable[[Maps, Maps], Maps], read: Callable[[ArrayLike], Maps], unit: float = 1.0
) -> Callable[[ArrayLike, ArrayLike], Values]:
    """Chance of a sum of terms over patches: its mean over all shuffles of the patches of one map, exact.

    It is the sum over all P x P pairs of patches, divided by P.
    """

    def expected(a: ArrayLike, b: ArrayLike) -> Values:
        p, q = read(a)[..., :, None], read(b)[..., None, :]
        return np.asarray(terms(p, q).sum(axis=(-2, -1))) / p.shape[-2] / unit

    return expected


def _divergence(terms: Callable[[Maps, Maps], Maps]) -> dict[str, Any]:
    chance = _shuffled(terms, distribution, _LOG2)
    return {"of": "heatmap", "direction": "distance", "range": (0.0, np.inf), "chance": chance}


@metric("kl", **_divergence(_kl), swap="kl_reverse", label="KL")
def kl(a: ArrayLike, b: ArrayLike) -> Values:
    """Kullback-Leibler divergence D(b || a) in bits, 0 up: the published order. Infinite where b needs what a lacks."""
    return _kl(distribution(a), distribution(b)).sum(axis=-1) / _LOG2


@metric("kl_reverse", **_divergence(lambda p, q: _kl(q, p)), swap="kl", label="KL reversed")
def kl_reverse(a: ArrayLike, b: ArrayLike) -> Values:
    """Kullback-Leibler divergence D(a || b) in bits, 0 up. Infinite where a needs what b lacks."""
    return kl(b, a)


@metric("js", **_divergence(_js) | {"range": (0.0, 1.0)}, label="JS")
def js(a: ArrayLike, b: ArrayLike) -> Values:
    """Jensen-Shannon divergence in bits, 0..1: mean of D(a || m) and D(b || m), m their mean."""
    return _js(distribution(a), distribution(b)).sum(axis=-1) / _LOG2


@metric("js_published", **_divergence(_js_published), label="JS as published")
def js_published(a: ArrayLike, b: ArrayLike) -> Values:
    """What the published tables call JS, in bits, 0 up: mean of D(m || a) and D(m || b), m their mean."""
    return _js_published(distribution(a), distribution(b)).sum(axis=-1) / _LOG2


@metric("pcc", of="heatmap", range=(-1.0, 1.0), label="PCC", chance=0.0, noise="shrinks")
def pcc(a: ArrayLike, b: ArrayLike) -> Values:
    """Pearson correlation, -1..1; 0 where a map is constant."""
    return pearson(a, b)


@metric("scc", of="heatmap", range=(-1.0, 1.0), label="SCC", chance=0.0, noise="shrinks")
def scc(a: ArrayLike, b: ArrayLike) -> Values:
    """Spearman correlation, -1..1; 0 where a map is constant."""
    return spearman(a, b)


class BesideCentre:
    """Two maps, and how far each patch lies from the centre of the grid, (P,); square if its `columns` are not told."""

    def __init__(self, a: ArrayLike, b: ArrayLike, columns: int | None = None) -> None:
        self.a, self.b = np.asarray(a), np.asarray(b)
        patches = self.a.shape[-1]
        row, column = np.divmod(np.arange(patches), columns or math.isqrt(patches))
        self.away = np.round(np.hypot(row - row.max() / 2, column - column.max() / 2), 9)  # equal distances tie


@metric(
    "scc_given_centre", of="heatmap", range=(-1.0, 1.0), label="SCC given the centre", shared=BesideCentre, grid=True,
    chance=0.0, noise="shrinks",
)  # fmt: skip
def scc_given_centre(both: BesideCentre) -> Values:
    """Spearman correlation beyond what each patch's distance from the centre tells, -1..1; 0 where that tells all.

    Two patterns that keep the middle, each for its own reason, correlate; this is what else they share. Not in the
    study.
    """
    return partial_spearman(both.a, both.b, both.away)


def _stretched(heat: ArrayLike) -> Maps:
    heat = np.asarray(heat, dtype=np.float64)
    low, high = heat.min(axis=-1, keepdims=True), heat.max(axis=-1, keepdims=True)
    return distribution((heat - low) / np.where(high > low, high - low, 1))


@metric("sim", of="heatmap", label="SIM", chance=_shuffled(np.minimum, _stretched), noise="detours")
def sim(a: ArrayLike, b: ArrayLike) -> Values:
    """Histogram intersection, 0..1: both maps stretched to 0..1, made to sum to 1, smaller of the two, summed.

    A constant map, which cannot be stretched, counts as uniform (published: NaN).
    """
    return np.minimum(_stretched(a), _stretched(b)).sum(axis=-1)


class Transport:
    """The cheapest way from one map to another, found once, when it is first asked for."""

    def __init__(self, a: ArrayLike, b: ArrayLike, columns: int | None = None) -> None:
        self.a, self.b = np.broadcast_arrays(np.asarray(a), np.asarray(b))
        self.columns = columns

    @cached_property
    def solved(self) -> list[tuple[float, Maps, Maps]]:
        """Distance and potentials, map by map."""
        flat = (x.reshape(-1, x.shape[-1]) for x in (self.a, self.b))
        return [transport(x, y, self.columns) for x, y in zip(*flat, strict=True)]

    def chance(self) -> Values:
        """Mean distance over shuffles of the second map, always the same ones, (...).

        A few are solved; what makes these few dearer or cheaper than usual is told by how far mass goes as seen from
        some sides, which is quickly had of many and hangs together with the distance by .94 to .98 (a control variate).
        """
        p, q = distribution(self.a)[..., None, :], distribution(self.b)
        orders = np.random.default_rng(0).permuted(np.tile(np.arange(q.shape[-1]), (SHADOWS, 1)), axis=1)
        seen, few = _from_sides(p, q[..., orders], self.columns), np.s_[..., :SHUFFLES]
        solved, usual = emd(p, q[..., orders[:SHUFFLES]], self.columns), seen.mean(axis=-1)
        apart = seen[few] - seen[few].mean(axis=-1, keepdims=True)
        spread = (apart**2).sum(axis=-1)
        slope = np.divide((apart * solved).sum(axis=-1), spread, out=np.zeros_like(spread), where=spread > 1e-24)
        return np.asarray(solved.mean(axis=-1) + slope * (usual - seen[few].mean(axis=-1)))

    def nearby(self, a: Maps, b: Maps) -> Values:
        """Distances of other maps (R, P), to first order, by the potentials: (R,). One transport, not R of them."""
        ((_, u, v),) = self.solved
        return distribution(a) @ u + distribution(b) @ v


@metric(
    "emd", of="heatmap", range=(0.0, np.inf), direction="distance", label="EMD", shared=Transport, grid=True,
    chance=Transport.chance, interval=Transport.nearby, noise="detours",
)  # fmt: skip
def emd(found: Transport) -> Values:
    """Earth mover's distance in patches, 0 up, exact: (..., P) x (..., P) -> (...).

    The ground is the Euclidean distance on a grid of `columns` columns, the third argument; a square grid if not told.
    Raises BadInput where P is no multiple of the columns.
    """
    return np.array([distance for distance, _, _ in found.solved]).reshape(found.a.shape[:-1])


def transport(a: ArrayLike, b: ArrayLike, columns: int | None = None) -> tuple[float, Maps, Maps]:
    """Earth mover's distance of two maps (P,), and its potentials u, v (P,): how it grows with mass at each patch.

    The distance is u . a + v . b, and for maps nearby the same sum is its first-order change (linear programming
    duality). Equal maps: 0, and potentials 0.
    """
    p, q = (np.ascontiguousarray(distribution(x)) for x in (a, b))
    ground = _ground(len(p), columns or math.isqrt(len(p)))
    if np.array_equal(p, q):
        return 0.0, np.zeros(len(p)), np.zeros(len(p))
    moved, log = solver()(p, q, ground, numItermax=1_000_000, log=True)
    return float(moved), np.asarray(log["u"]), np.asarray(log["v"])


def _from_sides(p: Maps, q: Maps, columns: int | None) -> Values:
    """How far mass goes from one distribution to another along a line, the mean over lines: (..., P) x (..., P)."""
    row, column = np.divmod(np.arange(p.shape[-1]), columns or math.isqrt(p.shape[-1]))
    found: Values = np.zeros(())
    for turn in np.pi * np.arange(SIDES) / SIDES:
        place = row * np.cos(turn) + column * np.sin(turn)
        order = np.argsort(place)
        found = found + np.abs(np.cumsum((p - q)[..., order], axis=-1)[..., :-1]) @ np.diff(place[order]) / SIDES
    return found


def entropy(heat: ArrayLike) -> Values:
    """Entropy of a map in bits, 0..log2 P: how evenly depth is spread over the patches."""
    p = distribution(heat)
    return -np.asarray(xlogy(p, p).sum(axis=-1)) / _LOG2


@lru_cache(maxsize=8)
def _ground(patches: int, columns: int) -> Maps:
    """Distances between all patches of a grid, (P, P), in patches."""
    if columns <= 0 or patches % columns:
        raise BadInput(f"{patches} patches do not fill rows of {columns}; pass columns= as the run's grid has them")
    row, column = np.divmod(np.arange(patches), columns)
    return np.hypot(row[:, None] - row, column[:, None] - column)


def expected(metric: str, a: ArrayLike, b: ArrayLike, columns: int | None = None) -> Values:
    """Deprecated: what chance gives by a metric of heat maps, (...); ask the metric."""
    warnings.warn("heatmap.expected goes with the next release; METRICS[name].expected gives it", DeprecationWarning,
                  stacklevel=2)  # fmt: skip
    one = METRICS[metric]
    return np.asarray(one.expected(*one.arguments(np.asarray(a), np.asarray(b), columns or 0)))
