"""Compare runs: pairs along each axis, over the images they share, into one tidy table.

Metrics are grouped by what they need: patterns image by image (`compare_patterns`), heat maps over all images
(`compare_heatmaps`), class-token features (`compare_features`). A metric is taken of a pair where both runs have what
it needs; names are in `METRICS`. Runs that are still being written are compared on what both have so far.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.errors import BadInput, UnknownName
from tokenlens.records import tables as table

from . import compare_features, compare_heatmaps, compare_patterns
from .chunked_reader import Images, common, identities
from .pairing import AXES, Card, Pair, card, pair

if TYPE_CHECKING:
    import pandas as pd

OWN = ("radial", "object")  # a run beside something fixed: the distance from the centre, the masks of objects
ALL_AXES = AXES + OWN
METRICS = compare_patterns.NAMES + compare_heatmaps.NAMES + compare_features.NAMES


class Comparison(NamedTuple):
    """The tables of one comparison: `comparison`, `runs` and `heatmap`, columns as in tokenlens.records.tables."""

    comparison: pd.DataFrame
    runs: pd.DataFrame
    heatmap: pd.DataFrame


class _Work(NamedTuple):
    """What is to be done, image set by image set, and what all of it needs to know."""

    runs: dict[str, xr.Dataset]
    cards: dict[str, Card]
    images: dict[str, Images]
    metrics: tuple[str, ...]
    shared: dict[str, tuple[Images, list[Pair]]]
    across: list[Pair]
    options: dict[str, Any]


def compare(
    runs: Sequence[xr.Dataset],
    axes: Iterable[str] | None = None,
    metrics: Iterable[str] | None = None,
    *,
    chunk: int = 2048,
    workers: int = 2,
    resamples: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Compare all pairs of runs along each axis (all axes, all metrics if not told).

    `runs` are xarray Datasets as the store opens them. `chunk` images are in memory at a time; `workers` threads read
    and compute; intervals come from `resamples` seeded resamples of the images. Raises BadInput (UnknownName for an
    axis or metric that does not exist) where there are no runs, or two runs of a pair share no image.
    """
    axes, metrics = _chosen(axes, ALL_AXES, "axis"), _chosen(metrics, METRICS, "metric")
    opened = {card(run).run: run for run in runs}
    if len(opened) < len(runs):
        raise BadInput(f"two of the {len(runs)} runs have the same name; rename one, or choose with --where")
    empty = [name for name, run in opened.items() if not run.sizes.get("image")]
    if empty:
        warnings.warn(f"no images are written yet in {', '.join(empty)}: left out for now", stacklevel=2)
    opened = {name: run for name, run in opened.items() if name not in empty}
    if not opened:
        raise BadInput("there is no run with images to compare; write some with `tokenlens extract`")
    if chunk < 1 or workers < 1 or resamples < 1:
        raise BadInput("chunk, workers and resamples must be at least 1; leave them out for what is usual")
    work = _plan(opened, axes, metrics, dict(chunk=chunk, workers=workers, resamples=resamples, seed=seed))
    return _carry_out(work, "radial" in axes, progress)


def describe(runs: Iterable[xr.Dataset]) -> pd.DataFrame:
    """What each run is and how accurate: the `runs` table. Accuracy is mAP if there is one, else top1, in percent."""
    import pandas as pd

    rows = []
    for run in runs:
        one, found = card(run), dict(run.attrs.get("metrics") or {})
        measure = next((name for name in ("mAP", "top1") if name in found), next(iter(found), ""))
        rows.append({
            "run": one.run, "dataset": one.dataset, "split": one.split, "model": one.model, "capacity": one.capacity,
            "method": one.method, "family": one.family, "seed": one.seed, "images": run.sizes.get("image", 0),
            "keep_rate": np.nan if one.keep_rate is None else one.keep_rate,
            "complete": bool(run.attrs.get("complete", True)), "measure": measure,
            "accuracy": float(found.get(measure, np.nan)), "gflops": float(run.attrs.get("gflops", np.nan)),
        })  # fmt: skip
    return table.conform(pd.DataFrame(rows), "runs")


def _chosen(names: Iterable[str] | None, known: Sequence[str], kind: str) -> tuple[str, ...]:
    chosen = tuple(known) if names is None else tuple(names)
    for name in chosen:
        if name not in known:
            raise UnknownName(kind, name, known)
    return chosen or tuple(known)


def _plan(runs: dict[str, xr.Dataset], axes: Sequence[str], metrics: tuple[str, ...], options: dict[str, Any]) -> _Work:
    """Find the pairs and the images that each has in common, and say what is left out."""
    cards = {name: card(run) for name, run in runs.items()}
    ids: dict[str, NDArray[Any]] = {name: identities(run) for name, run in runs.items()}
    images = {name: Images(value) for name, value in ids.items()}
    shared: dict[str, tuple[Images, list[Pair]]] = {}
    met: dict[tuple[str, str], Images] = {}
    across: list[Pair] = []
    smaller = []
    for axis in (a for a in AXES if a in axes):
        for one in pair(cards.values(), axis):
            if axis == "dataset":
                across.append(one)
                continue
            keys = (images[one.a].key, images[one.b].key)
            if keys not in met:
                met[keys] = common(images[one.a], images[one.b])
            both = met[keys]
            if not len(both):
                raise BadInput(
                    f"runs {one.a!r} and {one.b!r} have no image in common, so they cannot be compared along {axis}; "
                    "extract both on the same images, or leave one out with --where"
                )
            out = (len(images[one.a]) - len(both), len(images[one.b]) - len(both))
            if any(out):
                smaller.append(f"{one.a} ({out[0]}) and {one.b} ({out[1]})")
            shared.setdefault(both.key, (both, []))[1].append(one)
    if smaller:
        more = f", and {len(smaller) - 3} more pairs" if len(smaller) > 3 else ""
        warnings.warn(
            "compared on the images that both runs hold; images left out: " + "; ".join(smaller[:3]) + more,
            stacklevel=3,
        )
    if "object" in axes:
        for name, run in runs.items():
            if "object" in run and cards[name].keeps:
                shared.setdefault(images[name].key, (images[name], []))[1].append(Pair(name, "object", "object"))
    return _Work(runs, cards, images, metrics, shared, across, options | {"ids": ids})


def _carry_out(work: _Work, with_radial: bool, progress: bool) -> Comparison:
    import pandas as pd
    from tqdm import tqdm

    options, rows = work.options, []
    mapped = _has(work, compare_heatmaps.NAMES)
    own = [name for name, one in work.cards.items() if mapped and one.keeps and "kept" in work.runs[name]]
    with tqdm(desc="compare", unit=" images", disable=not progress) as bar:
        maps = _own_maps(work, own, with_radial, bar.update)
        for images, pairs in work.shared.values():
            todo = compare_patterns.tasks(pairs, work.cards, work.runs, work.metrics)
            rows += compare_patterns.walk(todo, work.runs, images, tick=bar.update, **options)
            rows += _global(work, images, pairs, maps, bar.update)
            featured = [p for p in pairs if p.axis != "object" and _featured(work, p)]
            rest = {k: v for k, v in options.items() if k != "resamples"}
            rows += compare_features.walk(featured, work.runs, images, metrics=work.metrics, tick=bar.update, **rest)
        for one in work.across:
            if one.a in maps and one.b in maps:
                rows += compare_heatmaps.rows_of_pair(one, maps[one.a], maps[one.b], work.metrics)
        if with_radial:
            rows += [row for name in maps for row in compare_heatmaps.rows_of_run(name, maps[name], work.metrics)]
    heat = [row for name, one in maps.items() for row in compare_heatmaps.table_of_run(work.runs[name], one)]
    order = ["axis", "run_a", "run_b", "metric", "stage"]
    found = table.conform(pd.DataFrame(rows), "comparison").sort_values(order, kind="stable", ignore_index=True)
    return Comparison(found, describe(work.runs.values()), table.conform(pd.DataFrame(heat), "heatmap"))


def _has(work: _Work, names: Iterable[str]) -> bool:
    return any(name in work.metrics for name in names)


def _featured(work: _Work, one: Pair) -> bool:
    return _has(work, compare_features.NAMES) and all("feature" in work.runs[name] for name in (one.a, one.b))


def _own_maps(work: _Work, names: Sequence[str], with_radial: bool, tick: Any) -> dict[str, compare_heatmaps.HeatMap]:
    """Heat map of each run over all its images."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(work.images[name].key, []).append(name)
    maps: dict[str, compare_heatmaps.HeatMap] = {}
    for members in groups.values():
        maps |= compare_heatmaps.walk(
            members, work.runs, work.images[members[0]], with_radial=with_radial, tick=tick, **work.options
        )
    return maps


def _global(
    work: _Work, images: Images, pairs: Sequence[Pair], maps: Mapping[str, compare_heatmaps.HeatMap], tick: Any
) -> list[dict[str, Any]]:
    """Compare heat maps of the pairs over exactly the images they share."""
    if not _has(work, compare_heatmaps.MAPS):
        return []
    able = [p for p in pairs if p.axis != "object" and p.a in maps and p.b in maps]
    members = dict.fromkeys(name for p in able for name in (p.a, p.b))
    here = {name: maps[name] for name in members if work.images[name].key == images.key}
    rest = [name for name in members if name not in here]
    if rest:
        here |= compare_heatmaps.walk(rest, work.runs, images, with_radial=False, tick=tick, **work.options)
    with ThreadPoolExecutor(work.options["workers"]) as pool:
        rows = pool.map(lambda p: compare_heatmaps.rows_of_pair(p, here[p.a], here[p.b], work.metrics), able)
        return [row for part in rows for row in part]
