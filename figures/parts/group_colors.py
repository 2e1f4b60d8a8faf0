"""Colours of merged groups that stay with a group from stage to stage."""

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito, 2008, with white for black
OUTLINES = np.array([
    [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167],
    [255, 255, 255],
], dtype=np.float64)  # fmt: skip


def group_colors(groups: NDArray[np.integer]) -> NDArray[np.float64]:
    """Give each group a colour that it keeps from stage to stage.

    A group goes by its first patch: it is the group that had this first patch at the stage before, and that others have
    joined. Those that last longest, and of them the largest, take the colours first and in turn.

    Args:
        groups: (stages, patches) int, the token that each patch is in.

    Returns:
        (stages, patches, 3) float64, 0 to 255.
    """
    stages, patches = groups.shape
    first = (groups[:, :, None] == groups[:, None, :]).argmax(axis=2)
    size = np.stack([np.bincount(stage, minlength=patches) for stage in first])
    last = ((size > 1) * np.arange(1, stages + 1)[:, None]).max(axis=0)  # 0: never more than a patch
    largest = size[last - 1, np.arange(patches)]
    order = np.lexsort((np.arange(patches), -largest, -last))
    rank = np.empty(patches, int)
    rank[order] = np.arange(patches)
    colors: NDArray[np.float64] = OUTLINES[rank[first] % len(OUTLINES)]
    return colors
