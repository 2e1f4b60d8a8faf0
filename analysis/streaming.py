"""One loop over images, whatever is compared: read a chunk, hand it to the accumulators, go on.

An accumulator says which arrays it needs, takes them chunk by chunk, and gives rows of the `comparison` table in the
end. There is one for means over images (`image_means`), for heat maps (`heat_maps`), and for sums of features
(`feature_sums`). Memory does not depend on the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .chunked_reader import Images, Need, Reader, fitting
from .metrics.base import Metric
from .pairing import Pair
from .statistics.bootstrap import Resampler

Array = NDArray[Any]
Row = dict[str, Any]


class Options(NamedTuple):
    """Images in memory at a time, threads, resamples of the images, the seed of everything drawn, and the null that
    values are put beside (empty: each metric's own).
    """

    chunk: int
    workers: int
    resamples: int
    seed: int
    null: str = ""


class Chunk:
    """What accumulators are given of m images: `arrays` by (run, form), what other images have in their place where
    that is asked for, and threads to work in.
    """

    def __init__(
        self, arrays: Mapping[Need, Any], images: int, draw: Resampler, pool: Executor, others: Mapping[Need, Any]
    ) -> None:
        self.arrays, self.images, self.pool, self._draw, self.others = arrays, images, pool, draw, others

    @cached_property
    def counts(self) -> Array:
        """How often each image is drawn in each resample: (R, m), the same for all that are taken of these images."""
        return self._draw.counts(self.images)


class Accumulator(Protocol):
    """What the loop drives."""

    @property
    def needs(self) -> Sequence[Need]:
        """The arrays to be read."""

    @property
    def of_others(self) -> Sequence[Need]:
        """Those of them that other images are read of too."""

    @property
    def readings(self) -> int:
        """How many times the images have to be read."""

    def add(self, chunk: Chunk, reading: int) -> None:
        """Take the next images; `reading` counts from 0."""


class Source(NamedTuple):
    """Runs by name, the ids of their images, and the images that are walked."""

    runs: Mapping[str, xr.Dataset]
    ids: Mapping[str, Array]
    images: Images


def stream(
    parts: Sequence[Accumulator],
    source: Source,
    options: Options,
    tick: Callable[[int], object],
    salt: Sequence[int] = (),
) -> None:
    """Read the images, as often as any part has to, and hand them to all parts; `tick` hears of every chunk.

    The same seed and `salt` draw the same images.
    """
    needs = list(dict.fromkeys(need for part in parts for need in part.needs))
    runs = {run: source.runs[run] for run, _ in needs}
    of_others = list(dict.fromkeys(need for part in parts for need in part.of_others))
    size = fitting(options.chunk, runs, [*needs, *of_others])
    others = Images(np.roll(source.images.ids, len(source.images) // 2))
    with (
        Reader(runs, source.images, source.ids, size) as reader,
        Reader({run: runs[run] for run, _ in of_others}, others, source.ids, size) as elsewhere,
        ThreadPoolExecutor(options.workers) as pool,
    ):
        for reading in range(max((part.readings for part in parts), default=0)):
            draw = Resampler(len(source.images), options.resamples, [options.seed, *salt])
            for first, end in reader.spans():
                arrays, apart = reader.read(needs, (first, end), pool), elsewhere.read(of_others, (first, end), pool)
                chunk = Chunk(arrays, end - first, draw, pool, apart)
                for part in parts:
                    if reading < part.readings:
                        part.add(chunk, reading)
                tick(end - first)


def row(pair: Pair, metric: Metric, stage: int, value: Any, chance: Any, ends: tuple[Any, Any], n: Any,
        std: Any = np.nan, estimate: Any = None, z: Any = np.nan, p: Any = np.nan,
        ceiling: Any = np.nan, reason: str = "", null: str = "") -> Row:  # fmt: skip
    """A row of the `comparison` table; the estimate is the value where nothing else is given."""
    return {
        "run_a": pair.a, "run_b": pair.b, "axis": pair.axis, "stage": stage, "metric": metric.name,
        "value": float(value), "std": float(std), "n": int(n), "chance": float(chance), "low": float(ends[0]),
        "high": float(ends[1]), "estimate": float(value if estimate is None else estimate), "z": float(z),
        "p": float(p), "ceiling": float(ceiling), "reason": reason, "null": null,
    }  # fmt: skip
