"""Images that runs have in common, and their arrays chunk by chunk: memory does not depend on the number of images.

Runs meet by image id, never by row. Where a run holds the common images in another order, the arrays asked for are
copied once, re-ordered, into a temporary file on disk, so that every later chunk is one read.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.errors import BadInput

from .metrics import heatmap, overlap
from .ragged import stretched

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Name = TypeVar("Name")
Need = tuple[str, str]  # a run, and a form of what it holds
BUDGET = 192 * 2**20  # bytes of arrays of all runs that are in memory at once


Also = Callable[[str], Array | None]


def _packed(_: xr.Dataset, patterns: Array, also: Also) -> overlap.Packed:
    valid = also("valid")
    bits = overlap.Packed.of(patterns, None if valid is None else valid.sum(-1))
    bits.size  # noqa: B018  # counted once, and not by every pair
    return bits


def _depth(run: xr.Dataset, kept: Array, also: Also) -> Array:
    valid = also("valid")
    depths = heatmap.depth(kept, run["stage"].values, int(run.attrs.get("depth", 12)))
    return depths if valid is None else stretched(depths, valid, run)


def _bounded(_: xr.Dataset, mask: Array, also: Also) -> Array:
    valid = also("valid")
    return mask if valid is None else np.where(valid, mask, np.int8(-1))


def _curve(run: xr.Dataset, heights: Array, also: Also) -> Array:
    whole = also("whole")
    if whole is None:
        raise BadInput(
            f"run {run.attrs.get('run')!r} holds curves without `whole`, the point at which they end; "
            "write it anew with `tokenlens swap --curves`"
        )
    return np.concatenate([heights, whole[:, None]], axis=1)


def _inserted(_: xr.Dataset, kept: Array, also: Also) -> Array:
    valid = also("valid")
    patches = kept.shape[2] if valid is None else valid.sum(axis=1, keepdims=True)
    return np.concatenate([kept.sum(axis=2) / patches, np.ones((len(kept), 1))], axis=1)


def _deleted(run: xr.Dataset, kept: Array, also: Also) -> Array:
    inside = _inserted(run, kept, also)[:, :-1]
    return np.concatenate([1 - inside, np.ones((len(kept), 1))], axis=1)


class Form(NamedTuple):
    """How arrays of a run are handed over: of which variable, made how, and how much wider than it while in use.

    `make` takes the run, the array, and what gives any other array of the same images, None where there is none.
    """

    variable: str
    make: Callable[[xr.Dataset, Array, Also], Any] | None = None
    width: int = 1


FORMS = {
    "kept": Form("kept"), "packed kept": Form("kept", _packed), "depth": Form("kept", _depth, 3),
    "object": Form("object"), "packed object": Form("object", _packed), "bounded object": Form("object", _bounded),
    "group": Form("group"), "valid": Form("valid"),
    "feature": Form("feature", width=3), "attention": Form("attention", width=4),
    "insertion": Form("insertion", _curve), "deletion": Form("deletion", _curve),  # up to where all is shown
    "insertion share": Form("kept", _inserted), "deletion share": Form("kept", _deleted),  # at each point
}  # fmt: skip


class Images:
    """An ordered set of image ids, with the rows at which each run holds them."""

    def __init__(self, ids: Array) -> None:
        self.ids = ids
        self.key = hashlib.blake2b("\0".join(map(str, ids)).encode(), digest_size=8).hexdigest()
        self._sorted: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Array) -> Array:
        """Rows of `ids` at which these images are: (n,) int64."""
        if len(ids) >= len(self.ids) and np.array_equal(ids[: len(self.ids)], self.ids):
            return np.arange(len(self.ids))
        order = np.argsort(ids, kind="stable")
        return np.asarray(order[np.searchsorted(ids, self.ids, sorter=order)])


def identities(run: xr.Dataset) -> Array:
    """Image ids of a run: (n,) str. BadInput where an id occurs twice: it could not be paired."""
    ids = np.array([str(i) for i in run["image"].values], dtype=str)  # of one dtype, whatever the store's is
    if len(set(ids.tolist())) != len(ids):
        raise BadInput(
            f"run {run.attrs.get('run')!r} holds an image id twice, so its images cannot be paired; "
            "give the images of the data set distinct names and extract it again"
        )
    return ids


def images_of(runs: Mapping[Name, xr.Dataset]) -> dict[Name, Images]:
    """The images of each run. Runs of the same images share them: a million ids take some fifty megabytes."""
    known: list[tuple[pd.Index, Images]] = []
    found = {}
    for name, run in runs.items():
        index = run["image"].to_index()
        same = next((images for other, images in known if other.equals(index)), None)
        if same is None:
            known.append((index, same := Images(identities(run))))
        found[name] = same
    return found


def common(a: Images, b: Images) -> Images:
    """Images that both hold, in the order of a; a itself where they are the same."""
    if a.key == b.key:
        return a
    both = np.isin(a.ids, b.ids)
    return a if both.all() else Images(a.ids[both])


def stored(array: xr.DataArray, first: int, end: int, run: str) -> Array:
    """The rows of an array of a run from `first` to before `end`. BadInput where their file is damaged."""
    try:
        return np.asarray(array.isel(image=slice(first, end)).values)
    except Exception as error:  # what was cut or overwritten fails in zarr or numcodecs, each in its own way
        raise BadInput(
            f"{array.name} of run {run!r} cannot be read for images {first} to {end - 1} ({error}); "
            "move the run away to have it extracted again"
        ) from error


class Reader:
    """Reads arrays of several runs over the same images, in the same order, chunk by chunk."""

    def __init__(self, runs: Mapping[str, xr.Dataset], rows: Mapping[str, Array], images: int, chunk: int) -> None:
        """`rows` says where each run holds the images: (images,) int64."""
        self.runs, self.rows, self.images, self.chunk = runs, rows, images, chunk
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._copies: dict[tuple[str, str], Array] = {}

    @classmethod
    def over(cls, runs: Mapping[str, xr.Dataset], images: Images, ids: Mapping[str, Array], chunk: int) -> Reader:
        """One over images by their ids; `ids` are those of each run."""
        return cls(runs, {name: images.rows(ids[name]) for name in runs}, len(images), chunk)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._copies.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def spans(self) -> list[tuple[int, int]]:
        """First and last + 1 image of each chunk."""
        n = self.images
        return [(start, min(start + self.chunk, n)) for start in range(0, n, self.chunk)]

    def read(self, needs: Iterable[Need], span: tuple[int, int], pool: Executor) -> dict[Need, Any]:
        """The arrays of a span in the forms asked for; what several forms are made of is read once."""
        wanted: dict[Need, list[str]] = {}
        for run, form in dict.fromkeys(needs):
            wanted.setdefault((run, FORMS[form].variable), []).append(form)
        parts = pool.map(lambda one: self._forms(one[0][0], one[0][1], one[1], span), wanted.items())
        return {need: array for part in parts for need, array in part.items()}

    def _forms(self, run: str, variable: str, forms: Iterable[str], span: tuple[int, int]) -> dict[Need, Any]:
        array = self._slice(run, variable, span)
        made = {form: FORMS[form].make for form in forms}

        @cache
        def also(other: str) -> Array | None:
            return self._slice(run, other, span) if other in self.runs[run] else None

        return {(run, form): array if make is None else make(self.runs[run], array, also)
                for form, make in made.items()}  # fmt: skip

    def _slice(self, run: str, variable: str, span: tuple[int, int]) -> Array:
        rows = self.rows[run][span[0] : span[1]]
        source = self.runs[run][variable]
        if len(rows) == 0 or np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            first = int(rows[0]) if len(rows) else 0
            return stored(source, first, first + len(rows), run)
        low, high = int(rows.min()), int(rows.max()) + 1
        if high - low <= 4 * len(rows):
            return stored(source, low, high, run)[rows - low]
        return np.asarray(self._copy(run, variable)[span[0] : span[1]])

    def _copy(self, run: str, variable: str) -> Array:
        """Re-order a variable into a temporary file, reading the run once from front to back."""
        if (run, variable) not in self._copies:
            source, rows = self.runs[run][variable], self.rows[run]
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="tokenlens-")
            path = Path(self._folder.name) / f"{len(self._copies)}.npy"
            copy = np.lib.format.open_memmap(path, "w+", source.dtype, (len(rows), *source.shape[1:]))
            order = np.argsort(rows)
            for start in range(0, len(rows), self.chunk):
                part = order[start : start + self.chunk]
                low, high = int(rows[part[0]]), int(rows[part[-1]]) + 1
                copy[part] = stored(source, low, high, run)[rows[part] - low]
            self._copies[run, variable] = copy
        return self._copies[run, variable]


def fitting(chunk: int, runs: Mapping[str, xr.Dataset], needs: Iterable[Need]) -> int:
    """Shrink a chunk so that all arrays of one chunk stay within BUDGET."""
    an_image = 0
    for run, form in needs:
        array = runs[run][FORMS[form].variable]
        an_image += FORMS[form].width * int(np.prod(array.shape[1:])) * array.dtype.itemsize
    return max(1, min(chunk, BUDGET // max(an_image, 1)))
