"""How long agglomerative clustering takes, from features to labels: the published scikit-learn loop against ours.

Both run in this process, in turns, so that what else the machine does falls on both. The last line is JSON: published
time over our time. Usage: python tests/benchmarks/clustering.py [--tokens 196 576 1024] [--rounds 5]
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from numba import config
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from tokenlens.clustering.agglomerative import Linkage, agglomerate

Cluster = Callable[[NDArray[np.float32], int, Linkage], NDArray[np.int64]]


def published(features: NDArray[np.float32], clusters: int, linkage: Linkage) -> NDArray[np.int64]:
    """As github.com/JoakimHaurum/ATC@227c94b: one matrix product for the batch, one fit an image."""
    metric = torch.from_numpy(features)
    metric = metric / metric.norm(dim=-1, keepdim=True)
    distances = (1 - metric @ metric.transpose(-1, -2)).numpy()
    clustering = AgglomerativeClustering(n_clusters=clusters, metric="precomputed", linkage=linkage)
    return np.stack([clustering.fit(image).labels_ for image in distances])


def seconds(cluster: Cluster, features: NDArray[np.float32], linkage: Linkage) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    cluster(features, features.shape[1] // 2, linkage)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print a table, and the ratios as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[196, 576, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ours = min(torch.get_num_threads(), config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    print(f"threads: published {torch.get_num_threads()} in the product, 1 in the fits; ours {ours}")
    print(f"medians of {args.rounds} rounds; 64 channels, half the tokens kept")
    print(f"{'tokens':>6} {'linkage':>9} {'published':>12} {'ours':>12} {'ratio':>7}   (milliseconds an image)")
    rng, ratios = np.random.default_rng(0), {}
    for tokens in args.tokens:
        images = max(2, 32 * 196**2 // tokens**2)
        features = rng.normal(size=(images, tokens, 64)).astype(np.float32)
        for linkage in get_args(Linkage):
            agglomerate(features[:1], 2, linkage)  # compiled or read from the cache before the clock starts
            pairs = [[seconds(f, features, linkage) for f in (published, agglomerate)] for _ in range(args.rounds)]
            theirs, mine = np.median(pairs, axis=0) * 1e3 / images
            ratios[f"{tokens} {linkage}"] = round(float(theirs / mine), 2)
            print(f"{tokens:>6} {linkage:>9} {theirs:>12.3f} {mine:>12.3f} {theirs / mine:>7.1f}")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
