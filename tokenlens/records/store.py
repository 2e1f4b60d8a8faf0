"""Runs on disk: one Zarr group a run, written in whole chunks, readable and resumable at any moment.

A chunk's arrays are written first and then counted in the attribute `written`; a reader never looks beyond it, and a
run that was killed continues there. Chunks of nothing but zeros are written too, so that one which has gone is missed
and not read as zeros. The variables are in `tokenlens.records.schema`. Nothing here needs torch.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, TransposeCodec

from ..errors import BadInput, disk_errors
from .facts import say_which_are_gone
from .out import check_folder
from .run import Run
from .schema import DIMS, SCHEMA, coordinates, dims_of, malformed

CHUNK = 1024
AGAIN = "move it away to have it extracted again"
ALWAYS = ("kept", "group", "tokens_left", "image")  # also in runs that do not say which arrays they have
Batch = Mapping[str, np.ndarray]


class StoreError(BadInput):
    """A run on disk that cannot be read."""


def check_out(folder: Path) -> None:
    """Refuse to write runs into something that is not a folder of runs."""
    check_folder(folder, "runs")
    if (folder / "zarr.json").is_file():
        raise BadInput(f"{folder} is one run; give the folder that it lies in with --out, {folder.parent}")
    with disk_errors(folder):
        strangers = [p.name for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
    runs = [name for name in strangers if (folder / name / "zarr.json").is_file()]
    strangers = sorted(set(strangers) - set(runs))
    for name in strangers:
        if any((folder / name / array / "zarr.json").is_file() for array in DIMS):
            raise BadInput(f"{folder / name} is a run that has lost its zarr.json; {AGAIN}")
    if strangers and not runs:
        raise BadInput(
            f"{folder} is not a folder of runs: it holds {strangers[0]}; give a new or empty folder with --out"
        )


def codecs(values: np.ndarray, chunk: int) -> dict[str, Any]:
    """How a variable is packed, in arguments of zarr's `create_array`.

    The stage goes first and has blocks of its own: the fewer tokens are left, the narrower the labels, and the smaller
    their code. Of what is yes or no, images go last, so that a patch's answers lie together. A fifth smaller than the
    plain order.
    """
    yes_or_no = values.dtype == bool
    block = min(values.dtype.itemsize * chunk * values.shape[-1], 1 << 24) if values.ndim > 1 else 0
    packed = BloscCodec(cname="zstd", clevel=9, shuffle="bitshuffle" if yes_or_no else "shuffle", blocksize=block)
    order = [TransposeCodec(order=(1, 2, 0) if yes_or_no else (1, 0, 2))] if values.ndim == 3 else []
    return {"compressors": [packed], "filters": order}


class RunWriter:
    """Appends batches to a run, in whole chunks."""

    def __init__(self, out: Path, run: Run, attributes: Mapping[str, Any], ids: Sequence[str], batch_size: int) -> None:
        self.folder = out / run.name
        self.run, self.ids = run, ids
        self.attributes = {**attributes, **run.attributes(), "run": run.name, "schema": SCHEMA}
        self._buffer: list[Batch] = []
        with disk_errors(self.folder):
            self.group = self._opened()
        found: dict[str, Any] = dict(self.group.attrs.asdict()) if self.group is not None else {}
        self.batch_size = int(found.get("batch_size", batch_size))  # other batches would round differently
        self.written = int(found.get("written", 0))
        self.complete = bool(found.get("complete", False))
        if found and not self.complete:
            self._check_versions(found)
        # a chunk holds whole batches, so that a resumed run goes on with the same batches
        self.chunk = self.batch_size * max(1, CHUNK // self.batch_size)

    def _opened(self) -> zarr.Group | None:
        if not (self.folder / "zarr.json").is_file():
            return None
        there = open_run(self.folder).attrs  # refuses what is damaged or of another schema, before it is touched
        for name, value in self.run.attributes().items():
            if there.get(name) != value:
                raise BadInput(
                    f"{self.folder} holds another run: its {name} is {there.get(name)!r} and not {value!r}; "
                    "move it away or give another folder with --out"
                )
        for left in self.folder.rglob("*.partial"):  # what zarr was writing when the run was killed
            left.unlink(missing_ok=True)
        return zarr.open_group(self.folder, mode="r+", use_consolidated=False)

    def _check_versions(self, found: Mapping[str, Any]) -> None:
        """Refuse to go on with what another tokenlens began; say and write down where other packages changed."""
        went_on: list[dict[str, Any]] = found.get("resumed", [])
        before: dict[str, Any] = went_on[-1] if went_on else found.get("versions", {})
        here: dict[str, Any] = self.attributes.get("versions", {})
        changed = [name for name in here if before.get(name, here[name]) != here[name]]
        if not changed:
            return
        was, now = (", ".join(f"{name} {versions[name]}" for name in changed) for versions in (before, here))
        if "tokenlens-vit" in changed:
            raise BadInput(
                f"{self.folder} was begun with {was}, and {now} may decide otherwise; finish it with that, or {AGAIN}"
            )
        self.note(resumed=[*went_on, {"written": self.written, **here}])
        warnings.warn(f"{self.folder} was begun with {was} and goes on with {now}, which may round otherwise",
                      stacklevel=3)  # fmt: skip

    def add(self, batch: Batch) -> None:
        """Take the next images; variables are (images, ...) arrays."""
        self._buffer.append(batch)
        waiting = sum(len(part["kept"]) for part in self._buffer)
        if waiting >= self.chunk or self.written + waiting == len(self.ids):
            self._flush()

    def _flush(self) -> None:
        whole = {name: np.concatenate([part[name] for part in self._buffer]) for name in self._buffer[0]}
        self._buffer.clear()
        end = self.written + len(whole["kept"])
        with disk_errors(self.folder), zarr.config.set({"array.write_empty_chunks": True}):
            group = self._created(whole)
            for name, values in whole.items():
                group[name][self.written : end] = values  # type: ignore[index]
            _describe(group, {"written": end})
        self.written = end

    def _created(self, first: Batch) -> zarr.Group:
        """The group, made under another name and moved, so that nobody sees a half-made one."""
        if self.group is not None:
            return self.group
        making = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        making.parent.mkdir(parents=True, exist_ok=True)
        for left in making.parent.glob(f".{self.folder.name}.*"):  # by runs that were killed here
            shutil.rmtree(left, ignore_errors=True)
        group = zarr.create_group(making, zarr_format=3)
        chunk = min(self.chunk, len(self.ids))
        for name, values in first.items():
            group.create_array(
                name,
                shape=(len(self.ids), *values.shape[1:]),
                chunks=(chunk, *values.shape[1:]),
                dtype=values.dtype,
                dimension_names=dims_of(name, values.ndim),
                **codecs(values, chunk),
            )
        layers = self.attributes.get("layers", ()) if "feature" in first else ()
        for name, (dim, values) in coordinates(self.run.blocks, self.attributes["grid"], layers).items():
            group.create_array(name, data=values, dimension_names=(dim,))
        ids = np.asarray(self.ids, dtype=np.dtypes.StringDType())
        group.create_array("image", data=ids, dimension_names=("image",))
        started: dict[str, Any] = {
            "batch_size": self.batch_size,
            "written": 0,
            "complete": False,
            "coordinates": "row column",
            "arrays": sorted(group.array_keys()),
        }
        _describe(group, {**self.attributes, **started})
        making.rename(self.folder)
        self.group = zarr.open_group(self.folder, mode="r+", use_consolidated=False)
        return self.group

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Mark the run as complete, with what it amounts to."""
        assert self.written == len(self.ids)
        self.note(metrics=dict(metrics), complete=True)
        self.complete = True

    def note(self, **attributes: Any) -> None:
        """Add to the attributes of a run that is there."""
        assert self.group is not None
        with disk_errors(self.folder):
            _describe(self.group, attributes)


def _describe(group: zarr.Group, attributes: Mapping[str, Any]) -> None:
    """Add to the attributes of a run, and tell all its metadata in one place, where plain `xr.open_zarr` looks."""
    group.attrs.update(attributes)
    with warnings.catch_warnings():  # every reader of Zarr 3 takes it, though the specification does not have it yet
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(group.store_path.store, path=group.path or None)


def open_run(folder: Path) -> xr.Dataset:
    """One run, lazily, cut to the images that are written."""
    try:
        with warnings.catch_warnings():
            # a file that is being replaced, or that a killed run left half-written, lies beside the arrays for a while
            warnings.filterwarnings("ignore", message="Object at .*partial is not recognized")
            dataset = xr.open_zarr(folder, consolidated=False, chunks=None)
        schema, written = dataset.attrs["schema"], int(dataset.attrs["written"])
    except Exception as error:  # a damaged store fails in zarr, numcodecs, json or xarray, each in its own way
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise StoreError(f"{folder} cannot be read as a run ({reason}); {AGAIN}") from error
    if schema != SCHEMA:
        raise StoreError(f"{folder} has schema {schema}, this tokenlens reads {SCHEMA}; update tokenlens, or {AGAIN}")
    if wrong := malformed(dataset.attrs):
        raise StoreError(f"{folder} cannot be read as a run (its {wrong} is {dataset.attrs[wrong]!r}); {AGAIN}")
    lost = _lost(folder, dataset, written)
    if lost:
        raise StoreError(f"{folder} cannot be read as a run (it has lost {lost}); {AGAIN}")
    return dataset.isel(image=slice(0, written))


def _lost(folder: Path, dataset: xr.Dataset, written: int) -> str | None:
    """An array, or the file of a chunk, that a run should have and has not."""
    gone = [name for name in dataset.attrs.get("arrays", ALWAYS) if name not in dataset.variables]
    if gone:
        return str(gone[0])
    for name in dataset.attrs.get("arrays", ()):  # of runs from before they were listed zarr left chunks of zeros out
        array = dataset.variables[name]
        rows = written if name in dataset.data_vars else len(array)
        for chunk in range(-(-rows // array.encoding["chunks"][0])):
            file = Path(name, "c", str(chunk), *["0"] * (array.ndim - 1))  # only images are cut into chunks
            if not (folder / file).is_file():
                return str(file)
    return None


def open_runs(path: str | Path = "runs", strict: bool = False) -> list[xr.Dataset]:
    """All runs in a folder, by name.

    Args:
        path: a folder of runs, as `tokenlens extract` writes them; or one run, which is taken alone.
        strict: refuse a run that cannot be read, instead of naming it in a warning and going on.

    Returns:
        One lazy dataset for each run, cut to the images that are written so far (`attrs["complete"]` tells).

    Raises:
        BadInput: there is no such folder.
        StoreError: with `strict`, a run cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise BadInput(f"there is no folder of runs {path}; make one with `tokenlens extract`")
    if (path / "zarr.json").is_file():
        return [open_run(path)]
    runs, strangers = [], []
    for folder in sorted(path.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if not strict and not (folder / "zarr.json").is_file():  # there may be very many, and no need to try each
            strangers.append(folder.name)
            continue
        try:
            runs.append(open_run(folder))
        except StoreError as error:
            if strict:
                raise
            warnings.warn(str(error), UserWarning, stacklevel=2)
    if strangers:
        folders, are = ("folder", "is") if len(strangers) == 1 else ("folders", "are")
        more = ", ..." if len(strangers) > 3 else ""
        warnings.warn(
            f"{len(strangers)} {folders} in {path} cannot be read as runs, having no zarr.json, and {are} left out: "
            f"{', '.join(strangers[:3])}{more}",
            UserWarning,
            stacklevel=2,
        )
    say_which_are_gone(runs)
    return runs
