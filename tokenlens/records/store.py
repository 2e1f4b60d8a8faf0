"""Runs on disk: one Zarr group a run, written in whole chunks, readable and resumable at any moment.

A chunk's arrays are written first and then counted in the attribute `written`; a reader never looks beyond it, and a
run that was killed continues there. Chunks of nothing but zeros are written too, so that one which has gone is missed
and not read as zeros. The run's own `zarr.json` holds all metadata, so that it is read, and changes, in one piece. The
variables are in `tokenlens.records.schema`. Nothing here needs torch.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ..errors import BadInput, disk_errors
from .atomic import lock, scratch, sync
from .layout import ROOT, Layout, create
from .run import Run
from .schema import DIMS, READABLE, SCHEMA, coordinates

CHUNK = 1024
LOCKS = ".locks"  # below a folder of runs: a file for each run that is, or was, being written
AGAIN = "move it away to have it extracted again"
Batch = Mapping[str, np.ndarray]


class StoreError(BadInput):
    """A run on disk that cannot be read."""


def check_out(folder: Path) -> None:
    """Refuse to write runs into something that is not a folder of runs."""
    if "://" in str(folder) or re.match(r"[a-z0-9]{2,}:/", str(folder)):  # Path makes one slash of two
        raise BadInput(
            f"runs are written to folders, and {folder} is an address; give a folder of this machine with --out"
        )
    if (folder / ROOT).is_file():
        raise BadInput(f"{folder} is one run; give the folder that it lies in with --out, {folder.parent}")
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file, not a folder of runs; give a new folder with --out")
    with disk_errors(folder):
        strangers = [p.name for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
    runs = [name for name in strangers if (folder / name / ROOT).is_file()]
    strangers = sorted(set(strangers) - set(runs))
    for name in strangers:
        if any((folder / name / array / ROOT).is_file() for array in DIMS):
            raise BadInput(f"{folder / name} is a run that has lost its {ROOT}; {AGAIN}")
    if strangers and not runs:
        raise BadInput(
            f"{folder} is not a folder of runs: it holds {strangers[0]}; give a new or empty folder with --out"
        )


class RunWriter:
    """Appends batches to a run, in whole chunks; what is there of the run is read, and touched only by `alone`."""

    def __init__(self, out: Path, run: Run, attributes: Mapping[str, Any], ids: Sequence[str], batch_size: int) -> None:
        self.folder = out / run.name
        self.run, self.ids = run, ids
        self.attributes = {**attributes, **run.attributes(), "run": run.name, "schema": SCHEMA}
        self._buffer: list[Batch] = []
        self._find(batch_size)

    def _find(self, batch_size: int) -> None:
        """See how far the run is."""
        with disk_errors(self.folder):
            self._layout = self._opened()
        found: dict[str, Any] = self._layout.attributes if self._layout is not None else {}
        self.batch_size = int(found.get("batch_size", batch_size))  # other batches would round differently
        self.written = int(found.get("written", 0))
        self.complete = bool(found.get("complete", False))
        # a chunk holds whole batches, so that a resumed run goes on with the same batches
        self.chunk = self.batch_size * max(1, CHUNK // self.batch_size)

    def _opened(self) -> Layout | None:
        if not (self.folder / ROOT).is_file():
            return None
        there = open_run(self.folder).attrs  # refuses what is damaged or of another schema, before it is touched
        for name, value in self.run.attributes().items():
            if there.get(name) != value:
                raise BadInput(
                    f"{self.folder} holds another run: its {name} is {there.get(name)!r} and not {value!r}; "
                    "move it away or give another folder with --out"
                )
        return Layout.read(self.folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that writes the run, until the block ends, and go on from where any other has come to.

        Where another writes it, its number is told, and it is waited for.

        Raises:
            BadInput: what is there was begun by another tokenlens; the disk is full or cannot be written.
        """
        with lock(self.folder.parent / LOCKS / self.run.name, str(self.folder)):
            self._find(self.batch_size)
            if self._layout is not None and not self.complete:
                with disk_errors(self.folder):
                    for left in self.folder.rglob("*.partial"):  # what zarr was writing when the run was killed
                        left.unlink(missing_ok=True)
                self._check_versions(self._layout.attributes)
            yield

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
        start, self.written = self.written, self.written + len(whole["kept"])
        if self._layout is None:
            with disk_errors(self.folder):
                self._create(whole)
        with self._in_place(), zarr.config.set({"array.write_empty_chunks": True}):
            group = zarr.open_group(self.folder, mode="r+")
            for name, values in whole.items():
                group[name][start : self.written] = values  # type: ignore[index]
        self.note(written=self.written)

    def _create(self, first: Batch) -> None:
        """Make the group, under another name, and move it, so that nobody sees a half-made one."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch(self.folder, folder=True) as making:
            layers = self.attributes.get("layers", ()) if "feature" in first else ()
            ids = np.asarray(self.ids, dtype=np.dtypes.StringDType())
            fixed = coordinates(self.run.blocks, self.attributes["grid"], layers) | {"image": ("image", ids)}
            started = {"batch_size": self.batch_size, "written": 0, "complete": False}
            create(making, first, fixed, {**self.attributes, **started}, min(self.chunk, len(self.ids)))
            for file in making.rglob("*"):
                sync(file)
            making.rename(self.folder)
        sync(self.folder.parent)
        self._layout = Layout.read(self.folder)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Mark the run as complete, with what it amounts to."""
        assert self.written == len(self.ids)
        self.note(metrics=dict(metrics), complete=True)
        self.complete = True

    def note(self, **attributes: Any) -> None:
        """Add to the attributes of a run that is there, once its newest chunks are on disk."""
        assert self._layout is not None
        before = self._layout.written
        self._layout = replace(self._layout, attributes={**self._layout.attributes, **attributes})
        with self._in_place():
            for name in self._layout.arrays:
                for first, file in self._layout.chunks(name):
                    if first >= before < self._layout.written:
                        sync(self.folder / file)
            self._layout.write()

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Refuse to go on in a folder that somebody removes meanwhile; what zarr makes in its place goes too."""
        gone = BadInput(f"{self.folder} was removed while it was being written; give the same command again")
        try:
            with disk_errors(self.folder):
                yield
        except Exception as error:
            if (self.folder / ROOT).is_file():
                raise
            shutil.rmtree(self.folder, ignore_errors=True)
            raise gone from error
        if not (self.folder / ROOT).is_file():
            shutil.rmtree(self.folder, ignore_errors=True)
            raise gone


def open_run(folder: Path, check: Iterable[str] | None = ()) -> xr.Dataset:
    """One run, lazily, cut to the images that are written.

    Args:
        folder: of the run.
        check: the arrays whose every chunk is read and held against its checksum; None: all. Coordinates always are.

    Raises:
        StoreError: it is no run, is damaged, or is of a schema that is not known here.
    """
    try:
        layout = Layout.read(folder)
        schema, written = layout.attributes["schema"], layout.written
        lost = layout.lost()
    except Exception as error:  # what is no JSON, or JSON of something else, fails in many ways
        raise _unreadable(folder, error) from error
    if layout.sealed is False or (layout.sealed is None and schema == SCHEMA):
        raise _unreadable(folder, f"its {ROOT} does not match its digest")
    if schema not in READABLE:
        raise StoreError(f"{folder} has schema {schema}, this tokenlens reads {SCHEMA}; update tokenlens, or {AGAIN}")
    if lost:
        raise _unreadable(folder, f"it has lost {lost}")
    try:
        with warnings.catch_warnings():
            # in runs of schema 1 a file that a killed run left half-written lies beside the arrays
            warnings.filterwarnings("ignore", message="Object at .*partial is not recognized")
            dataset = xr.open_zarr(folder, consolidated=layout.consolidated, chunks=None)
        for name in dataset.coords:
            dataset[name].load()
    except Exception as error:  # a damaged store fails in zarr, numcodecs or xarray, each in its own way
        raise _unreadable(folder, error) from error
    dataset.attrs = {name: value for name, value in layout.attributes.items() if name != "coordinates"}
    dataset = dataset.isel(image=slice(0, written))
    for name in dataset.data_vars if check is None else [name for name in check if name in dataset]:
        if damaged := _damaged(layout, dataset[name]):
            raise _unreadable(folder, f"{damaged} is damaged")
    return dataset


def _unreadable(folder: Path, why: str | Exception) -> StoreError:
    reason = (str(why) or type(why).__name__).split("\n")[0]
    return StoreError(f"{folder} cannot be read as a run ({reason}); {AGAIN}")


def _damaged(layout: Layout, array: xr.DataArray) -> str | None:
    """The first file of an array that is damaged; one without a checksum, where it cannot be unpacked."""
    name = str(array.name)
    if layout.checked(name):
        return layout.damaged(name)
    for first, file in layout.chunks(name):
        try:
            array[first : first + 1].load()
        except Exception:  # zarr and numcodecs fail in many ways
            return str(file)
    return None


def content(run: xr.Dataset) -> str:
    """A digest of all that lies on disk of a run as `open_run` gives it: 16 hexadecimal digits."""
    there = Layout.read(Path(run.encoding["source"]))
    return replace(there, attributes=run.attrs).content()  # as it was opened: it may have grown since


def open_runs(path: str | Path = "runs", strict: bool = False, check: Iterable[str] | None = ()) -> list[xr.Dataset]:
    """All runs in a folder, by name.

    Args:
        path: a folder of runs, as `tokenlens extract` writes them; or one run, which is taken alone.
        strict: refuse a run that cannot be read, instead of naming it in a warning and going on.
        check: the arrays of which every chunk is held against its checksum; None: all. See `open_run`.

    Returns:
        One lazy dataset for each run, cut to the images that are written so far (`attrs["complete"]` tells).

    Raises:
        BadInput: there is no such folder.
        StoreError: with `strict`, a run cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise BadInput(f"there is no folder of runs {path}; make one with `tokenlens extract`")
    if (path / ROOT).is_file():
        return [open_run(path, check)]
    runs = []
    for folder in sorted(path.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        try:
            runs.append(open_run(folder, check))
        except StoreError as error:
            if strict:
                raise
            warnings.warn(str(error), UserWarning, stacklevel=2)
    return runs
