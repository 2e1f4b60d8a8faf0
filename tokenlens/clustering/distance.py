"""The distances of one image's tokens, compiled.

Written out, and not left to a BLAS: a BLAS would start threads of its own in each thread of a pool over images, it
follows another setting than torch's, and it computes both halves of a symmetric matrix.

The matrix has spare rows and columns, so that no loop has a ragged end; they hold `far`, like the diagonal.
Shapes: N tokens, D channels, W the row length (at least N, see `matrix_shape`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .machine_code import compiled
from .vector_instructions import LANES, ROWS, distance_tile, transposed_tile

Array = NDArray[Any]

STRIDE = 2 * LANES  # the vectors of one turn of the compiled row loops


def matrix_shape(tokens: int) -> tuple[int, int]:
    """Rows in whole panels, and a row length that is no multiple of 2 KiB: columns would share a few cache sets."""
    columns = -(-tokens // STRIDE)
    return -(-tokens // LANES) * LANES, STRIDE * (columns + (columns % 16 == 0))


@compiled(fastmath={"reassoc", "contract"})
def _squared_length(row: Array) -> Any:
    total = row[0] * row[0]
    for c in range(1, row.shape[0]):
        total += row[c] * row[c]
    return total


@compiled()
def _pack(x: Array, scale: Array, panels: Array) -> None:
    """Put x (N, D), each token times its scale (P * LANES; 0 for what is no token), into panels (P, D * LANES)."""
    tokens, channels = x.shape
    flat, size = panels.reshape(-1), channels * LANES
    for p in range(panels.shape[0]):
        whole = channels // LANES * LANES if (p + 1) * LANES <= tokens else 0
        for c in range(0, whole, LANES):
            transposed_tile(x, p * LANES, c, scale, flat, p * size + c * LANES)  # type: ignore[call-arg]
        for j in range(LANES):
            i = p * LANES + j
            row, factor = x[min(i, tokens - 1)], scale[i]
            for c in range(whole, channels):
                panels[p, c * LANES + j] = row[c] * factor


@compiled()
def _unit(x: Array, scale: Array) -> bool:
    """Put what makes tokens unit vectors into scale; False if a length is not finite."""
    tiny, finite = np.finfo(x.dtype).tiny, True
    scale[:] = 0
    for i in range(x.shape[0]):
        squared = _squared_length(x[i])
        finite &= np.isfinite(squared)
        scale[i] = 1 / max(np.sqrt(squared), tiny)
    return finite


@compiled()
def _mirror(dist: Array, q: int, p: int) -> None:
    """Copy the block of panels q, p (q < p) below the diagonal."""
    for j in range(p * LANES, (p + 1) * LANES):
        row = dist[j]
        for i in range(q * LANES, (q + 1) * LANES):
            row[i] = dist[i, j]


@compiled()
def _products(panels: Array, origin: Any, dist: Array) -> None:
    """Fill dist (`matrix_shape`) with origin - a·b of panels (P, D * LANES), symmetric to the last bit."""
    flat, size = panels.reshape(-1), panels.shape[1]
    channels = size // LANES
    for p in range(panels.shape[0]):
        for q in range(p + 1):
            for r in range(0, LANES, ROWS):
                distance_tile(  # type: ignore[call-arg]
                    flat, q * size + r, p * size, channels, origin, dist, q * LANES + r, p * LANES
                )


@compiled()
def _frame(dist: Array, tokens: int) -> None:
    for i in range(tokens):
        row = dist[i]
        row[i] = np.inf
        row[tokens:] = np.inf


@compiled()
def cosine(x: Array, panels: Array, dist: Array) -> bool:
    """Fill dist (`matrix_shape`) with 1 - cos of x (N, D); False if a value is not finite or overflows when squared.

    Products are summed in the type of x, and the matrix is symmetric to the last bit, which the chain relies on. A
    token of length 0 is 1 away from any other. panels (P, D * LANES) is scratch of the type of x.
    """
    tokens, scale = x.shape[0], np.empty(dist.shape[0], x.dtype)
    finite = _unit(x, scale)
    _pack(x, scale, panels)
    _products(panels, x.dtype.type(1), dist)
    _frame(dist, tokens)
    return finite


@compiled()
def _roots(row: Array, own: Any, square: Array, out: Array) -> None:
    zero = own * 0
    for j in range(out.shape[0]):
        out[j] = np.sqrt(max(own + square[j] + row[j] + row[j], zero))


@compiled()
def euclidean(x: Array, panels: Array, products: Array, out: Array) -> None:
    """Fill out (N, N) with the Euclidean distances of x (N, D), 0 on the diagonal, symmetric to the last bit.

    panels as in `cosine` and products (`matrix_shape`), of the type of x, are scratch.
    """
    tokens = x.shape[0]
    scale = np.zeros(products.shape[0], x.dtype)
    scale[:tokens] = 1
    _pack(x, scale, panels)
    _products(panels, x.dtype.type(0), products)
    square = np.empty(tokens, x.dtype)
    for i in range(tokens):
        square[i] = -products[i, i]
    for i in range(tokens):
        _roots(products[i], square[i], square, out[i])


@compiled(fastmath={"reassoc"})
def _finite(row: Array) -> bool:
    total = row[0] * 0
    for j in range(row.shape[0]):
        total += row[j] * 0  # not a number from infinity on
    return total == 0


@compiled()
def _copy(row: Array, out: Array) -> None:
    zero = out.dtype.type(0)
    for j in range(row.shape[0]):
        out[j] = row[j] + zero  # -0 becomes 0, or they would not tie


@compiled()
def given(x: Array, dist: Array) -> bool:
    """Fill dist (`matrix_shape`) with what stands above the diagonal of x (N, N); False if a value is not finite."""
    tokens, finite = x.shape[0], True
    for i in range(tokens):
        _copy(x[i][i:], dist[i][i:])
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
