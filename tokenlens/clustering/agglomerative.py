"""Agglomerative clustering of many images at once: the partitions of scikit-learn's loop, without the loop.

Agglomerative Token Clustering (Haurum et al., ECCV 2024, arXiv:2409.11923) clusters the tokens of each image bottom-up
under cosine distance. Held against AgglomerativeClustering(metric="precomputed") as called in
github.com/JoakimHaurum/ATC/blob/227c94b584df323b94dd79e8ddbb88b1587eeb8e/ATC_setup/models/atc.py.

Shapes: B images, N tokens, D channels, K clusters.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

import numpy as np
import torch
from numba import config
from numpy.typing import NDArray

from .distance import PANEL, cosine_distances, row_length
from .linkage import chain, cut, prim

Linkage = Literal["single", "complete", "average"]
SHARES = 4  # pieces of work per thread: enough that a slow core does not hold up the rest


def agglomerate(features: NDArray[np.float32], clusters: int, linkage: Linkage) -> NDArray[np.int64]:
    """Cluster the tokens of each image down to exactly `clusters` clusters.

    Runs on as many threads as torch and numba both allow (torch.set_num_threads, NUMBA_NUM_THREADS). No thread outlives
    the call, so that a process may fork before or after it. The number of threads does not change the result.

    Args:
        features: (B, N, D) float32; compared by 1 - cos, in float32. A token of length 0 is 1 away from any other.
        clusters: K, from 1 to N.
        linkage: how far apart two clusters are: the least ("single"), greatest ("complete") or mean ("average")
            distance of their tokens. Ties fall as in SciPy.

    Returns:
        (B, N) int64, the cluster of each token, numbered by first occurrence from 0 to K - 1.

    Raises:
        ValueError: features are not (B, N, D) or not finite, clusters is not in 1..N, or the linkage is unknown.
    """
    _check(features, clusters, linkage)
    rows = _unit_rows(features)
    images, tokens, _ = rows.shape
    labels = np.empty((images, tokens), np.int64)
    threads = min(torch.get_num_threads(), config.NUMBA_NUM_THREADS, images)  # type: ignore[attr-defined]
    if threads <= 1:
        _cluster(rows, clusters, linkage, labels)
        return labels
    share = -(-images // (threads * SHARES))
    with ThreadPoolExecutor(threads) as pool:
        pieces = [slice(first, first + share) for first in range(0, images, share)]
        for done in [pool.submit(_cluster, rows[piece], clusters, linkage, labels[piece]) for piece in pieces]:
            done.result()
    return labels


def _check(features: NDArray[np.float32], clusters: int, linkage: str) -> None:
    if linkage not in get_args(Linkage):
        raise ValueError(f"{linkage!r} is not a linkage that is known; choose one of {', '.join(get_args(Linkage))}")
    if features.ndim != 3:
        raise ValueError(
            f"features have shape {features.shape} and not (images, tokens, channels); add the missing axis"
        )
    tokens = features.shape[1]
    if not 1 <= clusters <= tokens:
        raise ValueError(f"{tokens} tokens cannot form {clusters} clusters; ask for 1 to {tokens}")


def _unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1 (or 0), with channels of zeros added up to a multiple of 4; they leave cosines as they are."""
    features = np.asarray(features, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.linalg.norm(features, axis=-1, keepdims=True)
    if not np.isfinite(length).all():
        raise ValueError("features hold values that are not finite, or overflow when squared; look for them upstream")
    images, tokens, channels = features.shape
    rows = np.zeros((images, tokens, -(-channels // 4) * 4), np.float32)
    np.divide(features, np.maximum(length, np.finfo(np.float32).tiny), out=rows[..., :channels])
    return rows


def _cluster(rows: NDArray[np.float32], clusters: int, linkage: Linkage, labels: NDArray[np.int64]) -> None:
    """Fill labels (b, N) from rows (b, N, D); all scratch is allocated once and used for one image after the other."""
    images, tokens, channels = rows.shape
    width = row_length(tokens)
    # Means of distances are kept in float64, as in SciPy; the other linkages only ever pass distances on.
    floats, ints = (np.float64, np.int64) if linkage == "average" else (np.float32, np.int32)
    dist = np.zeros((tokens, width), floats)
    bits, top = dist.view(ints), ints(np.iinfo(ints).max)
    gone, ranks = np.empty(width, ints), np.empty(width, ints)
    panels, sums = np.empty((width // PANEL, channels * PANEL), np.float32), np.empty(4 * PANEL, np.float32)
    name, size, path = np.empty((3, tokens), np.int64)
    merged, height, merges = np.empty((tokens - 1, 2), np.int64), np.empty(tokens - 1, np.int64), tokens - clusters
    for image in range(images):
        if merges == 0:
            labels[image] = np.arange(tokens)
            continue
        cosine_distances(rows[image], panels, sums, dist)
        if linkage == "single":
            prim(bits, top, gone, ranks, merged, height)
        else:
            chain(dist, bits, top, linkage == "average", gone, ranks, name, size, path, merged, height)
        limit = np.partition(height, merges - 1)[merges - 1]
        cut(merged, height, limit, merges, path, labels[image])
