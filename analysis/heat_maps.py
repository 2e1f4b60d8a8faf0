"""Compare global patterns: mean-depth heat maps of two runs, and of a run with the distance from the image's centre.

Shapes: m images of a chunk, P patches, R resamples. Resampling images gives R heat maps a run; runs over the same
images share their draws, runs over different data sets do not. Intervals are percentiles over the R pairs of maps,
moved so that their mean is the value: resampling adds noise to both maps, which alone drives every divergence up and
correlation down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records.tables import ALL_STAGES

from .image_means import ImageMeans, columns_of, distances, radial_task
from .metrics import radial
from .metrics.base import Metric
from .metrics.bootstrap import percentiles
from .pairing import Pair
from .streaming import Chunk, Options, Row, Source, row, stream

Array = NDArray[Any]
RUNS_AT_ONCE = 64


@dataclass
class HeatMap:
    """A run's mean token depth over n images: mean (P,), and of resampled images (R, P), on a grid of `columns`."""

    mean: Array
    drawn: Array
    n: int
    columns: int


class HeatMaps:
    """Accumulates the depths of each run."""

    readings = 1

    def __init__(self, source: Source, names: Sequence[str], resamples: int) -> None:
        self.needs = [(name, "depth") for name in names]
        self.maps = {}
        for name in names:
            patches = source.runs[name].sizes["patch"]
            empty = np.zeros(patches), np.zeros((resamples, patches))
            self.maps[name] = HeatMap(*empty, len(source.images), columns_of(source.runs[name]))

    def add(self, chunk: Chunk, reading: int) -> None:
        """Add the depths of the next images."""
        counts = chunk.counts  # drawn once, before the threads need it

        def add(name: str) -> None:
            depth = chunk.arrays[name, "depth"].astype(np.float64)
            self.maps[name].mean += depth.sum(axis=0)
            self.maps[name].drawn += counts @ depth

        list(chunk.pool.map(add, self.maps))

    def means(self) -> dict[str, HeatMap]:
        """The heat map of each run."""
        for one in self.maps.values():
            one.mean /= max(one.n, 1)
            one.drawn = (one.drawn / max(one.n, 1)).astype(np.float32)
        return self.maps


def walk(
    source: Source, names: Iterable[str], metrics: Sequence[Metric], options: Options, tick: Callable[[int], object]
) -> tuple[dict[str, HeatMap], list[Row]]:
    """Heat maps of these runs over the source's images; and rows of metrics of each image's depths, in one reading."""
    once = list(dict.fromkeys(names))
    maps: dict[str, HeatMap] = {}
    rows: list[Row] = []
    for start in range(0, len(once), RUNS_AT_ONCE):
        part = once[start : start + RUNS_AT_ONCE]
        heat = HeatMaps(source, part, options.resamples)
        depths = ImageMeans([radial_task(name, source.runs[name], metrics) for name in part], options.resamples)
        stream([heat, depths], source, options, tick, salt=[int(source.images.key, 16)])  # other images, other draws
        maps |= heat.means()
        rows += depths.rows()
    return maps, rows


def rows_of_pair(pair: Pair, a: HeatMap, b: HeatMap, metrics: Iterable[Metric]) -> list[Row]:
    """Compare two heat maps by each metric that is taken of them along the pair's axis."""
    chosen = [metric for metric in metrics if metric.of == "heatmap" and pair.axis in metric.axes]
    return [_compared(pair, metric, a, (b.mean, b.drawn), min(a.n, b.n)) for metric in chosen]


def rows_of_run(name: str, run: xr.Dataset, one: HeatMap, metrics: Iterable[Metric]) -> list[Row]:
    """Compare a run's heat map with the distances from the image's centre."""
    chosen = [metric for metric in metrics if metric.of == "heatmap" and "radial" in metric.axes]
    beside = [(Pair(name, norm, "radial"), away) for norm, away in zip(radial.NORMS, distances(run), strict=True)]
    return [_compared(pair, metric, one, (away, away), one.n) for pair, away in beside for metric in chosen]


def table_of_run(run: xr.Dataset, one: HeatMap) -> list[dict[str, Any]]:
    """The heat map itself as rows: run, patch, row, column, depth, n."""
    return [
        {"run": run.attrs["run"], "patch": i, "row": int(row), "column": int(column), "depth": float(depth), "n": one.n}
        for i, (row, column, depth) in enumerate(zip(run["row"].values, run["column"].values, one.mean, strict=True))
    ]


def _compared(pair: Pair, metric: Metric, a: HeatMap, b: tuple[Array, Array], n: int) -> Row:
    given = metric.arguments(a.mean, b[0], a.columns)
    value = metric.value(*given)
    if metric.interval is not None:
        drawn = metric.interval(*given, a.drawn, b[1])
    else:
        drawn = metric.value(*metric.arguments(a.drawn, b[1], a.columns))
    low, high = percentiles(drawn - drawn.mean(axis=0) + value)
    return row(pair, metric, ALL_STAGES, value, metric.expected(*given), _within(metric, low, high), n)


def _within(metric: Metric, low: Array, high: Array) -> tuple[Any, Any]:
    return np.clip(low, *metric.range), np.clip(high, *metric.range)
