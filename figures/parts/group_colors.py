"""Colours of merged groups that stay with a group from stage to stage, and that no two neighbours share."""

from collections import Counter, defaultdict
from itertools import count

import numpy as np
from matplotlib.colors import hsv_to_rgb
from numpy.typing import NDArray

# Okabe and Ito, 2008, with white for black
OUTLINES = np.array([
    [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167],
    [255, 255, 255],
], dtype=np.float64)  # fmt: skip
GOLDEN = 0.618034  # of the circle of hues, so that each further one lies where there is most room


def group_colors(groups: NDArray[np.integer], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Give each group a colour that it keeps from stage to stage, and that no neighbour has at any stage.

    A group goes by its first patch: it is the group that had this first patch at the stage before, and that others have
    joined. Those that last longest, and of them the largest, choose first: of the colours that no neighbour has taken,
    the one that is taken least. Where eight do not suffice, as of groups that lie scattered, there are further ones.

    Args:
        groups: (stages, patches) int, the token that each patch is in.
        grid: rows and columns of the patches.

    Returns:
        (stages, patches, 3) float64, 0 to 255.
    """
    stages, patches = groups.shape
    first = (groups[:, :, None] == groups[:, None, :]).argmax(axis=2)
    size = np.stack([np.bincount(stage, minlength=patches) for stage in first])
    last = ((size > 1) * np.arange(1, stages + 1)[:, None]).max(axis=0)  # 0: never more than a patch
    largest = size[last - 1, np.arange(patches)]
    beside = _neighbours(np.where(np.take_along_axis(size, first, axis=1) > 1, first, -1).reshape(stages, *grid))
    chosen = dict[int, int]()
    uses = Counter[int]()
    for group in np.lexsort((np.arange(patches), -largest, -last)).tolist():
        taken = {chosen[other] for other in beside[group] if other in chosen}
        free = [color for color in range(len(OUTLINES)) if color not in taken]
        best = min(free, key=uses.__getitem__) if free else next(n for n in count(len(OUTLINES)) if n not in taken)
        chosen[group] = best
        uses[best] += 1
    palette = np.array([_color(number) for number in range(max(chosen.values()) + 1)])
    colors: NDArray[np.float64] = palette[np.array([chosen[group] for group in range(patches)])[first]]
    return colors


def _neighbours(label: NDArray[np.integer]) -> dict[int, set[int]]:
    """The groups that lie side by side at some stage: (stages, rows, columns), -1 where there is none."""
    beside = defaultdict[int, set[int]](set)
    for a, b in ((label[:, 1:], label[:, :-1]), (label[:, :, 1:], label[:, :, :-1])):
        differ = (a != b) & (a >= 0) & (b >= 0)
        for one, other in {*zip(a[differ].tolist(), b[differ].tolist(), strict=True)}:
            beside[one].add(other)
            beside[other].add(one)
    return beside


def _color(number: int) -> NDArray[np.float64]:
    """A colour of the palette, 0 to 255; beyond those of `OUTLINES`, a hue of its own."""
    if number < len(OUTLINES):
        return OUTLINES[number]
    further = number - len(OUTLINES)
    return 255 * np.asarray(hsv_to_rgb([(0.83 + GOLDEN * further) % 1, 0.55, 0.95]), dtype=np.float64)
