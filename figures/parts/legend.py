"""A legend of what became of patches: of what is there in a picture, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from .group_colors import OUTLINES
from .patch_painter import DIM, FLOOR, FUSED, Panel

DARK = (DIM * 128 + FLOOR) / 255  # a dropped patch of middle grey


def swatches(panels: Iterable[Panel], outlined: bool = False) -> list[Patch]:
    """What a legend of these panels shows; `outlined` where groups have lines of their own colours, as in `paint`."""
    there = set[str]().union(*(_kinds(panel.kept, panel.group, panel.merges) for panel in panels))
    line = tuple(OUTLINES[0] / 255) if outlined else "white"
    merged = "merged, a colour a group" if outlined else "merged, in the mean colour of their group"
    looks = {
        "kept": Patch(facecolor="0.85", edgecolor="0.5", label="kept"),
        "dropped": Patch(facecolor=str(DARK), edgecolor="0.5", label="dropped"),
        "fused": Patch(facecolor=tuple(DARK * FUSED), edgecolor="0.8", hatch="////" * outlined,
                       label="fused into one token"),
        "merged": Patch(facecolor="0.7", edgecolor=line, linewidth=1.5, label=merged),
    }  # fmt: skip
    return [patch for kind, patch in looks.items() if kind in there]


def _kinds(kept: NDArray[np.bool_], group: NDArray[np.integer], merges: bool) -> set[str]:
    """What there is among patches: (images, P) each."""
    gone = group < 0
    if merges:
        several = np.array([np.bincount(row[row >= 0], minlength=1).max() > 1 for row in group])
        found = {"merged": several.any(), "dropped": gone.any()}
    else:
        found = {"kept": kept.any(), "dropped": (gone & ~kept).any(), "fused": (~kept & ~gone).any()}
    return {kind for kind, there in found.items() if there}
