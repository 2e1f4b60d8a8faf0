"""The distances of one image's tokens, compiled.

Written out, and not left to a BLAS: a BLAS would start threads of its own in each thread of a pool over images, it
follows another setting than torch's, and it computes both halves of a symmetric matrix.

The matrix has spare rows and columns, so that no loop has a ragged end; they hold `far`, like the diagonal.
Shapes: N tokens, D channels, W the row length (at least N, see `matrix_shape`).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .tile import LANES, ROWS, distance_tile

Array = NDArray[Any]

STRIDE = 2 * LANES  # the vectors of one turn of the compiled row loops


def matrix_shape(tokens: int) -> tuple[int, int]:
    """Rows in whole panels, and a row length that is no multiple of 2 KiB: columns would share a few cache sets."""
    columns = -(-tokens // STRIDE)
    return -(-tokens // LANES) * LANES, STRIDE * (columns + (columns % 16 == 0))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _squared_length(row: Array) -> Any:
    total = row[0] * row[0]
    for c in range(1, row.shape[0]):
        total += row[c] * row[c]
    return total


@njit(cache=True, nogil=True)
def _pack(x: Array, panels: Array) -> bool:
    """Unit vectors of x (N, D) into panels (P, D * LANES); False if a length is not finite."""
    tokens, channels = x.shape
    tiny = np.finfo(x.dtype).tiny
    finite = True
    for p in range(panels.shape[0]):
        panel = panels[p]
        for j in range(LANES):
            i = p * LANES + j
            if i < tokens:
                row = x[i]
                squared = _squared_length(row)
                finite &= np.isfinite(squared)
                scale = 1 / max(np.sqrt(squared), tiny)
                for c in range(channels):
                    panel[c * LANES + j] = row[c] * scale
            else:
                for c in range(channels):
                    panel[c * LANES + j] = 0
    return finite


@njit(cache=True, nogil=True)
def _mirror(dist: Array, q: int, p: int) -> None:
    """Copy the block of panels q, p (q < p) below the diagonal."""
    for j in range(p * LANES, (p + 1) * LANES):
        row = dist[j]
        for i in range(q * LANES, (q + 1) * LANES):
            row[i] = dist[i, j]


@njit(cache=True, nogil=True)
def _frame(dist: Array, tokens: int) -> None:
    for i in range(tokens):
        dist[i, i] = np.inf
        for j in range(tokens, dist.shape[1]):
            dist[i, j] = np.inf


@njit(cache=True, nogil=True)
def cosine(x: Array, panels: Array, dist: Array) -> bool:
    """Fill dist (`matrix_shape`) with 1 - cos of x (N, D); False if a value is not finite or overflows when squared.

    Products are summed in the type of x, and the matrix is symmetric to the last bit, which the chain relies on. A
    token of length 0 is 1 away from any other. panels (P, D * LANES) is scratch of the type of x.
    """
    tokens, channels = x.shape
    finite = _pack(x, panels)
    flat, size = panels.reshape(-1), channels * LANES
    for p in range(panels.shape[0]):
        for q in range(p + 1):
            for r in range(0, LANES, ROWS):
                distance_tile(  # type: ignore[call-arg]
                    flat, q * size + r, p * size, channels, dist, q * LANES + r, p * LANES
                )
            if q < p:
                _mirror(dist, q, p)
    _frame(dist, tokens)
    return finite


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _finite(row: Array) -> bool:
    total = row[0] * 0
    for j in range(row.shape[0]):
        total += row[j] * 0  # not a number from infinity on
    return total == 0


@njit(cache=True, nogil=True)
def _copy(row: Array, out: Array) -> None:
    zero = out.dtype.type(0)
    for j in range(row.shape[0]):
        out[j] = row[j] + zero  # -0 becomes 0, or they would not tie


@njit(cache=True, nogil=True)
def given(x: Array, dist: Array) -> bool:
    """Fill dist (`matrix_shape`) with what stands above the diagonal of x (N, N); False if a value is not finite."""
    tokens, finite = x.shape[0], True
    for i in range(tokens):
        _copy(x[i], dist[i])
        if i + 1 < tokens:
            finite &= _finite(x[i][i + 1 :])
    for p in range(dist.shape[0] // LANES):
        for q in range(p):
            _mirror(dist, q, p)
        for j in range(p * LANES, (p + 1) * LANES):
            for i in range(p * LANES, j):
                dist[j, i] = dist[i, j]
    _frame(dist, tokens)
    return finite
