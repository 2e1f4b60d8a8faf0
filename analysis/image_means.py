"""What is compared image by image and averaged: kept patches, groups, objects, and depths beside the image's centre.

Shapes: m images of a chunk, c columns: one a pair and stage, one a metric in all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.errors import BadInput
from tokenlens.records.columns import ALL_STAGES

from . import nulls
from .chunked_reader import FORMS, Need
from .metrics import radial
from .metrics.base import Metric
from .metrics.kinds import CURVES
from .pairing import Card, Pair, shown
from .ragged import grid_of_maps, is_ragged, places_of_maps
from .statistics.bootstrap import Means
from .streaming import Chunk, Options, Row, row

Array = NDArray[Any]
COLUMNS_AT_ONCE = 4096  # bounds what the bootstrap holds: 1,000 resamples x columns x 16 bytes
WHOLE = ...
NOTHING = "it is not defined on any of these images"
OTHERS, MOVED = "other-image", ("torus", "permutation")  # nulls for which the second side is another


@dataclass(frozen=True)
class Side:
    """One side of a comparison: which array of which run, and which of its stages, or a constant."""

    run: str
    variable: str
    where: Any = WHOLE
    constant: Array | None = None
    order: Array | None = None
    """which patch to take for each, where the other side's pictures show them in other places"""

    def there(self, run: xr.Dataset) -> bool:
        """Whether the run holds it."""
        return self.constant is not None or FORMS[self.variable].variable in run

    def form(self, metric: Metric) -> str:
        """How a metric takes it."""
        packed = f"packed {self.variable}"
        return packed if metric.packed and packed in FORMS and self.order is None else self.variable

    def array(self, arrays: Mapping[Need, Any], metric: Metric) -> Any:
        """(m, S, P), or what broadcasts to it."""
        if self.constant is not None:
            return self.constant
        found = arrays[self.run, self.form(metric)][self.where]
        return found if self.order is None else found[..., self.order]


@dataclass(frozen=True)
class Task:
    """Two sides, the metrics to take of them, and what each column of a metric's values (m, c) is of."""

    a: Side
    b: Side
    metrics: tuple[Metric, ...]
    of: tuple[tuple[Pair, int], ...]
    grid: int
    null: str = ""

    @property
    def columns(self) -> int:
        """Numbers that an image gives."""
        return len(self.metrics) * len(self.of)

    @property
    def needs(self) -> list[Need]:
        """Arrays to read."""
        sides = [side for side in (self.a, self.b) if side.constant is None]
        plain = [(self.b.run, self.b.variable) for metric in self.metrics if metric.null(self.null) in MOVED]
        return list(dict.fromkeys([(side.run, side.form(metric)) for metric in self.metrics for side in sides] + plain))

    @property
    def of_others(self) -> list[Need]:
        """Arrays to read of other images too."""
        return [(self.b.run, self.b.form(metric)) for metric in self.metrics if metric.null(self.null) == OTHERS]

    def measure(self, chunk: Chunk, random: np.random.Generator) -> tuple[Array, Array]:
        """Values and chance levels: two (m, columns)."""
        arrays, images = chunk.arrays, chunk.images
        shape, made = (images, len(self.of)), {}  # type: tuple[int, int], dict[Any, Any]
        by_chance: dict[str, dict[Any, Any]] = {}
        values, levels = [], []
        for metric in self.metrics:
            given = metric.arguments(self.a.array(arrays, metric), self.b.array(arrays, metric), self.grid, made)
            value = np.asarray(metric.value(*given), dtype=np.float64)
            if value.shape != shape:
                raise BadInput(
                    f"metric {metric.name} gives an array of shape {value.shape} for {images} images at {shape[1]} "
                    f"stages, not {shape}; let it reduce the last axis, the patches, and no other"
                )
            values.append(value)  # chance is averaged over the same images
            level, null = metric.expected(*given), metric.null(self.null)
            if null in (*MOVED, OTHERS):
                kept = by_chance.setdefault(null, {})
                level = metric.value(*metric.arguments(
                    self.a.array(arrays, metric), self._by_chance(null, chunk, metric, random, kept), self.grid, kept
                ))  # fmt: skip
            levels.append(np.where(np.isnan(value), np.nan, level))
        return np.concatenate(values, axis=1), np.concatenate(levels, axis=1)

    def _by_chance(
        self, null: str, chunk: Chunk, metric: Metric, random: np.random.Generator, kept: dict[Any, Any]
    ) -> Any:
        """The second side by a null, the same for all metrics that take it in one form; `kept` remembers it."""
        if null == OTHERS:
            return self.b.array(chunk.others, metric)
        if MOVED not in kept:
            patterns = np.asarray(chunk.arrays[self.b.run, self.b.variable][self.b.where])  # in a mirror or not
            kept[MOVED] = nulls.moved(null, random, patterns, self.grid)
        return kept[MOVED]


def tasks(
    pairs: Iterable[Pair], cards: Mapping[str, Card], runs: Mapping[str, xr.Dataset], metrics: Sequence[Metric],
    null: str = "",
) -> list[Task]:  # fmt: skip
    """What is to be computed for each pair, at the stages that both runs have.

    `object` pairs a run with its masks, `layout` with its grid, `attention` with what was paid to its patches, `curve`
    what a model makes of them with the shares that it is shown, over all stages.
    """
    found = []
    for pair in pairs:
        a, b = runs[pair.a], runs.get(pair.b, runs[pair.a])
        stages = [int(s) for s in a["stage"].values if s in b["stage"].values]
        first, second = (_at(run, stages) for run in (a, b))
        both = (cards[pair.a], cards.get(pair.b, cards[pair.a]))
        keep, merge = all(card.keeps for card in both), all(card.merges for card in both)
        kept, group = Side(pair.a, "kept", first), Side(pair.a, "group", first)
        mask, ragged = Side(pair.a, "object", np.s_[:, None]), is_ragged(a)
        whole = Side("", "", constant=np.ones(a.sizes.get("patch", 0), dtype=bool))
        grid = Side(pair.a, "valid", np.s_[:, None]) if ragged else whole
        order = shown(both[1].dataset, *_grid(a)) if pair.axis == "change" else None
        if order is not None and (ragged or is_ragged(b)):
            warnings.warn(f"the images of {pair.a} have grids of several sizes, so its patches cannot be put where "
                          f"{pair.b} shows them: the pair's patterns are left out", stacklevel=2)  # fmt: skip
            continue
        sides = {
            "object": (kept, mask, keep),
            "segments": (group, replace(mask, variable="bounded object"), merge), "layout": (kept, grid, keep),
            "attention": (kept, Side(pair.a, "attention", first), keep),
            **{curve: (Side(pair.a, curve, np.s_[:, None]), Side(pair.a, f"{curve} share", np.s_[:, None]), keep)
               for curve in CURVES},
            "kept": (replace(kept, order=order), Side(pair.b, "kept", second), keep),
            "group": (replace(group, order=order), Side(pair.b, "group", second), merge),
        }  # fmt: skip
        for of, (left, right, applies) in sides.items():
            chosen = tuple(metric for metric in metrics if metric.of == of and pair.axis in metric.axes)
            if chosen and applies and stages and left.there(a) and right.there(b):
                if ragged and any(metric.null(null) in (*MOVED, OTHERS) for metric in chosen):
                    raise BadInput(
                        f"the images of {pair.a} have grids of several sizes, so one cannot be put beside another by "
                        f"the null {null!r}; leave it out"
                    )
                columns = tuple((pair, stage) for stage in ([ALL_STAGES] if of in CURVES else stages))
                found.append(Task(left, right, chosen, columns, _grid(a)[1], null))
    return found


def radial_task(name: str, run: xr.Dataset, metrics: Sequence[Metric]) -> Task:
    """A run's depths, image by image, beside the three distances of patches from the centre."""
    chosen = tuple(metric for metric in metrics if metric.of == "depth")
    columns = tuple((Pair(name, norm, "radial"), ALL_STAGES) for norm in radial.NORMS)
    return Task(Side(name, "depth", np.s_[:, None]), Side("", "", constant=distances(run)), chosen, columns,
                grid_of_maps(run)[1])  # fmt: skip


def distances(run: xr.Dataset) -> Array:
    """Distance of each place of a run's maps from the centre by each norm: (3, P)."""
    return np.stack([radial.distance(*places_of_maps(run), norm) for norm in radial.NORMS])


def batches(todo: Iterable[Task]) -> list[list[Task]]:
    """Tasks by as many as the bootstrap can hold at once."""
    found: list[list[Task]] = []
    width = COLUMNS_AT_ONCE
    for task in todo:
        if width + task.columns > COLUMNS_AT_ONCE:
            found.append([])
            width = 0
        found[-1].append(task)
        width += task.columns
    return found


class ImageMeans:
    """Accumulates tasks: mean, deviation, chance and bootstrap of every column."""

    readings = 1

    def __init__(self, todo: Sequence[Task], options: Options) -> None:
        self.tasks, resamples = [task for task in todo if task.columns], options.resamples
        self.options = options
        self.needs = [need for task in self.tasks for need in task.needs]
        self.of_others = [need for task in self.tasks for need in task.of_others]
        self.randoms = np.random.default_rng(options.seed).spawn(len(self.tasks))
        columns = sum(task.columns for task in self.tasks)
        self.means, self.chance, self.above = Means(columns, resamples), Means(columns, 0), Means(columns, 0)

    @property
    def blank(self) -> Callable[[], ImageMeans] | None:
        """Makes one that has taken nothing; None where what a null draws depends on the images before."""
        if any(metric.null(task.null) in MOVED for task in self.tasks for metric in task.metrics):
            return None
        return partial(ImageMeans, self.tasks, self.options._replace(cluster=None))

    def include(self, other: ImageMeans) -> None:
        """Add what another has taken of further images."""
        for mine, theirs in ((self.means, other.means), (self.chance, other.chance), (self.above, other.above)):
            mine.include(theirs)

    def add(self, chunk: Chunk, reading: int) -> None:
        """Measure the next images."""
        parts = list(chunk.pool.map(lambda task, random: task.measure(chunk, random), self.tasks, self.randoms))
        if parts:
            values, levels = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
            self.means.add(values, chunk.counts)
            self.chance.add(levels, chunk.counts[:0])
            self.above.add(values - levels, chunk.counts[:0])

    def rows(self) -> list[Row]:
        """One a column."""
        columns = [(pair, metric, stage) for t in self.tasks for metric in t.metrics for pair, stage in t.of]
        beside = [metric.null(t.null) for t in self.tasks for metric in t.metrics for _ in t.of]
        ranges = np.array([metric.range for _, metric, _ in columns]).reshape(-1, 2)
        value, std, levels, (low, high) = (
            self.means.mean(), self.means.std(), self.chance.mean(), self.means.interval(ranges)
        )  # fmt: skip
        z, p = self.above.test()
        return [
            row(pair, metric, stage, value[i], levels[i], (low[i], high[i]), self.means.n[i], std[i], z=z[i], p=p[i],
                null=beside[i], reason="" if self.means.n[i] else NOTHING)
            for i, (pair, metric, stage) in enumerate(columns)
        ]  # fmt: skip


def _at(run: xr.Dataset, stages: Sequence[int]) -> Any:
    """Where these stages are in the run's arrays; all of them cost no copy."""
    there = [int(s) for s in run["stage"].values]
    return WHOLE if there == list(stages) else (slice(None), [there.index(stage) for stage in stages])


def _grid(run: xr.Dataset) -> tuple[int, int]:
    """Rows and columns of the grid of patches."""
    return len(np.unique(run["row"].values)), len(np.unique(run["column"].values))
