"""How often intervals hold what they say they hold, in worlds where that is known; and how often a claim is false.

Means over images (skewed, bounded, with hardly an image that differs), differences of accuracies, heat maps, class-
token features, rank correlations, means over crossed factors. 95 % are promised; `false` is how often an interval that
holds nothing but chance lies wholly above it, where 2.5 % are due.
Usage: python tests/benchmarks/coverage.py [--worlds 200] [--parts images accuracies heatmaps radial ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from tokenlens.analysis.feature_sums import PARTS, Cross, Side
from tokenlens.analysis.heat_maps import HeatMap, rows_of_pair, rows_of_run
from tokenlens.analysis.image_means import distances
from tokenlens.analysis.metrics import ranks
from tokenlens.analysis.metrics.base import METRICS
from tokenlens.analysis.metrics.gram import Gram
from tokenlens.analysis.metrics.influence import Centred
from tokenlens.analysis.paired_accuracy import paired_accuracy
from tokenlens.analysis.pairing import Pair
from tokenlens.analysis.statistics.bootstrap import Means, Resampler
from tokenlens.analysis.statistics.crossed import estimate
from tokenlens.records.accuracy import mean_average_precision

Array = np.ndarray
SIZES = (10, 50, 400)
PAIR = Pair("a", "b", "dataset")


def images(worlds: int) -> Iterator[tuple[str, float]]:
    """Means of values in 0..1 over images."""
    rng = np.random.default_rng(0)
    kinds: dict[str, tuple[float, Callable[[int], Array]]] = {
        "even": (0.5, lambda n: rng.random(n)),
        "skewed": (1 / 9, lambda n: rng.beta(1, 8, n)),
        "at the bound, 5 % differ": (0.975, lambda n: 1 - (rng.random(n) < 0.05) * rng.random(n)),
        "at the bound, 0.5 % differ": (0.9975, lambda n: 1 - (rng.random(n) < 0.005) * rng.random(n)),
    }
    for (kind, (truth, draw)), n in product(kinds.items(), SIZES):
        means = Means(worlds, 500)
        values = np.stack([draw(n) for _ in range(worlds)], axis=1)
        means.add(values, Resampler(n, 500).counts(n))
        low, high = means.interval((0, 1))
        yield f"images {kind}, n = {n}", float(np.mean((low <= truth) & (truth <= high)))


def depths(rng: np.random.Generator, n: int, score: Array) -> Array:
    """Depths (n, P) of patches that are dropped by a score and noise, at three stages."""
    rank = (-(score + rng.gumbel(size=(n, len(score))))).argsort(1).argsort(1)
    return np.select([rank < 6, rank < 12, rank < 24], [12.0, 9.0, 6.0], 3.0)


def heat_map(rng: np.random.Generator, n: int, score: Array, seed: int) -> HeatMap:
    """A heat map of n images and of their resamples."""
    depth = depths(rng, n, score)
    return HeatMap(depth.mean(0), (Resampler(n, 200, seed).counts(n) @ depth / n).astype(np.float32), n, 7)


ROW, COLUMN = np.divmod(np.arange(49), 7)
CENTRE = -np.hypot(ROW - 3.1, COLUMN - 2.8)  # off the middle of the grid: no two patches are alike


def heatmaps(worlds: int) -> Iterator[tuple[str, float]]:
    """Heat maps of two sets of images: of one pattern, of two, of hardly any."""
    rng = np.random.default_rng(1)
    other = rng.normal(size=49)
    chosen = [metric for metric in METRICS.values() if metric.of == "heatmap" and "dataset" in metric.axes]
    kinds = {"same": (0.3 * CENTRE, 0.3 * CENTRE), "two": (0.3 * CENTRE, 0.1 * CENTRE + 0.3 * other),
             "hardly any": (0.05 * CENTRE + 0.05 * other, 0.05 * CENTRE - 0.03 * other)}  # fmt: skip
    for (kind, scores), n in product(kinds.items(), SIZES):
        true = [depths(rng, 60_000, score).mean(0) for score in scores]
        true[1] = true[0] if kind == "same" else true[1]
        hit = dict.fromkeys((metric.name for metric in chosen), 0)
        for i in range(worlds):
            maps = [heat_map(rng, n, score, 2 * i + side) for side, score in enumerate(scores)]
            for metric, row in zip(chosen, rows_of_pair(PAIR, *maps, chosen), strict=True):
                truth = float(metric(*true, *([7] if metric.grid else [])))
                hit[metric.name] += row["low"] - 1e-9 <= truth <= row["high"] + 1e-9
        for name, count in hit.items():
            yield f"heat map {name}, {kind}, n = {n}", count / worlds


def radial(worlds: int) -> Iterator[tuple[str, float]]:
    """Heat maps beside the distance from the centre: of a central pattern, of one that is partly so, of hardly any."""
    rng = np.random.default_rng(6)
    grid = xr.Dataset(coords={"row": ("patch", ROW), "column": ("patch", COLUMN)})
    chosen = [metric for metric in METRICS.values() if metric.of == "heatmap" and "radial" in metric.axes]
    other = rng.normal(size=49)
    kinds = {"central": 0.3 * CENTRE, "partly": 0.1 * CENTRE + 0.3 * other, "hardly any": 0.05 * CENTRE + 0.05 * other}
    for (kind, score), n in product(kinds.items(), SIZES):
        true = depths(rng, 60_000, score).mean(0)
        hit = dict.fromkeys((metric.name for metric in chosen), 0)
        for i in range(worlds):
            rows = rows_of_run("a", grid, heat_map(rng, n, score, i), chosen)
            for metric, row in zip(chosen, rows[: len(chosen)], strict=True):  # beside the first of the norms
                truth = float(metric(true, distances(grid)[0]))
                hit[metric.name] += row["low"] - 1e-9 <= truth <= row["high"] + 1e-9
        for name, count in hit.items():
            yield f"{name}, {kind}, n = {n}", count / worlds


def features(worlds: int) -> Iterator[tuple[str, float]]:
    """Features of one signal, and of two that have nothing in common; the truth follows from the covariances."""
    rng = np.random.default_rng(2)
    chosen = tuple(metric for metric in METRICS.values() if metric.of == "feature")
    for width, n, related in product((8, 32), SIZES, (1.0, 0.0)):
        mix, turn = rng.normal(size=(width, width)) / np.sqrt(np.arange(1, width + 1)), np.eye(width)[::-1]
        own = mix.T @ mix + 0.5 * np.eye(width)
        truth = Gram(own, turn.T @ own @ turn, related * mix.T @ mix @ turn, 10**9, np.zeros(3))
        hit = dict.fromkeys((metric.name for metric in chosen), 0)
        for _ in range(worlds):
            signal = rng.normal(size=(n, width))
            other = signal if related else rng.normal(size=(n, width))
            x, y = (s @ mix + np.sqrt(0.5) * rng.normal(size=(n, width)) for s in (signal, other))
            one, part = Cross(PAIR, 0, chosen, Side(width), Side(width)), rng.permutation(n) % PARTS
            a, b = one.a.near(x), one.b.near(y @ turn)
            one.add(one.a.add(a, part), one.b.add(b, part))
            one.weigh(Centred(a, *one.a.moments), Centred(b, *one.b.moments))
            for metric, row in zip(chosen, one.rows(), strict=True):
                hit[metric.name] += row["low"] - 1e-6 <= float(metric.value(truth)) <= row["high"] + 1e-6
        for name, count in hit.items():
            yield f"{name}, {width} channels, {'one signal' if related else 'two'}, n = {n}", count / worlds


def judged(method: str, label: Array, score: Array) -> xr.Dataset:
    """A run of images with several labels, as `paired_accuracy` takes it."""
    ids = [f"{i:06d}" for i in range(len(label))]
    variables = {"label": (("image", "class"), label), "score": (("image", "class"), score)}
    return xr.Dataset(variables, {"image": ids}, {"run": method, "method": method, "family": "pruning"})


def accuracies(worlds: int) -> Iterator[tuple[str, float]]:
    """Differences of mean average precisions over eight classes, of two runs as good and of two that are not."""
    rng = np.random.default_rng(5)
    for gains, n in product(((1.5, 1.5), (2.0, 1.0)), SIZES):

        def pair(images: int, gains: tuple[float, ...] = gains) -> list[xr.Dataset]:
            label, shared = rng.random((images, 8)) < 0.3, rng.normal(size=(images, 8))
            scores = [gain * label + 0.7 * shared + 0.7 * rng.normal(size=label.shape) for gain in gains]
            return [judged(name, label, score) for name, score in zip("ab", scores, strict=True)]

        large = [mean_average_precision(run["score"].values, run["label"].values) for run in pair(100_000)]
        truth, hit = large[0] - large[1] if gains[0] != gains[1] else 0.0, 0
        for _ in range(worlds):
            row = paired_accuracy(pair(n)).iloc[0]
            hit += row["low"] <= truth <= row["high"]
        yield f"difference of mAP, {'as good' if gains[0] == gains[1] else 'apart'}, n = {n}", hit / worlds


def correlations(worlds: int) -> Iterator[tuple[str, float]]:
    """Spearman's of n pairs of normal values that correlate by 0.6."""
    rng = np.random.default_rng(3)
    for n in (4, 7, 14):
        x, y = rng.normal(size=(2, worlds, n))
        values = ranks.spearman(x, 0.6 * x + 0.8 * y)
        ends = np.array([ranks.correlation_interval(float(value), n) for value in values])
        truth = 6 / np.pi * np.arcsin(0.3)
        yield f"Spearman of {n}", float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))


def factors(worlds: int) -> Iterator[tuple[str, float]]:
    """Means that are 0 over data sets x capacities x methods, of which each moves all its cells; and power at 2."""
    rng = np.random.default_rng(4)
    for shape, spread in product(((2, 2, 4), (4, 3, 11)), ((1, 1, 1, 1), (0.5, 0.5, 0.5, 1), (0, 1, 0, 0.3))):
        hit, above, found = 0, 0, 0
        for _ in range(worlds):
            parts = [sd * rng.normal(size=[n if axis == i else 1 for i, n in enumerate(shape)])
                     for axis, sd in enumerate(spread[:3])]  # fmt: skip
            values = sum(parts) + spread[3] * rng.normal(size=shape)
            cells = pd.DataFrame([(*at, values[at]) for at in np.ndindex(*shape)], columns=[*"abc", "value"])
            one = estimate(cells, "abc")
            hit, above, found = hit + (one.low <= 0 <= one.high), above + (one.low > 0), found + (one.low > -2)
        name = f"factors {shape}, deviations {spread}"
        yield name, hit / worlds
        yield f"{name}: false", above / worlds
        yield f"{name}: power at 2", found / worlds


PARTS_OF = {
    "images": images, "accuracies": accuracies, "heatmaps": heatmaps, "radial": radial, "features": features,
    "ranks": correlations, "factors": factors,
}  # fmt: skip


def main() -> None:
    """Simulate and print, one line a world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--parts", nargs="+", choices=PARTS_OF, default=list(PARTS_OF))
    args = parser.parse_args()
    for part in args.parts:
        for name, share in PARTS_OF[part](args.worlds):
            print(f"{name:60} {share:.3f}", flush=True)


if __name__ == "__main__":
    main()
