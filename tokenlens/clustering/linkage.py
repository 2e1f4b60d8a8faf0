"""Bottom-up clustering of one image, compiled: merges in SciPy's order, and the flat cut.

SciPy's order (scipy.cluster.hierarchy.linkage) settles ties: Prim for single linkage, the nearest-neighbour chain for
the others; the lowest token wins a tie, except that the chain prefers the token it came from. Any other order is as
right, and gives other partitions as soon as two distances are equal.

Floats are compared as integers, since the compiler vectorises an integer minimum and not a float one: the bits of a
float, with the lower ones flipped where the sign is set, sort as the float does. Such an integer is called a rank.
`top` is the greatest of its type, the rank of a token that is gone.

Shapes: N tokens, W the row length of the distances (at least N).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 16  # entries of a row that are searched at once; row lengths are multiples of it
SMALL = 64  # rows this short are not worth closing gaps for


@njit(cache=True, nogil=True)
def _order(bits: Any, top: Any) -> Any:
    return type(top)(bits ^ ((bits >> 63) & top))


@njit(cache=True, nogil=True)
def prim(bits: Array, top: Any, gone: Array, ranks: Array, merged: Array, height: Array) -> None:
    """Single linkage: write N - 1 merges of (N, W) distances (two tokens each, and their rank) in the order visited.

    bits is the distances seen as integers; gone and ranks (W,) are scratch of that type.
    """
    tokens = bits.shape[0]
    gone[:tokens] = -top - 1
    gone[tokens:] = top
    ranks[:] = top
    x = 0
    for step in range(tokens - 1):
        gone[x] = top
        row = bits[x]
        for j in range(ranks.shape[0]):  # the distance to the tree falls as it grows; what is in the tree stays out
            ranks[j] = max(min(ranks[j], _order(row[j], top)), gone[j])
        least = _least(ranks)
        y = _first(ranks, least)
        merged[step, 0], merged[step, 1], height[step] = x, y, least
        x = y


@njit(cache=True, nogil=True)
def _least(ranks: Array) -> Any:
    least = ranks[0]
    for j in range(ranks.shape[0]):
        least = min(least, ranks[j])
    return least


@njit(cache=True, nogil=True)
def _first(ranks: Array, least: Any) -> int:
    for left in range(0, ranks.shape[0], BLOCK):
        block = ranks[left : left + BLOCK]
        if _least(block) == least:
            for j in range(BLOCK):
                if block[j] == least:
                    return left + j
    return 0


@njit(cache=True, nogil=True)
def _rank(row: Array, top: Any, gone: Array, ranks: Array) -> Any:
    least = top
    for j in range(ranks.shape[0]):
        rank = max(_order(row[j], top), gone[j])
        ranks[j] = rank
        least = min(least, rank)
    return least


@njit(cache=True, nogil=True)
def _join(dist: Array, x: int, y: int, size: Array, average: bool) -> None:
    into, other = dist[y], dist[x]
    if average:
        nx, ny = float(size[x]), float(size[y])
        for j in range(into.shape[0]):
            into[j] = (nx * other[j] + ny * into[j]) / (nx + ny)
    else:
        for j in range(into.shape[0]):
            into[j] = into[j] if into[j] > other[j] else other[j]
    into[y] = np.inf
    for j in range(dist.shape[0]):
        dist[j, y] = into[j]
    size[y] += size[x]
    size[x] = 0


@njit(cache=True, nogil=True)
def _compact(dist: Array, gone: Array, top: Any, name: Array, size: Array, path: Array, length: int) -> int:
    """Close the gaps that merges left, in order, so that rows get shorter; returns the clusters that are left."""
    alive = 0
    for i in range(dist.shape[0]):
        if size[i] > 0:
            row, to, column = dist[i], dist[alive], 0
            for j in range(dist.shape[0]):
                if size[j] > 0:
                    to[column] = row[j]
                    column += 1
            for k in range(length):
                if path[k] == i:
                    path[k] = alive
            name[alive] = name[i]
            alive += 1
    live = 0
    for i in range(dist.shape[0]):
        if size[i] > 0:
            size[live] = size[i]
            live += 1
    gone[:alive] = -top - 1
    gone[alive:] = top
    return alive


@njit(cache=True, nogil=True)
def chain(
    dist: Array,
    bits: Array,
    top: Any,
    average: bool,
    gone: Array,
    ranks: Array,
    name: Array,
    size: Array,
    path: Array,
    merged: Array,
    height: Array,
) -> None:
    """Complete or average linkage: write N - 1 merges of (N, W) distances (two tokens each, and their rank) as found.

    dist is overwritten and bits is dist seen as integers; gone and ranks (W,) of that type and name, size and path (N,)
    int64 are scratch.
    """
    tokens = dist.shape[0]
    gone[:tokens] = -top - 1
    gone[tokens:] = top
    name[:] = np.arange(tokens)
    size[:] = 1
    rows, length, start = tokens, 0, 0
    for step in range(tokens - 1):
        if rows > SMALL and 2 * (tokens - step) <= rows:
            rows, start = _compact(dist[:rows], gone, top, name, size, path, length), 0
        width = -(-rows // BLOCK) * BLOCK
        if length == 0:
            while size[start] == 0:
                start += 1
            path[0], length = start, 1
        while True:  # walk to ever nearer neighbours until two are each other's nearest
            x = path[length - 1]
            least = _rank(bits[x], top, gone, ranks[:width])
            if length > 1 and ranks[path[length - 2]] == least:
                break
            path[length] = _first(ranks[:width], least)
            length += 1
        y = path[length - 2]
        length -= 2
        x, y = min(x, y), max(x, y)
        merged[step, 0], merged[step, 1], height[step] = name[x], name[y], least
        gone[x] = top
        _join(dist[:rows, :width], x, y, size, average)


@njit(cache=True, nogil=True)
def _root(parent: Array, token: int) -> int:
    while parent[token] != token:
        parent[token] = parent[parent[token]]
        token = parent[token]
    return token


@njit(cache=True, nogil=True)
def cut(merged: Array, height: Array, limit: int, merges: int, parent: Array, labels: Array) -> None:
    """Carry out the first `merges` of the merges by (rank, order found) and write labels (N,) by first occurrence.

    limit is the rank of the last of them; parent (N,) int64 is scratch.
    """
    equal = merges
    for step in range(height.shape[0]):
        if height[step] < limit:
            equal -= 1
    parent[:] = np.arange(parent.shape[0])
    for step in range(height.shape[0]):
        if height[step] < limit or (height[step] == limit and equal > 0):
            if height[step] == limit:
                equal -= 1
            a, b = _root(parent, merged[step, 0]), _root(parent, merged[step, 1])
            parent[max(a, b)] = min(a, b)  # a root is the first token of its cluster
    clusters = 0
    for token in range(labels.shape[0]):
        root = _root(parent, token)
        if root == token:
            labels[token] = clusters
            clusters += 1
        else:
            labels[token] = labels[root]
