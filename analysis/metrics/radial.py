"""How central a pattern is: rank correlation of depth with the distance of each patch from the image's centre.

Shapes: `...` leading axes, P patches. Negative: patches near the centre are kept longer.
The three distances are those of the fixed radial patterns l1, l2 and linf of the study (Haurum et al., 2023, 4.1), on
patch centres measured from the middle of the grid. Departs: the study scales its grid; ranks do not see that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import ranks
from .base import metric
from .shapes import Maps, Values

NORMS = ("l1", "l2", "linf")


def distance(row: ArrayLike, column: ArrayLike, norm: str) -> Maps:
    """Distance of patches from the middle of the grid, in patches: rows (P,) and columns (P,) -> (P,) float64."""
    row, column = (np.asarray(x, dtype=np.float64) for x in (row, column))
    down, right = (np.abs(x - (x.min() + x.max()) / 2) for x in (row, column))
    return {"l1": down + right, "l2": np.hypot(down, right), "linf": np.maximum(down, right)}[norm]


def spearman(depth: ArrayLike, away: ArrayLike) -> Values:
    """Spearman correlation of depth maps with `distance`: (..., P) x (..., P) -> (...) float64 in -1..1."""
    return ranks.spearman(depth, _tied(away))


def kendall(depth: ArrayLike, away: ArrayLike) -> Values:
    """Kendall's tau-b of depth maps with `distance`: (..., P) x (..., P) -> (...) in -1..1."""
    depth, away = np.asarray(depth), _tied(away)
    if depth.dtype.kind not in "iu":
        return ranks.kendall(depth, away)
    few = (np.searchsorted(np.unique(x), x).astype(np.int32) for x in (depth, away))  # blocks and rings
    levels, rings = np.broadcast_arrays(*few)
    flat = (x.reshape(-1, x.shape[-1]) for x in (levels, rings))
    return np.asarray(ranks.kendall_codes(*flat), dtype=np.float64).reshape(levels.shape[:-1])


def _tied(away: ArrayLike) -> Values:
    """Equal distances must tie, whatever the last bit says."""
    return np.asarray(np.round(np.asarray(away, dtype=np.float64), 9), dtype=np.float64)


def _linear(tau: float) -> float:
    """Pearson's correlation of normal values with this tau (Greiner, 1909)."""
    return math.sin(math.pi / 2 * tau)


def _tau(linear: float) -> float:
    """The tau of normal values with this correlation."""
    return math.asin(linear) * 2 / math.pi


CORRELATION: dict[str, Any] = {"range": (-1.0, 1.0), "chance": 0.0}
OF_MAP: dict[str, Any] = {"of": "heatmap", "axes": ("radial",), "noise": "shrinks", **CORRELATION}


@metric("depth_spearman", of="depth", label="ρ of depth and radius", **CORRELATION)
def depth_spearman(depth: ArrayLike, away: ArrayLike) -> Values:
    """`spearman` of each image's depths, averaged over images in tables."""
    return spearman(depth, away)


@metric("depth_kendall", of="depth", label="τ of depth and radius", **CORRELATION)
def depth_kendall(depth: ArrayLike, away: ArrayLike) -> Values:
    """`kendall` of each image's depths, averaged over images in tables."""
    return kendall(depth, away)


@metric("heatmap_spearman", label="ρ of heat map and radius", **OF_MAP)
def heatmap_spearman(heat: ArrayLike, away: ArrayLike) -> Values:
    """`spearman` of the mean depths over images."""
    return spearman(heat, away)


@metric("heatmap_kendall", label="τ of heat map and radius", as_correlation=_linear, of_correlation=_tau, **OF_MAP)
def heatmap_kendall(heat: ArrayLike, away: ArrayLike) -> Values:
    """`kendall` of the mean depths over images."""
    return kendall(heat, away)
