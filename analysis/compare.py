"""Compare runs: pairs along each axis, over the images they share, into one tidy table.

A metric is taken of a pair where both runs have what it is of: of patterns image by image (`image_means`), of heat maps
over all images (`heat_maps`), of class-token features (`feature_sums`). Which metrics there are, and what is known of
them, stands in their registry, `metrics.base.METRICS`. Runs that are still being written are compared on what both have
so far.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import xarray as xr

from tokenlens.errors import BadInput, check_memory
from tokenlens.records import tables as table
from tokenlens.words import as_html

from . import curves, feature_sums, heat_maps, image_means, selection, token_statistics
from .ceiling import with_ceiling
from .chunked_reader import Images, common, images_of
from .heat_maps import HeatMap
from .metrics.base import Metric
from .pairing import Card, Pair, card, pair
from .runs_table import describe
from .streaming import Options, Row, Source, stream

if TYPE_CHECKING:
    import pandas as pd

    from .cluster import Cluster

MOST_WORKERS = 1024  # threads


class Comparison(NamedTuple):
    """The tables of one comparison, each with the columns that `tokenlens.records.columns` tells.

    Examples:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"axis": ["method"], "run_a": ["a"], "run_b": ["b"], "metric": ["iou"]})
        >>> Comparison(rows, pd.DataFrame(index=["a", "b"]), pd.DataFrame(), pd.DataFrame())
        2 runs, 1 pairs along method, 1 metrics
    """

    comparison: pd.DataFrame
    runs: pd.DataFrame
    heatmap: pd.DataFrame
    tokens: pd.DataFrame

    def __repr__(self) -> str:
        rows, pairs = self.comparison, len(self.comparison[["axis", "run_a", "run_b"]].drop_duplicates())
        along = ", ".join(rows["axis"].unique()) or "no axis"
        return f"{len(self.runs)} runs, {pairs} pairs along {along}, {rows['metric'].nunique()} metrics"

    def _repr_html_(self) -> str:
        return as_html(repr(self)) + str(self.comparison.to_html(max_rows=10))


class _Work(NamedTuple):
    """What is to be done, image set by image set, and what all of it needs to know."""

    runs: dict[str, xr.Dataset]
    cards: dict[str, Card]
    images: dict[str, Images]
    metrics: tuple[Metric, ...]
    shared: dict[str, tuple[Images, list[Pair]]]
    across: list[Pair]
    options: Options
    asked_by_name: bool

    def of(self, images: Images) -> Source:
        """The runs, walked over these images."""
        return Source(self.runs, {name: of.ids for name, of in self.images.items()}, images)

    def check_memory(self) -> None:
        """Refuse more resamples than could be held: how often each draws an image, and its heat map of each run."""
        images = max(map(len, self.images.values()))
        patches = max(run.sizes.get("patch", 0) for run in self.runs.values())
        drawn, maps = 8 * min(self.options.chunk, images), 8 * patches * min(len(self.runs), heat_maps.RUNS_AT_ONCE)
        check_memory(
            f"{self.options.resamples} resamples of {images} images", self.options.resamples * (drawn + maps),
            "give fewer --resamples; 1000 are usual, and beyond 10000 an interval hardly moves",
        )  # fmt: skip


def compare(
    runs: Sequence[xr.Dataset],
    axes: Iterable[str] | None = None,
    metrics: Iterable[str | Metric | Callable[..., Any]] | None = None,
    *,
    chunk: int = 2048,
    workers: int = 2,
    resamples: int = 1000,
    seed: int = 0,
    null: str = "",
    progress: bool = False,
    cluster: Cluster | None = None,
) -> Comparison:
    """Compare all pairs of runs along each axis (all axes, all metrics if not told).

    Args:
        runs: xarray Datasets as the store opens them.
        axes: method, capacity, keep_rate, dataset, seed, radial, object, layout, attention, curve, change; and of
            heat maps several together, such as dataset+capacity.
        metrics: names, or functions of two arrays: of bool sets of kept patches, (image, stage, patch) each, unless
            `metrics.base.metric` says more of them.
        chunk: images in memory at a time.
        workers: threads that read and compute.
        resamples: resamples of the images, from which intervals come.
        seed: of everything drawn at random.
        null: what values are put beside: analytic, other-image, torus or permutation, where a metric knows it; if not
            told, each metric's own (see `nulls`).
        progress: show a bar.
        cluster: processes that measure the chunks (`analysis.cluster.Cluster.reached`); the numbers are the same.

    Raises:
        BadInput: there are no runs, two have one name, or two runs of a pair share no image; UnknownName for an axis or
            metric that does not exist.

    Examples:
        >>> import tokenlens
        >>> vit, data = tokenlens.load("nano"), tokenlens.open_data("embedded:shapes", limit=4)
        >>> runs = [tokenlens.extract(tokenlens.reduce(vit, method), data) for method in ("topk", "l2")]
        >>> def dice(a, b):
        ...     return 2 * (a & b).sum(-1) / (a.sum(-1) + b.sum(-1))
        >>> tokenlens.compare(runs, axes=["method"], metrics=["iou", dice], resamples=20)
        2 runs, 1 pairs along method, 2 metrics
    """
    chosen, asked = selection.axes(axes), selection.metrics(metrics)
    opened = {card(run).run: run for run in runs}
    if len(opened) < len(runs):
        raise BadInput(f"two of the {len(runs)} runs have the same name; rename one, or choose with --where")
    empty = [name for name, run in opened.items() if not run.sizes.get("image")]
    if empty:
        warnings.warn(f"no images are written yet in {', '.join(empty)}: left out for now", stacklevel=2)
    opened = {name: run for name, run in opened.items() if name not in empty}
    if not opened:
        raise BadInput("there is no run with images to compare; write some with `tokenlens extract`")
    selection.check_null(null, asked)
    if chunk < 1 or workers < 1 or resamples < 1:
        raise BadInput("chunk, workers and resamples must be at least 1; leave them out for what is usual")
    if workers > MOST_WORKERS:
        raise BadInput(f"{workers} threads are too many, {MOST_WORKERS} are the most; as many as cores are enough")
    work = _plan(opened, chosen, asked, Options(chunk, workers, resamples, seed, null, cluster), bool(metrics))
    work.check_memory()
    found = _carry_out(work, "radial" in chosen, progress)
    selection.say_what_is_missing(found.comparison, asked, chosen, work.asked_by_name)
    return found


def _plan(
    runs: dict[str, xr.Dataset], axes: Sequence[str], metrics: tuple[Metric, ...], options: Options, by_name: bool
) -> _Work:
    """Find the pairs and the images that each has in common, and say what is left out."""
    cards = {name: card(run) for name, run in runs.items()}
    images = images_of(runs)
    shared: dict[str, tuple[Images, list[Pair]]] = {}
    met: dict[tuple[str, str], Images] = {}
    across: list[Pair] = []
    smaller = []
    for axis in (a for a in axes if a not in selection.OWN):
        for one in pair(cards.values(), axis):
            if "dataset" in axis.split("+"):  # other images
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
    for axis, beside, applies in (
        ("object", "object", lambda name: "object" in runs[name]),
        ("layout", "grid", lambda name: cards[name].keeps),
        ("attention", "attention", lambda name: cards[name].keeps and "attention" in runs[name]),
        ("curve", "shown", lambda name: cards[name].keeps),
    ):
        for name in filter(applies, runs if axis in axes else ()):
            shared.setdefault(images[name].key, (images[name], []))[1].append(Pair(name, beside, axis))
    return _Work(runs, cards, images, metrics, shared, across, options, by_name)


def _carry_out(work: _Work, with_radial: bool, progress: bool) -> Comparison:
    import pandas as pd
    from tqdm import tqdm

    null = work.options.null
    shared = [
        (*one, image_means.batches(image_means.tasks(one[1], work.cards, work.runs, work.metrics, null)))
        for one in work.shared.values()
    ]
    total = sum(len(images) * len(batches) for images, _, batches in shared)
    with tqdm(desc="compare", total=total, unit="img", disable=not progress, leave=False) as bar:
        maps, rows = _own_maps(work, with_radial)
        for images, pairs, batches in shared:
            source = work.of(images)
            for batch in batches:
                means = image_means.ImageMeans(batch, work.options)
                stream([means], source, work.options, bar.update)
                rows += means.rows()
            rows += _global(work, images, pairs, maps)
            rows += curves.lacking(pairs, work.runs, work.metrics) if work.asked_by_name else []
            featured = [p for p in pairs if p.b in work.runs and all("feature" in work.runs[n] for n in (p.a, p.b))]
            for crosses in feature_sums.batches(featured, work.runs, work.metrics):
                sums = feature_sums.FeatureSums(crosses, source, null)
                bar.total = (bar.total or 0) + len(images) * sums.readings
                stream([sums], source, work.options, bar.update)
                rows += sums.rows(work.options.workers)
    for one in work.across:
        if one.a in maps and one.b in maps:
            rows += heat_maps.rows_of_pair(one, maps[one.a], maps[one.b], work.metrics, null)
    if with_radial:
        for name, own in maps.items():
            rows += heat_maps.rows_of_run(name, work.runs[name], own, work.metrics, null)
    heat = [row for name, one in maps.items() for row in heat_maps.table_of_run(work.runs[name], one)]
    order = ["axis", "run_a", "run_b", "metric", "stage"]
    found = table.conform(pd.DataFrame(rows), "comparison").sort_values(order, kind="stable", ignore_index=True)
    tokens = [row for name, run in work.runs.items() for row in token_statistics.rows_of_run(run, maps.get(name))]
    return Comparison(with_ceiling(found), describe(work.runs.values()), table.conform(pd.DataFrame(heat), "heatmap"),
                      table.conform(pd.DataFrame(tokens), "tokens"))  # fmt: skip


def _own_maps(work: _Work, with_radial: bool) -> tuple[dict[str, HeatMap], list[Row]]:
    """Heat map of each run over all its images, where a metric is of them, and the rows that its depths give."""
    maps: dict[str, HeatMap] = {}
    rows: list[Row] = []
    if not any(metric.of in ("heatmap", "depth") for metric in work.metrics):
        return maps, rows
    groups: dict[str, list[str]] = {}
    for name, one in work.cards.items():
        if one.keeps and "kept" in work.runs[name]:
            groups.setdefault(work.images[name].key, []).append(name)
    metrics = work.metrics if with_radial else ()
    for members in groups.values():
        found, more = heat_maps.walk(work.of(work.images[members[0]]), members, metrics, work.options)
        maps |= found
        rows += more
    return maps, rows


def _global(work: _Work, images: Images, pairs: Sequence[Pair], maps: Mapping[str, HeatMap]) -> list[Row]:
    """Compare heat maps of the pairs over exactly the images they share."""
    of_maps = [metric for metric in work.metrics if metric.of == "heatmap"]
    able = [p for p in pairs if p.a in maps and p.b in maps and any(one.takes(p.axis) for one in of_maps)]
    members = dict.fromkeys(name for p in able for name in (p.a, p.b))
    here = {name: maps[name] for name in members if work.images[name].key == images.key}
    rest = [name for name in members if name not in here]
    here |= heat_maps.walk(work.of(images), rest, (), work.options)[0]
    with ThreadPoolExecutor(work.options.workers) as pool:
        rows = pool.map(
            lambda p: heat_maps.rows_of_pair(p, here[p.a], here[p.b], work.metrics, work.options.null), able
        )
        return [row for part in rows for row in part]
