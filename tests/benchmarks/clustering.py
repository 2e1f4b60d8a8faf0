"""How long clustering takes: the published loops and fastcluster against ours, and the other methods' inner loops.

All sides run in this process, image by image or call by call in turns, so that what else the machine does falls on all.
Agglomerative, features to labels: one matrix product for the batch and one fit an image (scikit-learn, as published;
fastcluster). Given: distances to labels. Kernel: the merges and the cut alone, without the copy of what is given.
K-Medoids and the other methods: plain versions written from the published rules.
Many: one image of so many tokens, each linkage in a process of its own, the first call beside the later ones.
fastcluster gets the distances condensed, and is asked for the tree alone. The first call is that of a process which
has its compiled code at hand and takes its memory for the first time, of a machine that has it: as much was in use a
moment before. What nobody has used lately a virtual machine may have to ask its host for, at 2 to 4 ms a MB on the one
that the numbers in README.md come from, whoever takes it and however; that is no property of what takes it.

Usage: python tests/benchmarks/clustering.py [--threads 1] [--tokens 196 576 1024] [--rounds 7] [--methods] [--cpu]
       python tests/benchmarks/clustering.py --tokens --many 4096 [--rounds 7] [--cpu]
The last line is JSON: their time over ours; of many tokens also the first call's over the later ones'.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import get_args

import fastcluster
import numpy as np
import torch
from methods import method_ratios
from numba import config
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from tokenlens.clustering import Linkage, agglomerative
from tokenlens.clustering.distance import given, matrix_shape
from tokenlens.clustering.host import cut
from tokenlens.clustering.linkage import chain, prim

CHANNELS = 64
MANY_CHANNELS = 320  # of a Stable Diffusion block with 4,096 tokens
Side = Callable[[], object]


def product(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, N, N) cosine distances, as github.com/JoakimHaurum/ATC@227c94b forms them."""
    metric = torch.from_numpy(features)
    metric = metric / metric.norm(dim=-1, keepdim=True)
    return (1 - metric @ metric.transpose(-1, -2)).numpy()


def fit(distances: NDArray[np.float32], clusters: int, linkage: Linkage) -> NDArray[np.int64]:
    """As published: one fit an image."""
    clustering = AgglomerativeClustering(n_clusters=clusters, metric="precomputed", linkage=linkage)
    return np.stack([clustering.fit(image).labels_ for image in distances])


def fast(distances: NDArray[np.float32], clusters: int, linkage: Linkage) -> list[NDArray[np.int32]]:
    """The fastest library known: fastcluster's tree of each image, and SciPy's cut."""
    from scipy.cluster.hierarchy import fcluster

    above = np.triu_indices(distances.shape[1], 1)
    return [fcluster(fastcluster.linkage(image[above], linkage), clusters, "maxclust") for image in distances]


def seconds(sides: dict[str, Side], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """The least time of each side, which a busy machine disturbs least; all take turns."""
    best = dict.fromkeys(sides, np.inf)
    for _ in range(rounds):
        for name, side in sides.items():
            start = clock()
            side()
            best[name] = min(best[name], clock() - start)
    return best


def kernel_seconds(
    distances: NDArray[np.float32], clusters: int, linkage: Linkage, clock: Callable[[], float]
) -> float:
    """The merges and the cut of all images, one after the other."""
    tokens, kind = distances.shape[1], np.float64 if linkage == "average" else np.float32
    dist, integer = np.empty(matrix_shape(tokens), kind), np.int64 if linkage == "average" else np.int32
    died, into, root, number = np.empty((4, tokens), np.uint32)
    merges, labels = (died[1:], into[1:], np.empty(tokens - 1, integer)), np.empty(tokens, np.int64)
    bits, top, took = dist.view(integer), integer(np.iinfo(integer).max), 0.0
    for image in distances:
        given(image, dist)
        start = clock()
        if linkage == "single":
            prim(bits, top, *merges)
        else:
            chain(dist, bits, top, linkage == "average", *merges)
        cut(*merges, tokens - clusters, root, number, labels)
        took += clock() - start
    return took


def agglomerative_ratios(
    tokens: int, clusters: int, linkage: Linkage, batch: int, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Ours works on the batch; the loops on as many of its images as take about as long, and all count by the image."""
    features = np.random.default_rng(0).normal(size=(batch, tokens, CHANNELS)).astype(np.float32)
    few = features[: max(1, batch // 8)]
    distances = product(few)
    for metric, x in (("cosine", features), ("precomputed", distances)):
        agglomerative(x[:1], clusters, linkage, metric)  # compiled or read from the cache before the clock starts
    took = seconds(
        {
            "ours": lambda: agglomerative(features, clusters, linkage),
            "given": lambda: agglomerative(distances, clusters, linkage, "precomputed"),
            "product": lambda: product(features),
            "fit": lambda: fit(distances, clusters, linkage),
            "fast": lambda: fast(distances, clusters, linkage),
        },
        rounds,
        clock,
    )
    took["kernel"] = min(kernel_seconds(distances, clusters, linkage, clock) for _ in range(rounds + 1))
    sizes = {"ours": batch, "given": len(few), "kernel": len(few), "product": batch, "fit": len(few), "fast": len(few)}
    a = {name: 1e6 * value / sizes[name] for name, value in took.items()}
    ratios = {
        "scikit-learn": (a["product"] + a["fit"]) / a["ours"],
        "fastcluster": (a["product"] + a["fast"]) / a["ours"],
        "given": a["fit"] / a["given"],
        "kernel": a["fit"] / a["kernel"],
    }
    print(
        f"{tokens:>6} {clusters:>8} {linkage:>9} {a['product'] + a['fit']:>12.0f} {a['product'] + a['fast']:>12.0f} "
        f"{a['ours']:>9.1f} {a['kernel']:>9.1f} {ratios['scikit-learn']:>8.1f} {ratios['fastcluster']:>8.1f} "
        f"{ratios['given']:>8.1f} {ratios['kernel']:>8.1f}",
        flush=True,
    )
    return ratios


def use(size: int) -> None:
    """Take so many bytes of the machine, and give them back."""
    np.ones(size, np.uint8)


def many(tokens: int, linkage: Linkage, rounds: int, cpu: bool) -> dict[str, tuple[float, float]]:
    """Milliseconds of one image of MANY_CHANNELS channels, by side: the first call, and the least of the later ones."""
    torch.set_num_threads(1)
    clock = time.process_time if cpu else time.perf_counter
    features = np.random.default_rng(0).normal(size=(1, tokens, MANY_CHANNELS)).astype(np.float32)
    distances, clusters = product(features), tokens // 2
    condensed = distances[0][np.triu_indices(tokens, 1)]
    for x, metric in ((features[:, :80], "cosine"), (distances[:, :80, :80], "precomputed")):
        agglomerative(x, 40, linkage, metric)  # compiled or read from the cache before the clock starts
    sides: dict[str, Side] = {
        "given": lambda: agglomerative(distances, clusters, linkage, "precomputed"),
        "features": lambda: agglomerative(features, clusters, linkage),
        "fastcluster": lambda: fastcluster.linkage(condensed, linkage),
    }
    use(24 * tokens**2)
    first = seconds(sides, 1, clock)
    later = seconds(sides, rounds, clock)
    return {name: (1e3 * first[name], 1e3 * later[name]) for name in sides}


def many_ratios(tokens: int, rounds: int, cpu: bool) -> dict[str, float]:
    """Print a line a linkage, each of a fresh process: what it has not used yet, it has to be given first."""
    print(f"\n{tokens} tokens, {MANY_CHANNELS} channels, milliseconds, first and later calls; / fastcluster")
    print(f"{'linkage':>9} {'given':>16} {'features':>16} {'fastcluster':>16} {'given':>6} {'features':>8}")
    found: dict[str, float] = {}
    for linkage in get_args(Linkage):
        with get_context("spawn").Pool(1) as fresh:
            took = fresh.apply(many, (tokens, linkage, rounds, cpu))
        ratios = {side: took["fastcluster"][1] / took[side][1] for side in ("given", "features")}
        columns = " ".join(f"{first:>9.0f}{later:>7.0f}" for first, later in took.values())
        print(f"{linkage:>9} {columns} {ratios['given']:>6.2f} {ratios['features']:>8.2f}", flush=True)
        found |= {f"{tokens} {linkage} {side} / fastcluster": round(ratio, 2) for side, ratio in ratios.items()}
        found[f"{tokens} {linkage} first / later"] = round(took["given"][0] / took["given"][1], 2)
    return found


def main() -> None:
    """Measure, print a table, and the ratios as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, nargs="*", default=[196, 576, 1024])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--many", type=int, nargs="*", default=[], help="one image of so many tokens, first and later")
    parser.add_argument("--methods", action="store_true", help="the other methods too")
    parser.add_argument("--cpu", action="store_true", help="the processor's time: one thread on a busy machine")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    torch.set_num_threads(args.threads)
    ours = min(args.threads, config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    print(
        f"threads: {args.threads} in the product, 1 in the fits; ours {ours}. Least of {args.rounds} rounds, ", end=""
    )
    print(f"{CHANNELS} channels, microseconds an image, then ratios")
    print(f"{'tokens':>6} {'clusters':>8} {'linkage':>9} {'scikit-learn':>12} {'fastcluster':>12} ", end="")
    print(f"{'ours':>9} {'kernel':>9} {'/sklearn':>8} {'/fastcl.':>8} {'given':>8} {'kernel':>8}")
    found: dict[str, float] = {"threads": args.threads}
    for tokens in args.tokens:
        batch = max(8, int(256 * 196**2 / tokens**2) // 8 * 8)
        for clusters in (tokens // 2, tokens // 4):
            for linkage in get_args(Linkage):
                ratios = agglomerative_ratios(tokens, clusters, linkage, batch, args.rounds, clock)
                found |= {f"{tokens}/{clusters} {linkage} {side}": round(r, 2) for side, r in ratios.items()}
    for tokens in args.many:
        found |= many_ratios(tokens, args.rounds, args.cpu)
    if args.methods:
        found |= method_ratios(args.rounds, clock)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
