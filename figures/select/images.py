"""Which of the images that can be shown are shown, so many or those that a user names; and where a run holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.errors import UnknownName

if TYPE_CHECKING:
    import pandas as pd


def chosen_of(ids: Sequence[str] | pd.Index, wanted: int | Sequence[str]) -> list[str]:
    """At most so many of the images, evenly spaced; or those that are named. UnknownName for one that is not there."""
    if isinstance(wanted, int):
        count = min(wanted, len(ids))
        return [str(ids[i * len(ids) // count]) for i in range(count)]
    if missing := [name for name in wanted if name not in ids]:
        raise UnknownName("image that all these runs hold", missing[0], ids)
    return list(wanted)


def rows_holding(names: xr.DataArray, ids: Sequence[str]) -> NDArray[np.intp]:
    """The rows at which these images are, (I,), by the names that a run gives its images or pictures; -1: nowhere.

    The names are held against these few: a table of a million would be half a gigabyte, and come anew in each look.
    """
    index = _names(names)
    at = np.flatnonzero(index.isin(list(ids)))
    row = dict(zip(index[at], at, strict=True))
    return np.array([row.get(name, -1) for name in ids], np.intp)


def ids_with_pictures(run: xr.Dataset) -> pd.Index:
    """The images of a run that can be drawn on: those that it holds itself, or else all that are written.

    An index, which runs of the same images share: of a million, lists of twenty runs would be more than a gigabyte.
    """
    if "picture" in run:
        return _names(run["pictured"])
    return _names(run["image"])[: run.attrs.get("written")]


def _names(array: xr.DataArray) -> pd.Index:
    index = array.to_index()
    return index if index.inferred_type == "string" else index.astype(str)  # a user's own may be numbers
