"""Compare class-token features of two runs, layer by layer, from sums that are streamed over the images.

Shapes: m images of a chunk, n images in all, F and G features of run a and b. The images are read twice: for the sums,
from which value and chance follow, and for the influence of each image on the value, from which the standard error
does.
Of few images features look more alike than they are: each canonical direction, each axis of a rotation is fitted to
the noise. The value is of these images, as published; the estimate and the interval are of all images of which these
are some. What halving the images adds tells what they still add themselves: as much if that falls with 1 / n (the
estimate), 1 + sqrt(2) times as much if it falls with 1 / sqrt(n), as it does where true correlations are near 0. The
interval goes from the value over the estimate to that, and beyond as far as the standard error reaches. Where the
images are no more than the directions of both runs, they tell nothing of it: the interval then goes on to the end of
the range where nothing is alike.
Source of the halves: Efron & Tibshirani, 1993, chapter 11 (the jackknife of the bias).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import nulls
from .metrics.base import Metric
from .metrics.gram import Gram
from .metrics.influence import Centred, Geometry
from .metrics.influence import Chunk as Influences
from .metrics.ranks import NORMAL
from .pairing import Pair
from .streaming import Chunk, Row, Source, row

Array = NDArray[Any]
Key = tuple[str, int]  # a run and one of its layers
PARTS = 2  # of the images, at random
TURNS = 19  # full permutations, as many as tell a probability of 0.05
SUMS_AT_ONCE = 256 * 2**20  # bytes of sums held at once: pairs beyond it wait for another reading


class Side:
    """Sums of one run's features at one layer, of each part of the images: (K, F + 2, F + 2).

    They are the products of an image's features, their squared norm, and 1 with each other: one product of matrices
    gives numbers of images, means, covariances and third and fourth moments.
    """

    def __init__(self, width: int) -> None:
        self.shift: Array | None = None
        self.sums = np.zeros((PARTS, width + 2, width + 2))

    def near(self, x: Array) -> Array:
        """Features (m, F) about the mean of the first chunk: so products lose nothing to a large offset."""
        if self.shift is None:
            self.shift = x.mean(axis=0)
        return np.asarray(x - self.shift)

    def add(self, near: Array, part: Array) -> list[Array]:
        """Sum up the next images, each in its part (m,); what pairs sum up of them, (m', F + 2) of each part."""
        squares = np.einsum("ij,ij->i", near, near)[:, None]
        wide = np.concatenate([near, squares, np.ones_like(squares)], axis=1)
        parts = [wide[part == i] for i in range(PARTS)]
        for sums, some in zip(self.sums, parts, strict=True):
            sums += some.T @ some
        return parts

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Mean (F,) and covariances (F, F) of all images; to be asked for when all are in."""
        sums = self.sums.sum(axis=0)
        n, mean = sums[-1, -1], sums[:-2, -1] / sums[-1, -1]
        return mean, sums[:-2, :-2] / n - np.outer(mean, mean)


@dataclass
class Cross:
    """Sums of one pair at one layer, and the squared influences of the images on each of its metrics."""

    pair: Pair
    layer: int
    metrics: tuple[Metric, ...]
    a: Side
    b: Side
    null: str = ""

    def __post_init__(self) -> None:
        self.both = np.zeros((PARTS, self.a.sums.shape[1], self.b.sums.shape[1]))
        self.squares = np.array([np.nan if metric.interval is None else 0.0 for metric in self.metrics])

    @property
    def keys(self) -> tuple[Key, Key]:
        """The run and layer of both sides."""
        return (self.pair.a, self.layer), (self.pair.b, self.layer)

    def add(self, a: Sequence[Array], b: Sequence[Array]) -> None:
        """Add the next images, as `Side.add` gives them."""
        for sums, x, y in zip(self.both, a, b, strict=True):
            sums += x.T @ y

    def of(self, parts: Sequence[int]) -> Gram:
        """The sums of some parts about their means."""
        aa, bb, ab = (sums[list(parts)].sum(axis=0) for sums in (self.a.sums, self.b.sums, self.both))
        n = max(int(aa[-1, -1]), 1)
        means = aa[:-2, -1] / n, bb[:-2, -1] / n
        each = ((aa, aa, aa, (means[0], means[0])), (bb, bb, bb, (means[1], means[1])), (ab, aa, bb, means))
        norms = [_norms(xy, xx[:-2, :-2], yy[:-2, :-2], ends, n) for xy, xx, yy, ends in each]
        a, b, both = (xy[:-2, :-2] - n * np.outer(*ends) for xy, _, _, ends in each)
        return Gram(a, b, both, int(aa[-1, -1]), np.array(norms))

    @cached_property
    def sums(self) -> Gram:
        """All sums about the means; to be asked for when all images are in."""
        return self.of(range(PARTS))

    @cached_property
    def turned(self) -> list[Gram]:
        """The same features, whose images have nothing to do with each other, several times."""
        return [self.sums.turned(seed) for seed in range(TURNS)]

    @cached_property
    def geometry(self) -> Geometry:
        """What the images' influences rest on."""
        return Geometry(self.sums)

    def weigh(self, a: Centred, b: Centred) -> None:
        """Add the squared influences of the next images; where a side never varies nothing moves anything."""
        if self.geometry.varies:
            images = Influences(self.geometry, a, b)
            none = np.zeros(len(a.x))
            each = [none if metric.interval is None else metric.interval(images) for metric in self.metrics]
            self.squares += (np.stack(each, axis=1).astype(np.float64) ** 2).sum(axis=0)

    def rows(self) -> list[Row]:
        """One a metric."""
        free = self.sums.n - 1 - int(self.sums.ranks.sum())
        halves = [self.of([part]) for part in range(PARTS)] if free > 0 else []
        errors = np.sqrt(self.squares) / self.sums.n * np.sqrt(self.sums.n / max(free, 1))
        return [self._row(metric, error, halves) for metric, error in zip(self.metrics, errors, strict=True)]

    def _row(self, metric: Metric, error: float, halves: Sequence[Gram]) -> Row:
        n, (least, most) = self.sums.n, metric.range
        value, null, z, p = float(metric.value(self.sums)), metric.null(self.null), np.nan, np.nan
        if null == "permutation" and not np.isnan(value):
            chance, z, p = nulls.beside(metric, value, np.array([float(metric.value(one)) for one in self.turned]))
        else:
            chance = float(metric.expected(self.sums))
        half = float(np.mean([metric.value(part) for part in halves])) if halves else np.nan
        estimate, reach, reason = np.nan, NORMAL * error, ""
        if np.isnan(value):
            low, high, reason = least, most, f"{n} images do not determine it"
        elif np.isnan(half):
            low, high, reason = value - reach, value + reach, f"{n} images are too few to tell how much of it is noise"
            low, high = (least, high) if metric.direction == "similarity" else (low, most)
        else:
            estimate = value if metric.unbiased else 2 * value - half
            furthest = value - (1 + np.sqrt(2)) * (half - value)
            ends = [value - reach, value + reach, estimate - reach, estimate + reach]
            ends += [furthest + np.copysign(2 * reach, furthest - value)]  # the halves have errors of their own
            low, high = min(ends), max(ends)
        return row(self.pair, metric, self.layer, value, chance, tuple(np.clip([low, high], least, most)), n,
                   estimate=np.clip(estimate, least, most), z=z, p=p, reason=reason, null=null)  # fmt: skip


def _norms(xy: Array, xx: Array, yy: Array, means: tuple[Array, Array], n: int) -> float:
    """The sum of |x - mean x|^2 |y - mean y|^2 over n images, from sums about another point.

    These are of the products of (x, |x|^2, 1) and (y, |y|^2, 1), of x x' and of y y'.
    """
    x, y = means
    size_x, size_y = x @ x, y @ y
    around = xy[-2, -2] - 2 * x @ xy[:-2, -2] - 2 * y @ xy[-2, :-2] + 4 * x @ xy[:-2, :-2] @ y
    return float(around + size_y * np.trace(xx) + size_x * np.trace(yy) - 3 * n * size_x * size_y)


class FeatureSums:
    """Accumulates pairs at layers, in two readings."""

    of_others = ()

    def __init__(self, crosses: Sequence[Cross], source: Source, null: str = "") -> None:
        self.crosses = crosses
        for one in crosses:
            one.null = null
        self.sides = {key: side for one in crosses for key, side in zip(one.keys, (one.a, one.b), strict=True)}
        self.needs = list(dict.fromkeys((run, "feature") for run, _ in self.sides))
        self.places = {(run, layer): _layers(source.runs[run]).index(layer) for run, layer in self.sides}
        self.part = np.random.default_rng(len(source.images)).permutation(len(source.images)) % PARTS
        self.seen = 0
        self.readings = 2 if any(metric.interval for one in crosses for metric in one.metrics) else 1

    def add(self, chunk: Chunk, reading: int) -> None:
        """Sum up the next images, and the second time weigh each."""
        near = {}
        for (run, layer), side in self.sides.items():
            features = chunk.arrays[run, "feature"][:, self.places[run, layer]]
            near[run, layer] = side.near(features.astype(np.float64))
        if reading == 0:
            part = self.part[self.seen : self.seen + chunk.images]
            self.seen += chunk.images
            summed = chunk.pool.map(lambda key: self.sides[key].add(near[key], part), self.sides)
            parts = dict(zip(self.sides, summed, strict=True))
            list(chunk.pool.map(lambda one: one.add(*(parts[key] for key in one.keys)), self.crosses))
        else:
            centred = {key: Centred(near[key], *side.moments) for key, side in self.sides.items()}
            list(chunk.pool.map(lambda one: one.weigh(*(centred[key] for key in one.keys)), self.crosses))

    def rows(self, workers: int = 1) -> list[Row]:
        """Of all pairs, layers and metrics, by so many threads: decompositions are most of the work."""
        with ThreadPoolExecutor(workers) as pool:
            return [found for rows in pool.map(Cross.rows, self.crosses) for found in rows]


def batches(pairs: Iterable[Pair], runs: Mapping[str, xr.Dataset], metrics: Sequence[Metric]) -> Iterator[list[Cross]]:
    """Each pair at each layer that both runs have, by as many as can be held at once: let go of one before the next."""
    found: list[Cross] = []
    held, sides = 0, {}  # type: int, dict[Key, Side]
    for pair in pairs:
        chosen = tuple(metric for metric in metrics if metric.of == "feature" and pair.axis in metric.axes)
        widths = [runs[name]["feature"].sizes["channel"] for name in (pair.a, pair.b)]
        for layer in _layers(runs[pair.a]) if chosen else ():
            if layer not in _layers(runs[pair.b]):
                continue
            cost = 8 * (6 + 2 * PARTS) * widths[0] * widths[1]
            if found and held + cost > SUMS_AT_ONCE:
                yield found
                found, held, sides = [], 0, {}  # sides are summed anew in every reading
            a, b = (sides.setdefault((n, layer), Side(w)) for n, w in zip((pair.a, pair.b), widths, strict=True))
            found.append(Cross(pair, layer, chosen, a, b))
            held += cost
    if found:
        yield found


def _layers(run: xr.Dataset) -> list[int]:
    return [int(layer) for layer in run["layer"].values]
