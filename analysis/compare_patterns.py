"""Compare runs image by image: overlap of kept patches, agreement of groups, and the share of the object kept.

Shapes: m images of a chunk, S stages that both runs have, c columns = pair x stage x metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .chunked_reader import Images, Reader, fitting
from .metrics import overlap, partition
from .metrics.bootstrap import Means, Resampler
from .pairing import Card, Pair

Array = NDArray[Any]
OVERLAP = ("iou", "corrected_iou", "ioa")
PARTITION = ("homogeneity", "completeness", "vmeasure", "ami", "ari")
OBJECT = ("foreground_recall", "foreground_precision")
NAMES = OVERLAP + PARTITION + OBJECT
COLUMNS_AT_ONCE = 4096  # bounds what the bootstrap holds: 1,000 resamples x columns x 16 bytes


@dataclass(frozen=True)
class Task:
    """One pair and one variable: the metrics to take of it, at the stages that both runs have."""

    pair: Pair
    variable: str
    metrics: tuple[str, ...]
    stages: tuple[int, ...]
    places: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def columns(self) -> int:
        """Numbers an image gives."""
        return len(self.metrics) * len(self.stages)

    def needs(self) -> list[tuple[str, str]]:
        """Arrays to read, (run, variable)."""
        if self.variable == "object":
            return [(self.pair.a, "kept"), (self.pair.a, "object")]
        return [(self.pair.a, self.variable), (self.pair.b, self.variable)]


def tasks(
    pairs: Iterable[Pair], cards: Mapping[str, Card], runs: Mapping[str, xr.Dataset], metrics: Sequence[str]
) -> list[Task]:
    """What is to be computed for each pair. Pairs along `object` are a run and its own masks."""
    found = []
    for pair in pairs:
        a = runs[pair.a]
        b = a if pair.axis == "object" else runs[pair.b]
        stages = tuple(int(s) for s in a["stage"].values if s in b["stage"].values)
        places = tuple(tuple(int(np.flatnonzero(r["stage"].values == s)[0]) for s in stages) for r in (a, b))
        kinds: list[tuple[str, tuple[str, ...], bool]] = [
            ("object", OBJECT, pair.axis == "object"),
            ("kept", OVERLAP if pair.axis == "keep_rate" else OVERLAP[:2],
             pair.axis != "object" and cards[pair.a].keeps and cards[pair.b].keeps),
            ("group", PARTITION, pair.axis != "object" and cards[pair.a].merges and cards[pair.b].merges),
        ]  # fmt: skip
        for variable, names, applies in kinds:
            chosen = tuple(name for name in names if name in metrics)
            if applies and chosen and stages and variable in a and variable in b:
                found.append(Task(pair, variable, chosen, stages, (places[0], places[1])))
    return found


def walk(
    todo: Sequence[Task],
    runs: Mapping[str, xr.Dataset],
    images: Images,
    ids: Mapping[str, Array],
    *,
    chunk: int,
    workers: int,
    resamples: int,
    seed: int,
    tick: Callable[[int], object],
) -> list[dict[str, Any]]:
    """Stream the images once per batch of tasks and return the rows of the table."""
    rows: list[dict[str, Any]] = []
    for batch in _batches(todo):
        wanted = [need for task in batch for need in task.needs()]
        names = list(dict.fromkeys(run for run, _ in wanted))
        used = {name: runs[name] for name in names}
        size = fitting(chunk, list(used.values()), {variable for _, variable in wanted})
        columns = sum(task.columns for task in batch)
        draw, means, chance = Resampler(len(images), resamples, seed), Means(columns, resamples), Means(columns, 0)
        with Reader(used, images, ids, size) as reader, ThreadPoolExecutor(workers) as pool:
            for span in reader.spans():
                arrays = reader.read(wanted, span, pool)
                kept = [key for key in arrays if key[1] == "kept"]  # a run's sizes serve all its pairs
                arrays |= {(run, "size"): overlap.size(arrays[run, name]) for run, name in kept}
                parts = list(pool.map(lambda task, arrays=arrays: _measure(task, arrays, runs), batch))
                counts = draw.counts(span[1] - span[0])
                means.add(np.concatenate([value for value, _ in parts], axis=1), counts)
                chance.add(np.concatenate([level for _, level in parts], axis=1), counts[:0])
                tick(span[1] - span[0])
        rows += _rows(batch, means, chance)
    return rows


def _batches(todo: Sequence[Task]) -> list[list[Task]]:
    batches: list[list[Task]] = []
    width = COLUMNS_AT_ONCE
    for task in todo:
        if width + task.columns > COLUMNS_AT_ONCE:
            batches.append([])
            width = 0
        batches[-1].append(task)
        width += task.columns
    return batches


def _measure(
    task: Task, arrays: Mapping[tuple[str, str], Array], runs: Mapping[str, xr.Dataset]
) -> tuple[Array, Array]:
    """Values and chance levels of one task over a chunk: two (m, metrics x S)."""
    patches = runs[task.pair.a].sizes["patch"]
    first, second = (arrays[need] for need in task.needs())
    at_a, at_b = (list(place) for place in task.places)
    a = first[:, at_a]
    if task.variable == "object":
        found = _foreground(a, second[:, None], patches)
    elif task.variable == "kept":
        sizes = arrays[task.pair.a, "size"][:, at_a], arrays[task.pair.b, "size"][:, at_b]
        found = _overlap(a, second[:, at_b], sizes, patches, task.metrics)
    else:
        found = _partition(a, second[:, at_b], task.metrics)
    flat = [np.concatenate([np.broadcast_to(found[name][side], a.shape[:2]) for name in task.metrics], axis=1)
            for side in (0, 1)]  # fmt: skip
    return flat[0], flat[1]


Found = dict[str, tuple[Any, Any]]


def _overlap(a: Array, b: Array, sizes: tuple[Array, Array], patches: int, metrics: Sequence[str]) -> Found:
    size_a, size_b = sizes
    value, chance = overlap.iou(a, b), overlap.expected_iou(size_a, size_b, patches)
    found: Found = {"iou": (value, chance), "corrected_iou": (overlap.corrected(value, chance), 0.0)}
    if "ioa" in metrics:
        found["ioa"] = (overlap.ioa(a, b), np.where(size_b > 0, size_a / patches, 1.0))
    return found


def _partition(a: Array, b: Array, metrics: Sequence[str]) -> Found:
    found: Found = {}
    if set(metrics) - {"ari"}:
        inside = partition.information(a, b)
        expected = partition.expected_mutual_information(a, b)
        value, chance = partition.agreement(inside), partition.agreement(inside._replace(mutual=expected))
        found |= {name: pair for name, pair in zip(PARTITION, zip(value, chance, strict=True), strict=False)}
        found["ami"] = (partition.adjusted(inside, expected), 0.0)
    if "ari" in metrics:
        found["ari"] = (partition.adjusted_rand(a, b), 0.0)
    return found


def _foreground(kept: Array, objects: Array, patches: int) -> Found:
    """Chance: a random pattern of the same size keeps that share of any object; any object fills its share of it."""
    recall, precision = overlap.foreground_recall(kept, objects), overlap.foreground_precision(kept, objects)
    chances = overlap.size(kept) / patches, np.broadcast_to(overlap.size(objects) / patches, precision.shape)
    return {
        name: (value, np.where(np.isnan(value), np.nan, chance))  # over the same images
        for name, value, chance in zip(OBJECT, (recall, precision), chances, strict=True)
    }


def _rows(batch: Sequence[Task], means: Means, chance: Means) -> list[dict[str, Any]]:
    value, std, levels, (low, high) = means.mean(), means.std(), chance.mean(), means.interval()
    labels = [(t.pair, metric, stage) for t in batch for metric in t.metrics for stage in t.stages]
    return [
        {"run_a": pair.a, "run_b": pair.b, "axis": pair.axis, "stage": stage, "metric": metric, "value": value[i],
         "std": std[i], "n": int(means.n[i]), "chance": levels[i], "low": low[i], "high": high[i]}
        for i, (pair, metric, stage) in enumerate(labels)
    ]  # fmt: skip
