"""Write runs: in whole chunks, by one process at a time, to be gone on with after a kill at any moment."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ..errors import BadInput, disk_errors
from .atomic import lock, scratch, sync
from .layout import ROOT, Layout, create
from .run import Run
from .schema import SCHEMA, coordinates
from .store import AGAIN, open_run

CHUNK = 1024
LOCKS = ".locks"  # below a folder of runs: a file for each run that is, or was, being written
Batch = Mapping[str, np.ndarray]


class RunWriter:
    """Appends batches to a run, in whole chunks; what is there of the run is read, and touched only by `alone`."""

    def __init__(
        self, out: Path, run: Run, attributes: Mapping[str, Any], ids: Sequence[str], batch_size: int,
        chunk: int | None = None,
    ) -> None:  # fmt: skip
        """`chunk`: images in a chunk, about, which a kill may lose; CHUNK by default."""
        self._chunk = CHUNK if chunk is None else chunk
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
        self.chunk = self.batch_size * max(1, self._chunk // self.batch_size)

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

    @property
    def taken(self) -> int:
        """Images that are written, or wait for their chunk to be whole."""
        return self.written + sum(len(part["kept"]) for part in self._buffer)

    def add(self, batch: Batch) -> None:
        """Take the next images; variables are (images, ...) arrays."""
        self._buffer.append(batch)
        if self.taken - self.written >= self.chunk or self.taken == len(self.ids):
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
            walks = [self.attributes.get(name, ()) for name in ("steps", "branches")]
            ids = np.asarray(self.ids, dtype=np.dtypes.StringDType())
            fixed = coordinates(self.run.blocks, self.attributes["grid"], layers, *walks) | {"image": ("image", ids)}
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
