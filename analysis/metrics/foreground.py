"""How much of an object a pattern keeps, and how much of a pattern is object.

Shapes: `...` leading axes (image, stage) that broadcast, P patches; patterns and masks are as in `overlap`. By chance,
a random pattern of the same size keeps the same share of any object as of all patches, and an object fills the same
share of any pattern.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import metric
from .overlap import Overlap
from .shapes import Values

KEPT_OF: dict[str, Any] = {"of": "object", "shared": Overlap, "packed": True}


@metric(
    "foreground_recall", swap="foreground_precision", label="object kept",
    chance=lambda both: both.a.size / both.patches, **KEPT_OF,
)  # fmt: skip
def foreground_recall(both: Overlap) -> Values:
    """Share of the object's patches that are kept, in 0..1; NaN where the image has no object. Chance: share kept."""
    return both.share(both.b, empty=np.nan)


@metric(
    "foreground_precision", swap="foreground_recall", label="on the object",
    chance=lambda both: both.b.size / both.patches, **KEPT_OF,
)  # fmt: skip
def foreground_precision(both: Overlap) -> Values:
    """Share of the kept patches that are object, in 0..1; NaN where nothing is kept. Chance: share that is object."""
    return both.share(both.a, empty=np.nan)
