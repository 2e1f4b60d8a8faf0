"""One loop over images, whatever is compared: read a chunk, hand it to the accumulators, go on.

An accumulator says which arrays it needs, takes them chunk by chunk, and gives rows of the `comparison` table in the
end. There is one for means over images (`image_means`), for heat maps (`heat_maps`), and for sums of features
(`feature_sums`). Memory does not depend on the number of images. Chunks may be measured by other processes (`cluster`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records.store import open_run, place_of

from .chunked_reader import Images, Need, Reader, fitting
from .metrics.base import Metric
from .pairing import Pair
from .statistics.bootstrap import Resampler

if TYPE_CHECKING:
    from .cluster import Cluster

Array = NDArray[Any]
Row = dict[str, Any]
PARTS_OF_COPY = 64  # where a run has the images in another order: rows of a chunk are read so many at a time


class Options(NamedTuple):
    """Images in memory at a time, threads, resamples of the images, the seed of everything drawn, the null that values
    are put beside (empty: each metric's own), and the cluster that measures in the place of this process.
    """

    chunk: int
    workers: int
    resamples: int
    seed: int
    null: str = ""
    cluster: Cluster | None = None


class Chunk:
    """What accumulators are given of m images: `arrays` by (run, form), what other images have in their place where
    that is asked for, and threads to work in. `draw` tells how often each of m images is drawn in each resample.
    """

    def __init__(
        self, arrays: Mapping[Need, Any], images: int, draw: Callable[[int], Array], pool: Executor,
        others: Mapping[Need, Any],
    ) -> None:  # fmt: skip
        self.arrays, self.images, self.pool, self._draw, self.others = arrays, images, pool, draw, others

    @cached_property
    def counts(self) -> Array:
        """How often each image is drawn in each resample: (R, m), the same for all that are taken of these images."""
        return self._draw(self.images)


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


@runtime_checkable
class Divisible(Accumulator, Protocol):
    """One whose chunks may be taken apart, each by an empty one of its own, in one reading, and added up."""

    @property
    def blank(self) -> Callable[[], Divisible] | None:
        """Makes an empty one in any process; None where it has to take all images itself after all."""

    def include(self, other: Any) -> None:
        """Add what another has taken of the next images."""


class Source(NamedTuple):
    """Runs by name, the ids of their images, and the images that are walked."""

    runs: Mapping[str, xr.Dataset]
    ids: Mapping[str, Array]
    images: Images


def stream(
    parts: Sequence[Accumulator],
    source: Source,
    options: Options,
    tick: Callable[[int], object] = lambda images: None,
    salt: Sequence[int] = (),
) -> None:
    """Read the images, as often as any part has to, and hand them to all parts; `tick` hears of every chunk.

    The same seed and `salt` draw the same images. Where there is a cluster, what can be divided is measured there.
    """
    there: list[Divisible] = []
    if options.cluster is not None:
        there = [part for part in parts if isinstance(part, Divisible) and part.needs and part.blank is not None]
    here = [part for part in parts if part not in there]
    if here:
        _stream_here(here, _Walk.of(here, source, options, salt), options, tick)
    if there and options.cluster is not None:
        _stream_there(there, _Walk.of(there, source, options, salt), options.cluster, tick)


@dataclass
class _Walk:
    """What some accumulators read, of which images, and how these are drawn."""

    needs: list[Need]
    of_others: list[Need]
    reader: Reader
    elsewhere: Reader
    draw: Callable[[], Resampler]

    @classmethod
    def of(cls, parts: Sequence[Accumulator], source: Source, options: Options, salt: Sequence[int]) -> _Walk:
        needs = list(dict.fromkeys(need for part in parts for need in part.needs))
        runs = {run: source.runs[run] for run, _ in needs}
        of_others = list(dict.fromkeys(need for part in parts for need in part.of_others))
        size = fitting(options.chunk, runs, [*needs, *of_others])
        others = Images(np.roll(source.images.ids, len(source.images) // 2))
        return cls(
            needs,
            of_others,
            Reader.over(runs, source.images, source.ids, size),
            Reader.over({run: runs[run] for run, _ in of_others}, others, source.ids, size),
            lambda: Resampler(len(source.images), options.resamples, [options.seed, *salt]),
        )


def _stream_here(parts: Sequence[Accumulator], walk: _Walk, options: Options, tick: Callable[[int], object]) -> None:
    with walk.reader as reader, walk.elsewhere as elsewhere, ThreadPoolExecutor(options.workers) as pool:
        for reading in range(max((part.readings for part in parts), default=0)):
            draw = walk.draw()
            for first, end in reader.spans():
                arrays = reader.read(walk.needs, (first, end), pool)
                apart = elsewhere.read(walk.of_others, (first, end), pool)
                chunk = Chunk(arrays, end - first, draw.counts, pool, apart)
                for part in parts:
                    if reading < part.readings:
                        part.add(chunk, reading)
                tick(end - first)


class _Job(NamedTuple):
    """A chunk of images as another process is told of it."""

    blanks: list[Callable[[], Divisible]]
    needs: list[Need]
    of_others: list[Need]
    places: dict[str, tuple[str, int]]
    """where each run lies, and how many of its images count"""
    rows: dict[str, Array]
    other_rows: dict[str, Array]
    counts: Array


def _stream_there(parts: Sequence[Divisible], walk: _Walk, cluster: Cluster, tick: Callable[[int], object]) -> None:
    """Have chunks measured by a cluster, and add up what it finds in the order of the images."""
    places = {name: (place_of(run), run.sizes["image"]) for name, run in walk.reader.runs.items()}
    blanks = [part.blank for part in parts if part.blank is not None]
    spans, draw = walk.reader.spans(), walk.draw()

    def jobs() -> Iterator[_Job]:
        for first, end in spans:
            counts = draw.counts(end - first)
            rows, others = ({name: rows[first:end] for name, rows in reader.rows.items()}
                            for reader in (walk.reader, walk.elsewhere))  # fmt: skip
            small = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))  # an eighth of it travels
            yield _Job(blanks, walk.needs, walk.of_others, places, rows, others, small)

    for (first, end), found in zip(spans, cluster.in_order(_measured, jobs()), strict=True):
        for part, sums in zip(parts, found, strict=True):
            part.include(sums)
        tick(end - first)


def _measured(job: _Job) -> list[Divisible]:
    """In a process of the cluster: the sums of one chunk."""
    runs = {name: _opened(where).isel(image=slice(images)) for name, (where, images) in job.places.items()}
    images, parts = job.counts.shape[1], [blank() for blank in job.blanks]
    step = -(-images // PARTS_OF_COPY)
    with (
        Reader(runs, job.rows, images, step) as reader,
        Reader(runs, job.other_rows, images, step) as elsewhere,
        ThreadPoolExecutor(1) as pool,
    ):
        arrays, others = (r.read(needs, (0, images), pool) for r, needs in
                          ((reader, job.needs), (elsewhere, job.of_others)))  # fmt: skip
        chunk = Chunk(arrays, images, lambda _: job.counts.astype(np.float64), pool, others)
        for part in parts:
            part.add(chunk, 0)
    return parts


@lru_cache(maxsize=1024)
def _opened(where: str) -> xr.Dataset:
    return open_run(where)


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
