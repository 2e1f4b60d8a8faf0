"""Compare global patterns: mean-depth heat maps of two runs, and of a run with the distance from the image's centre.

Shapes: m images of a chunk, P patches, R resamples. Resampling images gives R heat maps a run; runs over the same
images share their draws, runs over different data sets do not. Intervals are percentiles over the R pairs of maps,
moved so that their mean is the value: resampling adds noise to both maps, which alone drives every divergence up and
correlation down. That of the EMD is to first order, by the potentials of the transport between both means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records.tables import ALL_STAGES

from .chunked_reader import Images, Reader, fitting
from .metrics import heatmap, radial, ranks
from .metrics.bootstrap import Means, Resampler, percentiles
from .pairing import Pair

Array = NDArray[Any]
MAPS = ("kl", "kl_reverse", "js", "js_published", "pcc", "scc", "sim", "emd")
RADIAL = ("depth_spearman", "depth_kendall", "heatmap_spearman", "heatmap_kendall")
NAMES = MAPS + RADIAL
RUNS_AT_ONCE = 64
RANGE = {"kl": (0, np.inf), "js": (0, 1), "js_published": (0, np.inf), "sim": (0, 1), "emd": (0, np.inf)}


@dataclass
class HeatMap:
    """A run's mean token depth over n images: mean (P,), resampled means (R, P); radial correlations of the images."""

    mean: Array
    drawn: Array
    n: int
    away: Array  # (3, P) l1, l2, linf distance of each patch
    columns: int
    radial: Means | None


def walk(
    names: Iterable[str],
    runs: Mapping[str, xr.Dataset],
    images: Images,
    ids: Mapping[str, Array],
    *,
    with_radial: bool,
    chunk: int,
    workers: int,
    resamples: int,
    seed: int,
    tick: Callable[[int], object],
) -> dict[str, HeatMap]:
    """Stream images once per batch of runs and return each run's heat map over them."""
    names, maps = list(dict.fromkeys(names)), {}
    for start in range(0, len(names), RUNS_AT_ONCE):
        part = {name: runs[name] for name in names[start : start + RUNS_AT_ONCE]}
        draw = Resampler(len(images), resamples, [seed, int(images.key, 16)])
        for name, run in part.items():
            patches = run.sizes["patch"]
            maps[name] = HeatMap(
                np.zeros(patches), np.zeros((resamples, patches)), len(images),
                np.stack([radial.distance(run["row"].values, run["column"].values, norm) for norm in radial.NORMS]),
                len(np.unique(run["column"].values)), Means(2 * len(radial.NORMS), resamples) if with_radial else None,
            )  # fmt: skip
        size = fitting(chunk, list(part.values()), ["kept"] * 3)  # depths and their ranks are wider than bools
        with Reader(part, images, ids, size, pack=False) as reader, ThreadPoolExecutor(workers) as pool:
            for span in reader.spans():
                arrays = reader.read([(name, "kept") for name in part], span, pool)
                counts = draw.counts(span[1] - span[0])
                list(pool.map(lambda n, x=arrays, c=counts, p=part: _add(maps[n], p[n], x[n, "kept"], c), part))
                tick(span[1] - span[0])
        for name in part:
            maps[name].mean /= max(len(images), 1)
            maps[name].drawn = (maps[name].drawn / max(len(images), 1)).astype(np.float32)
    return maps


def _add(one: HeatMap, run: xr.Dataset, kept: Array, counts: Array) -> None:
    depth = heatmap.depth(kept, run["stage"].values, int(run.attrs.get("depth", 12)))
    wide = depth.astype(np.float64)
    one.mean += wide.sum(axis=0)
    one.drawn += counts @ wide
    if one.radial is None:
        return
    away = np.round(one.away, 9)
    ranked, rings = ranks.ranks(wide), ranks.ranks(away)
    spearman = [ranks.pearson(ranked, ring) for ring in rings]
    levels = np.searchsorted(np.unique(depth), depth).astype(np.int32)
    codes = [np.broadcast_to(np.unique(ring, return_inverse=True)[1], levels.shape) for ring in away]
    kendall = [ranks.kendall_codes(levels, code.astype(np.int32)) for code in codes]
    one.radial.add(np.stack(spearman + kendall, axis=1), counts)


def rows_of_pair(pair: Pair, a: HeatMap, b: HeatMap, metrics: Iterable[str]) -> list[dict[str, Any]]:
    """Compare two heat maps by each measure asked for, with chance level and interval."""
    rows = []
    for metric in (m for m in MAPS if m in metrics):
        name, (p, q) = metric.removesuffix("_reverse"), ((b, a) if metric.endswith("_reverse") else (a, b))
        if name == "emd":
            value, u, v = heatmap.transport(p.mean, q.mean, p.columns)  # one transport, not R of them
            drawn = heatmap.distribution(p.drawn) @ u + heatmap.distribution(q.drawn) @ v
        else:
            measure = getattr(heatmap, name)
            value, drawn = measure(p.mean, q.mean), measure(p.drawn, q.drawn)
        chance = heatmap.expected(name, p.mean, q.mean, a.columns)
        rows.append(_row(pair, metric, value, chance, _centred(name, value, drawn), min(a.n, b.n)))
    return rows


def rows_of_run(run: str, one: HeatMap, metrics: Iterable[str]) -> list[dict[str, Any]]:
    """Correlate a run's depths with the three distances: of its heat map, and of each image, averaged."""
    rows, norms = [], radial.NORMS
    for i, norm in enumerate(norms):
        pair = Pair(run, norm, "radial")
        for metric in (m for m in RADIAL if m in metrics):
            kind, name = metric.split("_")
            if kind == "heatmap":
                measure = getattr(radial, name)
                value = measure(one.mean, one.away[i])
                ends = _centred(name, value, measure(one.drawn, one.away[i]))
                rows.append(_row(pair, metric, value, 0.0, ends, one.n))
            elif one.radial is not None:
                at = i + (len(norms) if name == "kendall" else 0)
                low, high = one.radial.interval()
                row = _row(pair, metric, one.radial.mean()[at], 0.0, (low[at], high[at]), one.n)
                rows.append(row | {"std": float(one.radial.std()[at])})
    return rows


def table_of_run(run: xr.Dataset, one: HeatMap) -> list[dict[str, Any]]:
    """The heat map itself as rows: run, patch, row, column, depth, n."""
    return [
        {"run": run.attrs["run"], "patch": i, "row": int(row), "column": int(column), "depth": float(depth), "n": one.n}
        for i, (row, column, depth) in enumerate(zip(run["row"].values, run["column"].values, one.mean, strict=True))
    ]


def _centred(name: str, value: Any, drawn: Array) -> tuple[Any, Any]:
    low, high = percentiles(drawn - drawn.mean(axis=0) + value)
    least, most = RANGE.get(name, (-1.0, 1.0))
    return np.clip(low, least, most), np.clip(high, least, most)


def _row(pair: Pair, metric: str, value: Any, chance: Any, ends: tuple[Any, Any], n: int) -> dict[str, Any]:
    return {
        "run_a": pair.a, "run_b": pair.b, "axis": pair.axis, "stage": ALL_STAGES, "metric": metric,
        "value": float(value), "std": np.nan, "n": n, "chance": float(chance), "low": float(ends[0]),
        "high": float(ends[1]),
    }  # fmt: skip
