"""Grids that differ from image to image: maps of all of them, stretched to one normalised grid.

The images of such a run lie in the upper left of its largest grid, and its variable `valid`, (image, P) bool, says
where.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[Any]
MOST = 32  # places along a side of the normalised grid: transport between larger maps takes minutes


def is_ragged(run: xr.Dataset) -> bool:
    """Whether some image has less than the whole grid."""
    return "valid" in run and not bool(run["valid"].all())


def grid_of_maps(run: xr.Dataset) -> tuple[int, int]:
    """Rows and columns of a run's heat maps: its own grid, or the normalised one of a run with ragged grids."""
    rows, columns = (len(np.unique(run[name].values)) for name in ("row", "column"))
    return (min(rows, MOST), min(columns, MOST)) if "valid" in run else (rows, columns)


def places_of_maps(run: xr.Dataset) -> tuple[Array, Array]:
    """Row and column of each place of a run's heat maps, (P,) int each."""
    if "valid" not in run:
        return run["row"].values, run["column"].values
    rows, columns = grid_of_maps(run)
    row, column = np.divmod(np.arange(rows * columns), columns)
    return row, column


def stretched(maps: Array, valid: Array, run: xr.Dataset) -> Array:
    """The maps of some images, each stretched from its own grid to the normalised one, by the mean over areas.

    Args:
        maps: (m, P) numbers.
        valid: (m, P) bool, the places that each image has.
        run: that they are of.

    Returns:
        (m, P') float64.
    """
    rows, columns = len(np.unique(run["row"].values)), len(np.unique(run["column"].values))
    down, across = grid_of_maps(run)
    there = valid.reshape(-1, rows, columns)
    heights, widths = there.any(2).sum(1), there.any(1).sum(1)
    found = np.empty((len(maps), down * across))
    for height, width in {*zip(heights.tolist(), widths.tolist(), strict=True)}:
        alike = (heights == height) & (widths == width)
        own = maps[alike].reshape(-1, rows, columns)[:, :height, :width]
        found[alike] = (_shares(height, down) @ own @ _shares(width, across).T).reshape(len(own), -1)
    return np.round(found, 9)  # equal depths must tie, whatever the last bit says


@lru_cache(maxsize=256)
def _shares(old: int, new: int) -> Array:
    """(new, old): of which of `old` equal parts of a side each of `new` ones is made, and by which shares."""
    first, last = np.arange(new)[:, None] * old, (np.arange(new)[:, None] + 1) * old
    begin, end = np.arange(old) * new, (np.arange(old) + 1) * new
    return np.maximum(np.minimum(last, end) - np.maximum(first, begin), 0) / old
