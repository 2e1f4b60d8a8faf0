"""Bottom-up clustering of one image, compiled: merges in SciPy's order.

SciPy's order (scipy.cluster.hierarchy.linkage) settles ties: Prim for single linkage, the nearest-neighbour chain for
the others; the lowest token wins a tie, except that the chain prefers the token it came from. Any other order is as
right, and gives other partitions as soon as two distances are equal.

Floats are compared as integers, since the compiler vectorises an integer minimum and not a float one: the bits of a
float, with the lower ones flipped where the sign is set, sort as the float does. Such an integer is called a rank.
`top` is the greatest of its type, the rank of a token that is gone. For the same reason the nearest token is found in
two passes without an early end: first the least rank, then the first place that has it.

Indices are unsigned, which spares the compiled code a look for negative ones. Slices are of rows, never of matrices,
whose rows would no longer be known to be contiguous; and arrays that one loop writes and reads are no parts of one.

A merge is `died` (the token whose cluster ceases to be), `into` (a token of the cluster that it goes into) and a rank.
Shapes: N tokens, W the row length of the distances (`distance.matrix_shape`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distance import STRIDE
from .machine_code import compiled

Array = NDArray[Any]

SMALL = 64  # rows this short are not worth closing gaps for


@compiled()
def order(bits: Any, top: Any) -> Any:
    """The rank of a float's bits, and the bits of a rank."""
    return type(top)(bits ^ ((bits >> 63) & top))


@compiled()
def _begin(gone: Array, place: Array, tokens: int, top: Any) -> None:
    """Fill gone (W,), the least rank a token may have, and place (W,), the token itself; top for both if gone."""
    for j in range(gone.shape[0]):
        gone[j] = -top - 1 if j < tokens else top
        place[j] = j if j < tokens else top


@compiled()
def _first(row: Array, value: Any, place: Array, top: Any) -> Any:
    """The first token that is not gone and has the value."""
    found = top
    for j in range(row.shape[0]):
        found = min(found, place[j] if row[j] == value else top)
    return found


@compiled()
def _least(row: Array, gone: Array, top: Any) -> Any:
    least = top
    for j in range(row.shape[0]):
        least = min(least, max(order(row[j], top), gone[j]))
    return least


@compiled()
def prim(bits: Array, top: Any, died: Array, into: Array, height: Array) -> None:
    """Single linkage: write N - 1 merges as the tree grows; bits is the distances seen as integers."""
    tokens, width = died.shape[0] + 1, bits.shape[1]
    gone, place, ranks = np.empty(width, bits.dtype), np.empty(width, bits.dtype), np.empty_like(bits[0])
    _begin(gone, place, tokens, top)
    ranks[:] = top
    x = np.uint32(0)
    for step in range(tokens - 1):
        gone[x], place[x] = top, top
        row, least = bits[x], top
        for j in range(width):  # the distance to the tree falls as it grows; what is in the tree stays out
            rank = max(min(ranks[j], order(row[j], top)), gone[j])
            ranks[j] = rank
            least = min(least, rank)
        y = np.uint32(_first(ranks, least, place, top))
        died[step], into[step], height[step] = x, y, least
        x = y


@compiled()
def join(into: Array, other: Array, of_into: float, of_other: float, average: bool) -> None:
    """Make a row the distances of both clusters, of so many tokens; means by the same formula as SciPy's."""
    if average:
        both = of_other + of_into
        if both in (2.0, 4.0, 8.0):  # exact, and half the time of the division
            share = 1 / both
            for j in range(into.shape[0]):
                into[j] = (of_other * other[j] + of_into * into[j]) * share
        else:
            for j in range(into.shape[0]):
                into[j] = (of_other * other[j] + of_into * into[j]) / both
    else:
        for j in range(into.shape[0]):
            into[j] = other[j] if other[j] > into[j] else into[j]


@compiled()
def living(size: Array, rows: int, alive: Array, path: Array, length: int) -> int:
    """Write the rows that are left into alive, and what they will be called into path; returns how many there are."""
    count = 0
    for i in range(rows):
        if size[i] > 0:
            alive[count] = i
            for k in range(length):
                if path[k] == i:
                    path[k] = count
            count += 1
    return count


@compiled()
def close_gaps(row: Array, to: Array, alive: Array, count: int) -> None:
    """Write those entries of a row that are left, in order, so that rows get shorter."""
    for b in range(count):
        to[b] = row[alive[b]]


@compiled()
def chain(dist: Array, bits: Array, top: Any, average: bool, died: Array, into: Array, height: Array) -> None:
    """Complete or average linkage: write N - 1 merges as found; dist is overwritten, bits is dist seen as integers."""
    tokens, width = died.shape[0] + 1, bits.shape[1]
    gone, place = np.empty(width, bits.dtype), np.empty(width, bits.dtype)
    name, size, path, alive = np.empty((4, tokens), np.uint32)
    name[:], size[:] = np.arange(tokens), 1
    _begin(gone, place, tokens, top)
    rows, length, start = tokens, 0, np.uint32(0)
    for step in range(tokens - 1):
        if rows > SMALL and 2 * (tokens - step) <= rows:
            rows, start = living(size, rows, alive, path, length), np.uint32(0)
            for a in range(rows):
                close_gaps(dist[alive[a]], dist[a], alive, rows)
                name[a], size[a] = name[alive[a]], size[alive[a]]
            width = -(-rows // STRIDE) * STRIDE
            _begin(gone, place, rows, top)
        if length == 0:
            while size[start] == 0:
                start += np.uint32(1)
            path[0], length = start, 1
        while True:  # walk to ever nearer neighbours until two are each other's nearest
            x = path[length - 1]
            least = _least(bits[x][:width], gone[:width], top)
            value = order(least, top)
            if length > 1 and bits[x, path[length - 2]] == value:
                break
            path[length] = _first(bits[x][:width], value, place[:width], top)
            length += 1
        y = path[length - 2]
        length -= 2
        x, y = min(x, y), max(x, y)
        died[step], into[step], height[step] = name[x], name[y], least
        gone[x], place[x] = top, top
        row = dist[y][:width]
        join(row, dist[x][:width], float(size[y]), float(size[x]), average)
        row[y] = np.inf
        for j in range(rows):
            dist[j, y] = row[j]
        size[y] += size[x]
        size[x] = 0
