"""Compiled loops of `partition`: contingency tables, expected information, renumbering. Their slow twins are in the
tests.

Shapes: n images, P patches. a, b are int16 (n, P), labels below P, negative where dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def contingency(a: Any, b: Any, groups_a: int, groups_b: int, table: Any, out: Any) -> None:
    """Fill out (4, n) with the patches counted, and table[size] summed over cells, rows and columns."""
    # indices are unsigned: numba then leaves out the test for negative ones, and the loop is twice as fast
    n, patches = a.shape
    cells = np.zeros(groups_a * groups_b, np.uint16)  # zero again after each image: only what was touched is cleared
    rows, columns = np.zeros(groups_a, np.uint16), np.zeros(groups_b, np.uint16)
    touched = np.empty(patches, np.uint32)
    one, width = np.uint16(1), np.uint64(groups_b)
    for i in range(n):
        count = 0
        for j in range(patches):
            if (a[i, j] | b[i, j]) >= 0:
                x, y = np.uint64(a[i, j]), np.uint64(b[i, j])
                touched[count] = x * width + y
                count += 1
                cells[x * width + y] += one
                rows[x] += one
                columns[y] += one
        both, in_a, in_b = 0.0, 0.0, 0.0
        for j in range(count):
            k = np.uint64(touched[j])
            both += table[np.uint64(cells[k])]
            cells[k] = 0
        for g in range(groups_a):
            in_a += table[np.uint64(rows[g])]
            rows[g] = 0
        for g in range(groups_b):
            in_b += table[np.uint64(columns[g])]
            columns[g] = 0
        out[0, i], out[1, i], out[2, i], out[3, i] = count, both, in_a, in_b


@njit(cache=True, nogil=True)
def _term(x: int, y: int, count: int, f: Any) -> float:
    """What a group of x and a group of y patches out of `count` add to the expected information."""
    total = 0.0
    fixed = f[x] + f[y] + f[count - x] + f[count - y] - f[count]
    for n in range(max(1, x + y - count), min(x, y) + 1):
        log_p = fixed - f[n] - f[x - n] - f[y - n] - f[count - x - y + n]
        total += n / count * np.log(count * n / (x * y)) * np.exp(log_p)
    return total


@njit(cache=True, nogil=True)
def expected(a: Any, b: Any, log_factorial: Any, memo: Any) -> Any:
    """Expected mutual information, (n,); `memo` (P + 1, P + 1) remembers terms of images that drop nothing."""
    n, patches = a.shape
    out = np.empty(n)
    rows, columns = np.zeros(patches, np.int64), np.zeros(patches, np.int64)
    many_a, many_b = np.zeros(patches + 1, np.int64), np.zeros(patches + 1, np.int64)
    sizes_a, sizes_b = np.empty(patches, np.int64), np.empty(patches, np.int64)
    for i in range(n):
        count = 0
        for j in range(patches):
            if a[i, j] >= 0 and b[i, j] >= 0:
                rows[a[i, j]] += 1
                columns[b[i, j]] += 1
                count += 1
        kinds_a = _histogram(rows, many_a, sizes_a)
        kinds_b = _histogram(columns, many_b, sizes_b)
        total = 0.0
        for p in range(kinds_a):  # groups of the same size share their term
            for q in range(kinds_b):
                x, y = sizes_a[p], sizes_b[q]
                if count != patches or memo.shape[0] == 0:
                    term = _term(x, y, count, log_factorial)
                else:
                    if np.isnan(memo[x, y]):
                        memo[x, y] = _term(x, y, count, log_factorial)
                    term = memo[x, y]
                total += many_a[x] * many_b[y] * term
        many_a[:] = 0
        many_b[:] = 0
        out[i] = total
    return out


@njit(cache=True, nogil=True)
def _histogram(counts: Any, many: Any, sizes: Any) -> int:
    """Count how many groups have each size, list the sizes that occur, and clear `counts`."""
    kinds = 0
    for j in range(counts.shape[0]):
        size = counts[j]
        if size:
            if many[size] == 0:
                sizes[kinds] = size
                kinds += 1
            many[size] += 1
            counts[j] = 0
    return kinds


@njit(cache=True, nogil=True)
def canonical(labels: Any, out: Any) -> None:
    """Renumber by first occurrence into out (n, P) int16; one pass over the groups known so far a patch."""
    patches = labels.shape[1]
    first = np.empty(patches, labels.dtype)
    for i in range(labels.shape[0]):
        known = 0
        for j in range(patches):
            label = labels[i, j]
            if label < 0:
                out[i, j] = -1
                continue
            k = 0
            while k < known and first[k] != label:
                k += 1
            if k == known:
                first[known] = label
                known += 1
            out[i, j] = k
