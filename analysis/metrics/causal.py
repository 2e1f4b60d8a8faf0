"""Do the patches matter that a method keeps? Areas below the curves of `tokenlens swap --curves`.

Shapes: `...` leading axes (image), K points of a curve: how probable a class is to the model, beside the share of the
patches that it is shown, 0 to 1, in any order; the last point is where all are shown.
Insertion shows the model the kept patches alone, deletion the others alone, each at every stage: the more of what the
class rests on is kept, the higher the one and the lower the other.
Source: Petsiuk, Das & Saenko, BMVC 2018, arXiv:1806.07421. Departs: there pixels go one by one, from all to none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .base import metric
from .shapes import Values


@metric("insertion_auc", of="insertion", swap=None, label="insertion area")
def insertion_auc(height: ArrayLike, shown: ArrayLike) -> Values:
    """Mean probability of the class over the shares that insertion shows, up to all patches, in 0..1."""
    return area(height, shown)


@metric("deletion_auc", of="deletion", swap=None, direction="distance", label="deletion area")
def deletion_auc(height: ArrayLike, shown: ArrayLike) -> Values:
    """Mean probability of the class over the shares that deletion shows, up to all patches, in 0..1."""
    return area(height, shown)


def area(height: ArrayLike, shown: ArrayLike) -> Values:
    """The mean height of curves over the shares that they span: (..., K) x (..., K) -> (...) float64.

    NaN where a height is; that of the last point where all points are at one share.

    Examples:
        >>> area(np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.0, 1.0]))
        array(0.75)
    """
    up, at = np.broadcast_arrays(np.asarray(height, dtype=np.float64), np.asarray(shown, dtype=np.float64))
    order = np.argsort(at, axis=-1, kind="stable")
    along, risen = (np.take_along_axis(one, order, axis=-1) for one in (at, up))
    width = along[..., -1] - along[..., 0]
    mean = np.trapezoid(risen, along, axis=-1) / np.where(width > 0, width, 1)
    return np.asarray(np.where(width > 0, mean, up[..., -1]))
