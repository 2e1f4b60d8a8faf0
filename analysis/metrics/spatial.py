"""How a pattern lies on the grid: in one piece or scattered, and whether groups end where objects do.

Shapes: `...` leading axes (image, stage), P patches in rows of `columns`. Two patches are neighbours where they share a
side. A pattern's layout is taken of it alone: the other side is the grid, the patches that are there. Where the
grids of images differ, each lies in the upper left of the largest.
Sources: Moran, Biometrika 1950; Cliff & Ord, 1981 (its mean by chance); Martin, Fowlkes & Malik, PAMI 2004 (boundary
recall). Not in the study.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .base import metric
from .shapes import Values

DRAWS = 512  # random patterns of a size, of whose pieces chance is the mean
SIDES = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


class Layout:
    """A pattern (..., P) on the grid of the patches that are there, (..., P) bool; square if `columns` are not told."""

    def __init__(self, kept: ArrayLike, there: ArrayLike, columns: int | None = None) -> None:
        self.kept = np.asarray(kept, dtype=bool)
        self.columns = columns or math.isqrt(self.kept.shape[-1])
        self._grid = np.asarray(there, dtype=bool)
        self.there = np.broadcast_to(self._grid, self.kept.shape)

    @cached_property
    def pieces(self) -> Values:
        """How many connected pieces the kept patches form, (...)."""
        return count_pieces(self.kept & self.there, self.columns)

    @cached_property
    def expected_pieces(self) -> Values:
        """How many pieces as many random patches form, (...), each image's on its own grid."""
        size = (self.kept & self.there).sum(axis=-1)
        grid = self._grid.reshape(*self._grid.shape[:-1], -1, self.columns)
        down, across = (np.broadcast_to(grid.any(axis=axis).sum(axis=-1), size.shape) for axis in (-1, -2))
        found = np.empty(size.shape)
        for rows, columns in {*zip(down.ravel().tolist(), across.ravel().tolist(), strict=True)}:
            alike = (down == rows) & (across == columns)
            found[alike] = expected_pieces(size[alike], rows * columns, columns)
        return found


@metric(
    "moran", of="layout", swap=None, range=(-1.0, 1.0), label="Moran's I", shared=Layout, grid=True,
    chance=lambda one: -1 / np.maximum(one.there.sum(axis=-1) - 1, 1),
)  # fmt: skip
def moran(one: Layout) -> Values:
    """Moran's I of what is kept: 1 where neighbours are alike, 0 scattered, below 0 alternating; NaN of all or none."""
    there, size = one.there, one.there.sum(axis=-1)
    mean = (one.kept & there).sum(axis=-1) / np.maximum(size, 1)
    apart = np.where(there, one.kept - mean[..., None], 0.0)
    products = sum((x * y).sum(axis=-1) for x, y in neighbours(apart, one.columns))
    pairs = sum((x & y).sum(axis=-1) for x, y in neighbours(there, one.columns))
    spread = (apart**2).sum(axis=-1)
    known = (spread > 1e-9) & (pairs > 0)
    return np.where(known, size / np.where(known, pairs, 1) * products / np.where(known, spread, 1), np.nan)


@metric(
    "pieces", of="layout", swap=None, range=(0.0, np.inf), direction="distance", shared=Layout, grid=True,
    chance=lambda one: one.expected_pieces,
)  # fmt: skip
def pieces(one: Layout) -> Values:
    """Number of connected pieces of what is kept, 0 up: few of a pattern that holds together. Chance: of that size."""
    return one.pieces


class Borders:
    """Groups (..., P) beside a mask (..., P), bool or -1 where an image has no patch: where each of them ends.

    Square if `columns` are not told.
    """

    def __init__(self, group: ArrayLike, mask: ArrayLike, columns: int | None = None) -> None:
        self.group, mask = np.asarray(group), np.asarray(mask).astype(np.int8)
        columns = columns or math.isqrt(self.group.shape[-1])
        self.there = mask >= 0
        of_mask = [x + y == 1 for x, y in neighbours(mask, columns)]
        of_group = [x != y for x, y in neighbours(self.group, columns)]
        self.length = sum(one.sum(axis=-1) for one in of_mask)
        self.found = sum((one & other).sum(axis=-1) for one, other in zip(of_mask, of_group, strict=True))

    @cached_property
    def apart(self) -> Values:
        """How many of all pairs of patches are in two groups, as a share, (...): what chance gives at any border."""
        groups, there = np.broadcast_arrays(self.group, self.there)
        group, there = groups.reshape(-1, groups.shape[-1]).astype(np.int64), there.reshape(-1, groups.shape[-1])
        group = group - group.min(initial=0)
        width = int(group.max(initial=0)) + 1
        codes = group + width * np.arange(len(group))[:, None]
        sizes = np.bincount(codes[there], minlength=width * len(group)).reshape(len(group), width)
        patches = there.sum(axis=-1)
        together = (sizes * (sizes - 1)).sum(axis=-1) / np.maximum(patches * (patches - 1), 1)
        return np.asarray(1 - together.reshape(groups.shape[:-1]))


@metric("boundary_recall", of="segments", swap=None, label="boundary recall", shared=Borders, grid=True,
        chance=lambda both: both.apart)  # fmt: skip
def boundary_recall(both: Borders) -> Values:
    """Share of an object's border, side by side of patches, at which groups end too, 0..1; NaN without a border.

    What is dropped is one group. Chance: the same groups, their patches anywhere.
    """
    length = np.asarray(both.length)
    return np.divide(both.found, length, out=np.full(np.shape(both.found), np.nan), where=length > 0)


def neighbours(values: NDArray[Any], columns: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Each patch and the one to its right, and each and the one below: (..., P) -> two pairs of (..., Q)."""
    grid = values.reshape(*values.shape[:-1], -1, columns)
    lead = values.shape[:-1]
    ends = [(grid[..., :-1], grid[..., 1:]), (grid[..., :-1, :], grid[..., 1:, :])]
    return [(x.reshape(*lead, -1), y.reshape(*lead, -1)) for x, y in ends]


def count_pieces(kept: NDArray[np.bool_], columns: int) -> Values:
    """Count the connected pieces of patterns: (..., P) -> (...) float64."""
    grid = kept.reshape(-1, kept.shape[-1] // columns, columns)
    labels, _ = ndimage.label(grid, structure=np.stack([np.zeros_like(SIDES), SIDES, np.zeros_like(SIDES)]))
    _, first = np.unique(labels, return_index=True)
    first = first[labels.ravel()[first] > 0]  # one patch of every piece, none of what is not kept
    return np.bincount(first // kept.shape[-1], minlength=len(grid)).reshape(kept.shape[:-1]).astype(np.float64)


def expected_pieces(size: ArrayLike, patches: int, columns: int) -> Values:
    """Mean number of pieces of random patterns of these sizes, (...) int -> (...): of some, always the same ones."""
    sizes, where = np.unique(np.asarray(size), return_inverse=True)
    levels = np.array([_mean_pieces(int(one), patches, columns) for one in sizes])
    return np.asarray(levels[where].reshape(np.shape(size)))


@lru_cache(maxsize=4096)
def _mean_pieces(size: int, patches: int, columns: int) -> float:
    order = np.random.default_rng(size).permuted(np.tile(np.arange(patches), (DRAWS, 1)), axis=1)
    return float(count_pieces(order < size, columns).mean())
