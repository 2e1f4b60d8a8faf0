"""Agglomerative clustering and Euclidean distances on the CPU: compiled, and parallel over images.

Shapes: B images, N tokens, D channels (N of them if distances are given).
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numba import config
from numpy.typing import NDArray

from . import deferred
from .distance import LANES, cosine, euclidean, given, matrix_shape
from .linkage import chain, prim
from .machine_code import compiled

Array = NDArray[Any]

SHARES = 4  # pieces of work per thread: enough that a slow core does not hold up the rest
MANY = 1280  # tokens, from which on columns that wait are faster; at 1,024 it depends on the image
KEPT = 2**28  # bytes for a worker, which the next call finds again; more is given back

_spare: list[Array] = []


def cluster(x: Array, merges: NDArray[np.int64], linkage: str, precomputed: bool) -> tuple[NDArray[np.int64], bool]:
    """Labels (B, N) of x (B, N, D) float32 or float64, and whether all values are finite; merges (B,), from 0 to N - 1.

    Runs on as many threads as torch and numba both allow. No thread outlives the call, so that a process may fork
    before or after it.
    """
    images, tokens = x.shape[:2]
    labels, finite = np.empty((images, tokens), np.int64), np.ones(images, np.bool_)

    def work(pieces: Iterator[slice]) -> None:
        # Means of distances are kept in float64, as in SciPy; the other linkages only ever pass distances on.
        with _matrix(tokens, np.float64 if linkage == "average" else x.dtype) as dist:
            integer = np.int64 if dist.itemsize == 8 else np.int32
            bits, top = dist.view(integer), integer(np.iinfo(integer).max)
            for piece in pieces:
                of_piece = (x[piece], merges[piece], labels[piece], finite[piece])
                _images(
                    *of_piece, dist, bits, top, linkage == "single", linkage == "average", tokens >= MANY, precomputed
                )

    _share(work, images)
    return labels, bool(finite.all())


def distances(x: Array) -> Array:
    """Euclidean distances (B, N, N), symmetric to the last bit, of x (B, N, D) float32 or float64; threads as above."""
    out = np.empty((x.shape[0], x.shape[1], x.shape[1]), x.dtype)

    def work(pieces: Iterator[slice]) -> None:
        with _matrix(x.shape[1], x.dtype) as products:
            for piece in pieces:
                _distances(x[piece], products, out[piece])

    _share(work, x.shape[0])
    return out


@contextmanager
def _matrix(tokens: int, kind: Any) -> Iterator[Array]:
    """A worker's matrix (`matrix_shape`) in the memory of an earlier call: fresh pages cost much of Prim's time."""
    shape = matrix_shape(tokens)
    size = math.prod(shape) * np.dtype(kind).itemsize
    try:
        memory = _spare.pop()
    except IndexError:
        memory = np.empty(0, np.uint8)
    if memory.size < size:
        memory = np.empty(size, np.uint8)
    yield memory[:size].view(kind).reshape(shape)
    if memory.size <= KEPT:
        _spare.append(memory)


def _share(work: Callable[[Iterator[slice]], None], images: int) -> None:
    """Have workers do all images, each taking the next piece that nobody has taken."""
    threads = min(torch.get_num_threads(), config.NUMBA_NUM_THREADS, images)  # type: ignore[attr-defined]
    share = max(1, -(-images // (threads * SHARES))) if threads > 1 else max(1, images)
    pieces = iter([slice(first, first + share) for first in range(0, images, share)])
    if threads <= 1:
        work(pieces)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work, pieces) for _ in range(threads)]:
                done.result()


@compiled()
def _distances(x: Array, products: Array, out: Array) -> None:
    panels = np.empty((products.shape[0] // LANES, x.shape[2] * LANES), x.dtype)
    for image in range(x.shape[0]):
        euclidean(x[image], panels, products, out[image])


@compiled()
def _images(
    x: Array,
    merges: Array,
    labels: Array,
    finite: Array,
    dist: Array,
    bits: Array,
    top: Any,
    single: bool,
    average: bool,
    many: bool,
    precomputed: bool,
) -> None:
    """One image after the other in the same memory: what is fresh costs more than the product."""
    tokens = x.shape[1]
    panels = np.empty((0 if precomputed else dist.shape[0] // LANES, x.shape[2] * LANES), x.dtype)
    died, into, root, number = np.empty((4, tokens), np.uint32)
    died, into, height = died[1:], into[1:], np.empty(tokens - 1, bits.dtype)
    for image in range(x.shape[0]):
        finite[image] = given(x[image], dist) if precomputed else cosine(x[image], panels, dist)
        if not finite[image]:
            continue
        if merges[image] == 0:
            labels[image] = np.arange(tokens)
            continue
        if single:
            prim(bits, top, died, into, height)
        elif many:
            deferred.chain(dist, bits, top, average, died, into, height)
        else:
            chain(dist, bits, top, average, died, into, height)
        cut(died, into, height, merges[image], root, number, labels[image])


@compiled()
def cut(died: Array, into: Array, height: Array, merges: int, root: Array, number: Array, labels: Array) -> None:
    """Carry out the first `merges` of the merges by (rank, order found) and write labels (N,) by first member.

    root and number (N,) are scratch. No union-find: a cluster dies into one that dies later, or never.
    """
    tokens = labels.shape[0]
    limit = np.partition(height, merges - 1)[merges - 1]
    equal = merges - (height < limit).sum()
    for step in range(tokens - 1):
        equal -= height[step] == limit
        if height[step] > limit or (height[step] == limit and equal < 0):
            into[step] = died[step]
    for token in range(tokens):
        root[token], number[token] = token, tokens
    for step in range(tokens - 2, -1, -1):
        root[died[step]] = root[into[step]]
    clusters = 0
    for token in range(tokens):
        if number[root[token]] == tokens:
            number[root[token]] = clusters
            clusters += 1
        labels[token] = number[root[token]]
