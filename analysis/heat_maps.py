"""Compare global patterns: mean-depth heat maps of two runs, and of a run with the distance from the image's centre.

Shapes: m images of a chunk, P patches, R resamples. Resampling images gives R heat maps a run; runs over the same
images share their draws, runs over different data sets do not. Noise in the maps drives every divergence up and every
correlation down; by how much, resampling adds that noise once more and tells. `estimate` is the value without it, and
the interval is of what all images of which these are some would give: from the value of these, over the estimate, to
the most that noise may have done, and beyond by percentiles over the R pairs of maps. What noise does is a fact of the
metric, `noise`: it adds to a divergence, no faster than with 1 / sqrt(n); it shrinks a correlation, as in Spearman's
attenuation; and of what keeps to the triangle inequality it changes no more than both maps are moved. Where noise is
most of what a map shows, by a correlation, that is not to be told any more: then the interval is all that there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records.columns import ALL_STAGES

from . import nulls
from .image_means import ImageMeans, distances, radial_task
from .metrics import radial
from .metrics.base import Metric
from .pairing import Pair
from .ragged import grid_of_maps, places_of_maps
from .statistics.bootstrap import noisier, percentiles, widening
from .streaming import Chunk, Options, Row, Source, row, stream

Array = NDArray[Any]
RUNS_AT_ONCE = 64
FEW_SELF = 3  # of them, where each takes a transport
SELF = 16  # pairs of resampled maps of one run, for its ceiling
LEAST_RELIABLE = 0.5  # share of a map's variance that is no noise, below which its correlations cannot be told
ONE_IMAGE, HIDDEN = "one image says nothing of others", "noise of so few images hides it"


@dataclass
class HeatMap:
    """A run's mean token depth over n images: mean (P,), and of resampled images (R, P), on a grid of `columns`."""

    mean: Array
    drawn: Array
    n: int
    columns: int
    deviation: float = np.nan
    """of the images' own mean depths"""
    known: dict[tuple[str, str], float] = field(default_factory=dict)
    """what was found of it alone, by metric: see `_moved` and `_again`"""


class HeatMaps:
    """Accumulates the depths of each run."""

    readings = 1
    of_others = ()

    def __init__(self, grids: Mapping[str, tuple[int, int]], images: int, resamples: int) -> None:
        """`grids` are rows and columns of each run's maps."""
        self.needs = [(name, "depth") for name in grids]
        self.maps: dict[str, HeatMap] = {}
        self.squares = dict.fromkeys(grids, 0.0)
        self.blank = partial(HeatMaps, dict(grids), images, resamples)
        for name, (rows, columns) in grids.items():
            empty = np.zeros(rows * columns), np.zeros((resamples, rows * columns))
            self.maps[name] = HeatMap(*empty, images, columns)

    def include(self, other: HeatMaps) -> None:
        """Add what another has taken of further images."""
        for name, one in other.maps.items():
            self.maps[name].mean += one.mean
            self.maps[name].drawn += one.drawn
            self.squares[name] += other.squares[name]

    def add(self, chunk: Chunk, reading: int) -> None:
        """Add the depths of the next images."""
        counts = chunk.counts  # drawn once, before the threads need it

        def add(name: str) -> None:
            depth = chunk.arrays[name, "depth"].astype(np.float64)
            self.maps[name].mean += depth.sum(axis=0)
            self.maps[name].drawn += counts @ depth
            self.squares[name] += float((depth.mean(axis=1) ** 2).sum())

        list(chunk.pool.map(add, self.maps))

    def means(self) -> dict[str, HeatMap]:
        """The heat map of each run."""
        for name, one in self.maps.items():
            one.mean /= max(one.n, 1)
            one.deviation = float(np.sqrt(max(self.squares[name] / max(one.n, 1) - one.mean.mean() ** 2, 0)))
            one.drawn = (one.drawn / max(one.n, 1)).astype(np.float32)
        return self.maps


def walk(
    source: Source, names: Iterable[str], metrics: Sequence[Metric], options: Options
) -> tuple[dict[str, HeatMap], list[Row]]:
    """Heat maps of these runs over the source's images; and rows of metrics of each image's depths, in one reading."""
    once = list(dict.fromkeys(names))
    maps: dict[str, HeatMap] = {}
    rows: list[Row] = []
    for start in range(0, len(once), RUNS_AT_ONCE):
        part = once[start : start + RUNS_AT_ONCE]
        heat = HeatMaps({name: grid_of_maps(source.runs[name]) for name in part}, len(source.images), options.resamples)
        depths = ImageMeans([radial_task(name, source.runs[name], metrics) for name in part], options)
        stream([heat, depths], source, options, salt=[int(source.images.key, 16)])  # other images, other draws
        maps |= heat.means()
        rows += depths.rows()
    return maps, rows


def rows_of_pair(pair: Pair, a: HeatMap, b: HeatMap, metrics: Iterable[Metric], null: str = "") -> list[Row]:
    """Compare two heat maps by each metric that is taken of them along the pair's axis; `null` is one of `nulls`."""
    chosen = [metric for metric in metrics if metric.of == "heatmap" and metric.takes(pair.axis)]
    rows = []
    for metric in chosen:
        ceiling = (_again(metric, a) + _again(metric, b)) / 2
        noise = Noise(_moved(metric, a) + _moved(metric, b), min(_reliable(metric, a), _reliable(metric, b)))
        rows.append(_compared(pair, metric, a, (b.mean, b.drawn), min(a.n, b.n), noise, null) | {"ceiling": ceiling})
    return rows


def rows_of_run(name: str, run: xr.Dataset, one: HeatMap, metrics: Iterable[Metric], null: str = "") -> list[Row]:
    """Compare a run's heat map with the distances from the image's centre."""
    chosen = [metric for metric in metrics if metric.of == "heatmap" and "radial" in metric.axes]
    beside = [(Pair(name, norm, "radial"), away) for norm, away in zip(radial.NORMS, distances(run), strict=True)]
    return [
        _compared(pair, metric, one, (away, away), one.n, Noise(0.0, _reliable(metric, one)), null)
        for pair, away in beside
        for metric in chosen
    ]


def table_of_run(run: xr.Dataset, one: HeatMap) -> list[dict[str, Any]]:
    """The heat map itself as rows: run, patch, row, column, depth, n."""
    return [
        {"run": run.attrs["run"], "patch": i, "row": int(row), "column": int(column), "depth": float(depth), "n": one.n}
        for i, (row, column, depth) in enumerate(zip(*places_of_maps(run), one.mean, strict=True))
    ]


class Noise(NamedTuple):
    """How far, by a metric, noise moves both maps, and the share of the noisier one's variance that is none."""

    moved: float
    reliable: float


def _compared(pair: Pair, metric: Metric, a: HeatMap, b: tuple[Array, Array], n: int, noise: Noise, asked: str) -> Row:
    given = metric.arguments(a.mean, b[0], a.columns)
    value = float(metric.value(*given))
    if metric.interval is not None:
        drawn = metric.interval(*given, a.drawn, b[1])
    else:
        drawn = metric.value(*metric.arguments(a.drawn, b[1], a.columns))
    chance, z, p, null = float(metric.expected(*given)), np.nan, np.nan, metric.null(asked)
    if metric.interval is not None and not asked:
        null = ""  # a transport each: only where it is asked for
    elif null != "analytic":
        others = nulls.elsewhere(null, b[0], a.columns)
        drawn_chance, z, p = nulls.beside(metric, value, metric.value(*metric.arguments(a.mean, others, a.columns)))
        chance = drawn_chance if asked == null else chance
    estimate, ends = _without_noise(metric, value, drawn, n, noise)
    reason = ONE_IMAGE if n < 2 else HIDDEN if np.isnan(estimate) else ""
    return row(pair, metric, ALL_STAGES, value, chance, ends, n, estimate=estimate, z=z, p=p, reason=reason, null=null)


def _without_noise(
    metric: Metric, value: float, drawn: Array, n: int, noise: Noise
) -> tuple[float, tuple[float, float]]:
    """The value without what the images' noise does to it (NaN where it hides all), and the interval."""
    if n < 2:  # of one image nothing is known
        return np.nan, (np.nan, np.nan)
    if noise.reliable < LEAST_RELIABLE:
        return np.nan, metric.range
    again, wide = noisier(value, drawn, n), widening(n)
    apart = wide * np.array(percentiles(drawn - drawn.mean()))
    estimate, furthest = 2 * value - again, value - (1 + np.sqrt(2)) * (again - value)
    ends = [value, *(estimate + apart), *(furthest + apart)]
    if metric.noise == "shrinks":
        low, high = np.clip(value + apart, -1, 1)
        linear = [metric.as_correlation(one) for one in (value, again, low, high)]
        shrunk, most = (_stretch(linear[0], linear[1], power) for power in (1, 2))
        estimate, *stretched = (metric.of_correlation(float(np.clip(one, -1, 1)))
                                for one in (shrunk * linear[0], most * linear[2], most * linear[3]))  # fmt: skip
        ends = [value, low, high, *stretched]
        if np.isnan(most) or (most > np.sqrt(2) and low < 0 < high):  # not even its sign is known
            ends = [-1, 1]
    elif metric.noise == "detours":
        ends = [value, *(value + apart), value - wide * noise.moved, value + wide * noise.moved]
    low, high = np.clip([np.min(ends), np.max(ends)], *metric.range)
    return float(np.clip(estimate, *metric.range)), (low, high)


def _stretch(value: float, again: float, power: int) -> float:
    """By how much a correlation is shrunk, from it and that with the noise again; NaN where noise hides it.

    Noise in both maps adds to 1 / correlation, in one of them to 1 / correlation ** 2.
    """
    left = 2 - abs(value / again) ** power if value * again > 0 else 0.0
    return max(left ** (-1 / power), 1.0) if left > 0 else np.nan


def _moved(metric: Metric, one: HeatMap) -> float:
    """How far resampling moves a map, on average, from the metric's best value; once a map."""
    if metric.noise != "detours":
        return 0.0
    key = metric.name, "moved"
    if key not in one.known:
        pairs = one.drawn[: SELF if metric.interval is None else FEW_SELF].astype(np.float64)
        there = np.broadcast_to(one.mean, pairs.shape)
        apart = metric.value(*metric.arguments(there, pairs, one.columns)) - metric.best
        one.known[key] = float(np.abs(apart).mean())
    return one.known[key]


def _again(metric: Metric, one: HeatMap) -> float:
    """What a run beside itself on other images would give: the mean over pairs of its resampled maps; once a map."""
    key = metric.name, "again"
    if key not in one.known:
        pairs = 0 if one.n < 2 else min(SELF if metric.interval is None else FEW_SELF, len(one.drawn) // 2)
        first, second = one.drawn[:pairs], one.drawn[pairs : 2 * pairs]
        values = metric.value(*metric.arguments(first, second, one.columns)) if pairs else np.nan
        one.known[key] = float(np.mean(values))
    return one.known[key]


def _reliable(metric: Metric, one: HeatMap) -> float:
    """The share of a map's variance that is no noise, where noise shrinks a metric; else 1.

    Two resampled maps share what these images show, noise included, and each has as much noise once more: with a
    variance of 1, of which a share r is none, they correlate by 1 / (2 - r).
    """
    if metric.noise != "shrinks" or np.isnan(again := _again(metric, one)):
        return 1.0
    return 2 - 1 / max(metric.as_correlation(again), 0.5)  # which is what noise alone gives
