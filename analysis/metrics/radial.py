"""How central a pattern is: rank correlation of depth with the distance of each patch from the image's centre.

Shapes: `...` leading axes, P patches. Negative: patches near the centre are kept longer.
The three distances are those of the fixed radial patterns l1, l2 and linf of the study (Haurum et al., 2023, 4.1), on
patch centres measured from the middle of the grid. Departs: the study scales its grid; ranks do not see that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import ranks

NORMS = ("l1", "l2", "linf")
Floats = NDArray[np.float64]


def distance(row: ArrayLike, column: ArrayLike, norm: str) -> Floats:
    """Distance of patches from the middle of the grid, in patches: rows (P,) and columns (P,) -> (P,) float64."""
    row, column = (np.asarray(x, dtype=np.float64) for x in (row, column))
    down, right = (np.abs(x - (x.min() + x.max()) / 2) for x in (row, column))
    return {"l1": down + right, "l2": np.hypot(down, right), "linf": np.maximum(down, right)}[norm]


def spearman(depth: ArrayLike, away: ArrayLike) -> Floats:
    """Spearman correlation of a depth map, mean or of one image, with `distance`: (..., P) x (P,) -> (...) in -1..1."""
    return ranks.spearman(depth, np.round(np.asarray(away, dtype=np.float64), 9))


def kendall(depth: ArrayLike, away: ArrayLike) -> Floats:
    """Kendall's tau-b of a depth map with `distance`: (..., P) x (P,) -> (...) in -1..1."""
    return ranks.kendall(
        depth, np.round(np.asarray(away, dtype=np.float64), 9)
    )  # equal distances must tie, whatever the last bit says
