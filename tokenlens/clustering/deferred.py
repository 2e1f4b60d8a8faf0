"""Complete and average linkage of many tokens, compiled: the chain of `linkage`, whose columns wait.

A merge changes a column of the matrix, a line of memory for each number, which is most of the chain's time where the
matrix outgrows the caches. Here it is written down, and a row catches up when the chain comes to it. The numbers follow
by the same formula in the same order, so that merges are those of `linkage.chain` to the bit, ties included.

Shapes: N tokens, W the row length of the distances (`distance.matrix_shape`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distance import STRIDE
from .linkage import SMALL, close_gaps, join, living, order
from .machine_code import compiled

Array = NDArray[Any]

LINE = 8  # numbers of a line of memory, of the widest type
FEW = 16  # merges, for which a row is not worth reading ahead


@compiled()
def _least(row: Array, top: Any) -> Any:
    least = top
    for j in range(row.shape[0]):
        least = min(least, order(row[j], top))
    return least


@compiled()
def _first(row: Array, value: Any, top: Any) -> Any:
    """The first place of a value."""
    found = top
    for j in range(row.shape[0]):
        found = min(found, type(top)(j) if row[j] == value else top)
    return found


@compiled()
def _catch_up(row: Array, log: Any, since: int, until: int, average: bool, read: Array) -> None:
    """Carry out on a row what was merged from `since` to `until`.

    log is who went (N), into whom (N), and how many tokens were in each (N); read (1) is scratch, without which the
    compiler would not read ahead at all.
    """
    gone, into, of_gone, of_into = log
    if until - since > FEW:  # in its own order memory hands over several times as fast as in that of the merges
        for j in range(0, row.shape[0], LINE):
            read[0] += row[j]
    if average:
        for step in range(since, until):
            x, y, nx, ny = gone[step], into[step], of_gone[step], of_into[step]
            row[y] = (nx * row[x] + ny * row[y]) / (nx + ny)
            row[x] = np.inf
    else:
        for step in range(since, until):
            x, y = gone[step], into[step]
            row[y] = max(row[x], row[y])
            row[x] = np.inf


@compiled()
def chain(dist: Array, bits: Array, top: Any, average: bool, died: Array, into: Array, height: Array) -> None:
    """As `linkage.chain`."""
    tokens, width = died.shape[0] + 1, bits.shape[1]
    name, size, path, alive = np.empty((4, tokens), np.uint32)
    name[:], size[:] = np.arange(tokens), 1
    log = np.empty(tokens, np.uint32), np.empty(tokens, np.uint32), np.empty(tokens), np.empty(tokens)
    seen, logged, read = np.zeros(tokens, np.int64), 0, np.zeros(1, dist.dtype)
    rows, length, start = tokens, 0, np.uint32(0)
    for step in range(tokens - 1):
        if rows > SMALL and 2 * (tokens - step) <= rows:
            rows, start = living(size, rows, alive, path, length), np.uint32(0)
            for a in range(rows):
                i = alive[a]
                _catch_up(dist[i][:width], log, seen[i], logged, average, read)
                close_gaps(dist[i], dist[a], alive, rows)
                name[a], size[a] = name[i], size[i]
            width = -(-rows // STRIDE) * STRIDE
            for a in range(rows):
                dist[a][rows:width] = np.inf
            seen[:rows], logged = 0, 0
        if length == 0:
            while size[start] == 0:
                start += np.uint32(1)
            path[0], length = start, 1
        while True:  # walk to ever nearer neighbours until two are each other's nearest
            x = path[length - 1]
            _catch_up(dist[x][:width], log, seen[x], logged, average, read)
            seen[x] = logged
            least = _least(bits[x][:width], top)
            value = order(least, top)
            if length > 1 and bits[x, path[length - 2]] == value:
                break
            path[length] = _first(bits[x][:width], value, top)
            length += 1
        y = path[length - 2]
        length -= 2
        _catch_up(dist[y][:width], log, seen[y], logged, average, read)
        x, y = min(x, y), max(x, y)
        died[step], into[step], height[step] = name[x], name[y], least
        join(dist[y][:width], dist[x][:width], float(size[y]), float(size[x]), average)
        dist[y, y] = np.inf
        log[0][logged], log[1][logged], log[2][logged], log[3][logged] = x, y, size[x], size[y]
        logged += 1
        seen[y] = logged
        size[y] += size[x]
        size[x] = 0
