"""Whether a pattern keeps what the model attends to.

Shapes: `...` leading axes (image, stage), P patches. What is kept is put beside the attention that was paid to each
patch when the stage decided: NaN for patches that were gone by then, which count for nothing.
Source of the area: Hanley & McNeil, Radiology 1982 (it is Mann & Whitney's statistic). Not in the study.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from .base import metric
from .shapes import Values


@metric("attention_auc", of="attention", swap=None, label="attention AUC", chance=0.5)
def attention_auc(kept: ArrayLike, attention: ArrayLike) -> Values:
    """How often a kept patch was paid more attention than one that goes, in 0..1; ties count half.

    1 is the choice of Top-K, 0.5 one that does not look. NaN where all patches stay, or none.
    """
    paid = np.asarray(attention, dtype=np.float32)
    there = ~np.isnan(paid)
    stays = np.asarray(kept, dtype=bool) & there
    staying, going = stays.sum(axis=-1), (there & ~stays).sum(axis=-1)
    rank = rankdata(np.where(there, paid, -np.inf), axis=-1) - (~there).sum(axis=-1, keepdims=True)
    above = (rank * stays).sum(axis=-1) - staying * (staying + 1) / 2
    return np.where(staying * going > 0, above / np.maximum(staying * going, 1), np.nan)
