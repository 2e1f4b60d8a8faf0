"""Cosine distances of one image's tokens, compiled.

Written out, and not left to a BLAS: a BLAS would start threads of its own in each thread of a pool over images, it
follows another setting than torch's, and it computes both halves of a symmetric matrix.

Shapes: N tokens, D channels, W the row length of the distances (at least N, see `row_length`).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

PANEL = 32  # tokens whose products are summed at once; 4 x 32 sums stay in the nearest cache


def row_length(tokens: int) -> int:
    """Entries in a row of distances: whole panels, but no multiple of 4 KiB, where a column would share a cache set."""
    panels = -(-tokens // PANEL)
    return PANEL * (panels + (panels % 16 == 0))


@njit(cache=True, nogil=True)
def _pack(rows: Array, panels: Array) -> None:
    tokens, channels = rows.shape
    for p in range(panels.shape[0]):
        panel = panels[p]
        for c in range(channels):
            for j in range(PANEL):
                panel[c * PANEL + j] = rows[min(p * PANEL + j, tokens - 1), c]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_products(sums: Array, a: Array, b: Array, c: Array, d: Array, panel: Array) -> None:
    sums[:] = 0
    for k in range(0, a.shape[0], 4):  # four rows by four channels: enough work for each sum that is loaded
        q = panel[k * PANEL : (k + 4) * PANEL]
        a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
        b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
        c0, c1, c2, c3 = c[k], c[k + 1], c[k + 2], c[k + 3]
        d0, d1, d2, d3 = d[k], d[k + 1], d[k + 2], d[k + 3]
        for j in range(PANEL):
            j1, j2, j3 = PANEL + j, 2 * PANEL + j, 3 * PANEL + j
            sums[j] = sums[j] + a0 * q[j] + a1 * q[j1] + a2 * q[j2] + a3 * q[j3]
            sums[j1] = sums[j1] + b0 * q[j] + b1 * q[j1] + b2 * q[j2] + b3 * q[j3]
            sums[j2] = sums[j2] + c0 * q[j] + c1 * q[j1] + c2 * q[j2] + c3 * q[j3]
            sums[j3] = sums[j3] + d0 * q[j] + d1 * q[j1] + d2 * q[j2] + d3 * q[j3]


@njit(cache=True, nogil=True)
def cosine_distances(rows: Array, panels: Array, sums: Array, dist: Array) -> None:
    """Fill dist (N, W), float32 or float64, with 1 - cos of rows (N, D) float32 of length 1; infinite on the diagonal.

    In float32 throughout, and symmetric to the last bit, which the chain relies on: one half is a copy of the other.
    D is a multiple of 4; panels (W / PANEL, D * PANEL) and sums (4 * PANEL,) are float32 scratch.
    """
    tokens = rows.shape[0]
    last = tokens - 1
    _pack(rows, panels)
    for p in range(-(-tokens // PANEL)):
        left, right = p * PANEL, min(tokens, (p + 1) * PANEL)
        for i in range(0, right, 4):
            b, c, d = rows[min(i + 1, last)], rows[min(i + 2, last)], rows[min(i + 3, last)]
            _add_products(sums, rows[i], b, c, d, panels[p])
            for r in range(min(4, tokens - i)):
                for j in range(PANEL):
                    dist[i + r, left + j] = np.float32(1) - sums[r * PANEL + j]
        for i in range(left, right):  # copied while this panel is in the cache
            for j in range(i):
                dist[i, j] = dist[j, i]
            dist[i, i] = np.inf
