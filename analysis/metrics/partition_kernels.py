"""Compiled loops of `partition`: contingency tables, expected information, renumbering. Their slow twins are in the
tests.

Shapes: n images, P patches. a, b are int16 (n, P), labels below P, negative where dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def contingency(a: Any, b: Any, table: Any, out: Any) -> None:
    """Fill out (4, n) with the patches counted, and table[size] summed over cells, rows and columns.

    Indices are unsigned, for numba then leaves out the test for negative ones, and images that drop nothing take a loop
    without branches: together three times as fast.
    """
    n, patches = a.shape
    cells = np.zeros(patches * patches, np.uint16)  # zero again after each image: only what was touched is cleared
    rows, columns = np.zeros(patches, np.uint16), np.zeros(patches, np.uint16)
    touched = np.empty(patches, np.uint32)
    for i in range(n):
        low, high_a, high_b = np.int16(0), np.int16(0), np.int16(0)
        for j in range(patches):
            low = min(low, a[i, j] | b[i, j])
            high_a, high_b = max(high_a, a[i, j]), max(high_b, b[i, j])
        width = np.uint32(high_b) + np.uint32(1)
        if low >= 0:
            count = _count_all(a[i], b[i], width, cells, rows, columns, touched)
        else:
            count = _count_held(a[i], b[i], width, cells, rows, columns, touched)
        even, odd = 0.0, 0.0  # two sums: an addition waits for the one before
        for j in range(0, count - 1, 2):
            k = np.uint64(touched[j])
            even += table[np.uint64(cells[k])]
            cells[k] = 0
            k = np.uint64(touched[j + 1])
            odd += table[np.uint64(cells[k])]
            cells[k] = 0
        if count % 2:
            k = np.uint64(touched[count - 1])
            even += table[np.uint64(cells[k])]
            cells[k] = 0
        in_a, in_b = 0.0, 0.0
        for g in range(max(high_a, high_b) + 1 if patches else 0):
            in_a += table[np.uint64(rows[g])]
            in_b += table[np.uint64(columns[g])]
            rows[g] = 0
            columns[g] = 0
        out[0, i], out[1, i], out[2, i], out[3, i] = count, even + odd, in_a, in_b


@njit(cache=True, nogil=True)
def _count_all(a: Any, b: Any, width: Any, cells: Any, rows: Any, columns: Any, touched: Any) -> int:
    """Count an image that drops nothing, and list the cell of each patch."""
    one = np.uint16(1)
    for j in range(a.shape[0]):
        touched[j] = np.uint32(a[j]) * width + np.uint32(b[j])
    for j in range(a.shape[0]):
        cells[np.uint64(touched[j])] += one
        rows[np.uint64(a[j])] += one
        columns[np.uint64(b[j])] += one
    return a.shape[0]


@njit(cache=True, nogil=True)
def _count_held(a: Any, b: Any, width: Any, cells: Any, rows: Any, columns: Any, touched: Any) -> int:
    """Count the patches that neither partition drops, and list their cells."""
    one, count = np.uint16(1), 0
    for j in range(a.shape[0]):
        if (a[j] | b[j]) >= 0:
            touched[count] = np.uint32(a[j]) * width + np.uint32(b[j])
            cells[np.uint64(touched[count])] += one
            rows[np.uint64(a[j])] += one
            columns[np.uint64(b[j])] += one
            count += 1
    return count


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
