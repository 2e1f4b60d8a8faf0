"""What a method did to an image, painted on it.

Kept patches are bright; dropped ones are dark and grey, with a
white line around what is kept; patches that were dropped into one fused token are dark and violet. Patches that were
merged are filled with the mean colour of their group, which a line surrounds; patches that are alone in their
group, and those that stand for their group, show the image.

Shapes: H, W pixels of an image; P patches, row-major on the grid; h, w pixels of what is painted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

Picture = NDArray[np.uint8]

FILL = 0.72  # how much of a merged patch is its group's mean colour
LINE, BRIGHT = 0.8, 205.0  # how much of a line is white; above this brightness, a line between groups is dark
DIM, FLOOR = 0.3, 22.0  # dropped patches: share of the brightness that stays, and what is added (0 to 255)
FUSED = np.array([1.1, 0.88, 1.55])  # how a fused patch differs from a dropped one, by channel
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Panel:
    """One column: what one method did to each image at one stage.

    `kept` is (image, patch) bool; `group` is (image, patch) int, below 0 for a dropped or waiting patch; `grid` is
    (rows, columns); the title's first line is set in bold, further ones small. `valid` is (image, patch) bool, the
    places that each image has, where grids are ragged.
    """

    title: str
    kept: NDArray[np.bool_]
    group: NDArray[np.integer]
    merges: bool
    grid: tuple[int, int]
    valid: NDArray[np.bool_] | None = None

    def painted(self, row: int, image: Picture, outline: NDArray[np.floating] | None = None) -> Picture:
        """One of the images, as `paint` draws it, and what lies outside of it left as it is."""
        drawn = paint(image, self.kept[row], self.group[row], self.merges, self.grid, outline)
        if self.valid is None:
            return drawn
        return np.where(self.valid[row][_patch_of_pixel(image.shape[:2], self.grid)][..., None], drawn, image)


def paint(
    image: Picture, kept: NDArray[np.bool_], group: NDArray[np.integer], merges: bool, grid: tuple[int, int],
    outline: NDArray[np.floating] | None = None,
) -> Picture:  # fmt: skip
    """Draw on one image what became of its patches.

    Args:
        image: (h, w, 3) uint8.
        kept: (P,) bool, patches that still stand for themselves.
        group: (P,) int, which token a patch is in; -1 where it was dropped.
        merges: whether groups are drawn, or else what is kept.
        grid: (rows, columns) of the patches.
        outline: (P, 3), 0 to 255: the colour of a line around each patch's group of several, inside of it; fused
            patches are hatched then, which tells them from dropped ones in grey print too. None: white lines.

    Returns:
        (h, w, 3) uint8.
    """
    pixels = image.astype(np.float64)
    place = _patch_of_pixel(image.shape[:2], grid)
    if merges:
        size = np.bincount(group[group >= 0], minlength=1)
        filled = (group >= 0) & ~kept & (size[group.clip(0)] > 1)
        drawn = np.where(filled[place][..., None], _fill(pixels, group[place]), pixels)
        gone = group < 0
        line = _border(group[place])
    else:
        drawn = pixels
        gone = ~kept
        line = _border(kept[place])
    dark = DIM * pixels @ LUMA + FLOOR
    shade = np.where((gone & (group >= 0))[place][..., None], dark[..., None] * FUSED, dark[..., None])
    drawn = np.where(gone[place][..., None], shade, drawn)
    if outline is not None:
        drawn = _hatch(drawn, (gone & (group >= 0))[place], len(pixels) // grid[0])
        if merges:
            return _surround(drawn, np.where(size[group.clip(0)] > 1, group, -1)[place], outline[place])
    under = drawn[line]
    ink = np.where(merges & (under @ LUMA > BRIGHT), 60.0, 255.0)
    drawn[line] = LINE * ink[:, None] + (1 - LINE) * under
    return np.rint(drawn).clip(0, 255).astype(np.uint8)


def _patch_of_pixel(shape: tuple[int, ...], grid: tuple[int, int]) -> NDArray[np.intp]:
    row = np.arange(shape[0]) * grid[0] // shape[0]
    column = np.arange(shape[1]) * grid[1] // shape[1]
    patch: NDArray[np.intp] = row[:, None] * grid[1] + column
    return patch


def _fill(pixels: NDArray[np.float64], label: NDArray[np.integer]) -> NDArray[np.float64]:
    """Blend each pixel (h, w, 3) with the mean colour of its group (h, w)."""
    index = (label + 1).ravel()
    count = np.bincount(index).clip(1)
    mean = np.stack([np.bincount(index, channel.ravel()) / count for channel in np.moveaxis(pixels, 2, 0)], axis=-1)
    blend: NDArray[np.float64] = FILL * mean[label + 1] + (1 - FILL) * pixels
    return blend


def _hatch(drawn: NDArray[np.float64], where: NDArray[np.bool_], patch: int) -> NDArray[np.float64]:
    """Draw a slanting line across each patch, `patch` pixels high, over the pixels `where` (h, w)."""
    row, column = np.indices(where.shape)
    line = where & ((row + column) % patch < max(patch // 6, 1))
    hatched: NDArray[np.float64] = np.where(line[..., None], 0.5 * (BRIGHT + drawn), drawn)
    return hatched


def _surround(drawn: NDArray[np.float64], label: NDArray[np.integer], colour: NDArray[np.floating]) -> Picture:
    """Draw inside each group (h, w) a line in its colour (h, w, 3), also along the image's edge; -1 is no group."""
    reach = 2 * max(round(len(label) / 220), 1) + 1
    least, most = (find(label, reach, mode="constant", cval=-2) for find in (minimum_filter, maximum_filter))
    drawn = np.where(((least != most) & (label >= 0))[..., None], colour, drawn)
    return np.rint(drawn).clip(0, 255).astype(np.uint8)


def _border(label: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Mark one pixel's width where (h, w) changes to the right or below."""
    line = np.zeros(label.shape, bool)
    line[:, :-1] |= label[:, :-1] != label[:, 1:]
    line[:-1] |= label[:-1] != label[1:]
    return line
