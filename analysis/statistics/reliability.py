"""How much of what differs is not noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

LEAST = 0.1  # below which what is measured says next to nothing, and no correction can mend that


def reliability(values: Sequence[ArrayLike], noise: Sequence[ArrayLike]) -> float:
    """Share of the variance of values that is no noise, over some rows of values and the variances of their noise.

    In `LEAST`..1; 1 where none varies. Of many rows, since one row's variance is itself noise.
    Source: Spearman, American Journal of Psychology 1904.

    Examples:
        >>> reliability([[1.0, 2.0, 3.0]], [[0.1, 0.1, 0.1]])
        0.9
    """
    spread = float(np.mean([np.var(np.asarray(row, dtype=np.float64), ddof=1) for row in values]))
    of_noise = float(np.mean([np.mean(np.asarray(row, dtype=np.float64)) for row in noise]))
    return float(np.clip(1 - of_noise / spread, LEAST, 1)) if spread > 0 else 1.0
