"""Compare class-token features of two runs, layer by layer, from sums that are streamed over the images.

Shapes: m images of a chunk, n images in all, F and G features of run a and b. The images are read twice: for the sums,
from which value and chance follow, and for the influence of each image on the value, from which the standard error
does. The interval is value +- 1.96 of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .metrics.base import Metric
from .metrics.gram import Gram
from .metrics.influence import Chunk as Influences
from .metrics.influence import Geometry
from .pairing import Pair
from .streaming import Chunk, Row, Source, row

Array = NDArray[Any]
Key = tuple[str, int]  # a run and one of its layers
SUMS_AT_ONCE = 256 * 2**20  # bytes of sums held at once: pairs beyond it wait for another reading


class Side:
    """Sums of one run's features at one layer over n images: shift (F,), total (F,), products (F, F)."""

    def __init__(self, width: int) -> None:
        self.shift: Array | None = None
        self.n, self.total, self.products = 0, np.zeros(width), np.zeros((width, width))

    def near(self, x: Array) -> Array:
        """Features (m, F) about the mean of the first chunk: so products lose nothing to a large offset."""
        if self.shift is None:
            self.shift = x.mean(axis=0)
        return np.asarray(x - self.shift)

    def add(self, near: Array) -> None:
        """Sum up the next images."""
        self.n += len(near)
        self.total += near.sum(axis=0)
        self.products += near.T @ near


@dataclass
class Cross:
    """Sums of one pair at one layer, and the squared influences of the images on each of its metrics."""

    pair: Pair
    layer: int
    metrics: tuple[Metric, ...]
    a: Side
    b: Side

    def __post_init__(self) -> None:
        self.products = np.zeros((len(self.a.total), len(self.b.total)))
        self.squares = np.array([np.nan if metric.interval is None else 0.0 for metric in self.metrics])

    @property
    def keys(self) -> tuple[Key, Key]:
        """The run and layer of both sides."""
        return (self.pair.a, self.layer), (self.pair.b, self.layer)

    def add(self, a: Array, b: Array) -> None:
        """Add the next images, (m, F) and (m, G)."""
        self.products += a.T @ b

    @cached_property
    def sums(self) -> Gram:
        """All sums about the means; to be asked for when all images are in."""
        a, b, n = self.a, self.b, self.a.n
        return Gram(a.products - np.outer(a.total, a.total) / n, b.products - np.outer(b.total, b.total) / n,
                    self.products - np.outer(a.total, b.total) / n, n)  # fmt: skip

    @cached_property
    def geometry(self) -> Geometry:
        """What the images' influences rest on."""
        return Geometry(self.sums, self.a.total / self.a.n, self.b.total / self.b.n)

    def weigh(self, a: Array, b: Array) -> None:
        """Add the squared influences of the next images; where a side never varies nothing moves anything."""
        if self.geometry.varies:
            images = Influences(self.geometry, a, b)
            none = np.zeros(len(a))
            each = [none if metric.interval is None else metric.interval(images) for metric in self.metrics]
            self.squares += (np.stack(each, axis=1).astype(np.float64) ** 2).sum(axis=0)

    def rows(self) -> list[Row]:
        """One a metric."""
        found, n = [], self.sums.n
        for metric, error in zip(self.metrics, 1.96 * np.sqrt(self.squares) / n, strict=True):
            value = float(metric.value(self.sums))
            found.append(row(self.pair, metric, self.layer, value, metric.expected(self.sums),
                             (value - error, value + error), n))  # fmt: skip
        return found


class FeatureSums:
    """Accumulates pairs at layers, in two readings."""

    def __init__(self, crosses: Sequence[Cross], source: Source) -> None:
        self.crosses = crosses
        self.sides = {key: side for one in crosses for key, side in zip(one.keys, (one.a, one.b), strict=True)}
        self.needs = list(dict.fromkeys((run, "feature") for run, _ in self.sides))
        self.places = {(run, layer): _layers(source.runs[run]).index(layer) for run, layer in self.sides}
        self.readings = 2 if any(metric.interval for one in crosses for metric in one.metrics) else 1

    def add(self, chunk: Chunk, reading: int) -> None:
        """Sum up the next images, and the second time weigh each."""
        near = {}
        for (run, layer), side in self.sides.items():
            features = chunk.arrays[run, "feature"][:, self.places[run, layer]]
            near[run, layer] = side.near(features.astype(np.float64))
        if reading == 0:
            for key, side in self.sides.items():
                side.add(near[key])
            list(chunk.pool.map(lambda one: one.add(*(near[key] for key in one.keys)), self.crosses))
        else:
            near = {key: x.astype(np.float32) for key, x in near.items()}  # enough for a standard error
            list(chunk.pool.map(lambda one: one.weigh(*(near[key] for key in one.keys)), self.crosses))

    def rows(self) -> list[Row]:
        """Of all pairs, layers and metrics."""
        return [found for one in self.crosses for found in one.rows()]


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
            cost = 8 * 8 * widths[0] * widths[1]
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
