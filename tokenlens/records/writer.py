"""Write runs: in whole chunks, by one process at a time, to be gone on with after a kill at any moment."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ..errors import BadInput, disk_errors
from .atomic import lock, scratch, sync, sync_all
from .layout import ROOT, Layout, create
from .place import Unreachable, move, remove_tree
from .run import Run
from .schema import SCHEMA, coordinates
from .store import AGAIN, open_run
from .zarr_stores import store_of

CHUNK = 1024
LOCKS = ".locks"  # below a folder of runs: a file for each run that is, or was, being written
AHEAD = "ahead"  # attribute: the first images of chunks that are there, while one before them is not
Batch = Mapping[str, np.ndarray]


class RunWriter:
    """Writes a run in whole chunks; what is there of it is read, and touched only by `alone`."""

    def __init__(
        self, out: Path, run: Run, attributes: Mapping[str, Any], ids: Sequence[str], batch_size: int,
        chunk: int | None = None,
    ) -> None:  # fmt: skip
        """`chunk`: images in a chunk, about, which a kill may lose; CHUNK by default."""
        self._asked = {"batch_size": batch_size, "chunk": CHUNK if chunk is None else chunk}
        self.folder = out / run.name
        self.run, self.ids = run, ids
        self.attributes = {**attributes, **run.attributes(), "run": run.name, "schema": SCHEMA}
        self._buffer: list[Batch] = []
        with disk_errors(self.folder):
            self._take_over(self._opened())

    def look(self) -> None:
        """See how far the run has come, by whoever writes it."""
        with disk_errors(self.folder):
            before, there = self._layout, (self.folder / ROOT).is_file()
            if before is not None and not there:
                raise self._gone()
            self._take_over(self._opened() if before is None else Layout.read(self.folder))

    def _take_over(self, layout: Layout | None) -> None:
        self._layout = layout
        found: dict[str, Any] = layout.attributes if layout is not None else {}
        # other batches would round differently
        self.batch_size = int(found.get("batch_size", self._asked["batch_size"]))
        # a chunk holds whole batches, so that a resumed run goes on with the same batches
        whole = self.batch_size * max(1, self._asked["chunk"] // self.batch_size)
        self.chunk = whole if layout is None else layout.step
        self.written = int(found.get("written", 0))
        self.ahead = {int(first) for first in found.get(AHEAD, ())}
        self.complete = bool(found.get("complete", False))

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
            self.look()
            if self._layout is not None and not self.complete:
                self._remove_partial()
                self._check_versions(self._layout.attributes)
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Be the only one that changes the run's description, which is so in any case for one that is `alone`."""
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

    @property
    def images_there(self) -> int:
        """Images that are written, wherever in the run."""
        return self.written + sum(min(self.chunk, len(self.ids) - first) for first in self.ahead)

    def add(self, batch: Batch) -> None:
        """Take the next images; variables are (images, ...) arrays."""
        self._buffer.append(batch)
        if self.taken - self.written >= self.chunk or self.taken == len(self.ids):
            self._flush()

    def _flush(self) -> None:
        parts = [*self._buffer]
        self._buffer.clear()
        self.put(self.written, parts)

    def put(self, first: int, parts: Sequence[Batch]) -> None:
        """Write a whole chunk, which begins with image `first`, of batches that follow on each other."""
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        end = first + len(whole["kept"])
        if self._layout is None:
            with self._changing(), disk_errors(self.folder):
                if self._layout is None:  # which another has not made meanwhile
                    self._create(whole)
        with self._in_place(), zarr.config.set({"array.write_empty_chunks": True}):
            group = zarr.open_group(store_of(self.folder), mode="r+")
            for name, values in whole.items():
                group[name][first:end] = values  # type: ignore[index]
            assert self._layout is not None
            sync_all(self.folder / self._layout.file(name, first) for name in whole)
        with self._changing():
            self._count(first)

    def _count(self, first: int) -> None:
        """Note that a chunk is there: readers see those before which none is missing."""
        self.ahead.add(first)
        while self.written in self.ahead:
            self.ahead.remove(self.written)
            self.written = min(self.written + self.chunk, len(self.ids))
        self.note(**{"written": self.written, AHEAD: sorted(self.ahead) or None})

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
            sync_all(making.rglob("*"))
            move(making, self.folder)
        sync(self.folder.parent)
        self._layout = Layout.read(self.folder)

    def finish(self, metrics: Mapping[str, Any], **attributes: Any) -> None:
        """Mark the run as complete, with what it amounts to, and further attributes."""
        with self._changing():
            assert self.written == len(self.ids)
            if not self.complete:
                self._remove_partial()
                self._pack()
                self.note(metrics=dict(metrics), complete=True, **attributes)
            self.complete = True

    def _pack(self) -> None:
        """Put many chunks into few files; whenever this is killed, the description fits what is there."""
        assert self._layout is not None
        with self._in_place():
            packed = self._layout.pack()
        if packed != self._layout:
            self._layout = packed
            self.note()
        self._layout.remove_packed()

    def _remove_partial(self) -> None:
        """Remove what zarr was writing for somebody who was killed."""
        with disk_errors(self.folder):
            for left in self.folder.rglob("*.partial"):
                left.unlink(missing_ok=True)

    def note(self, **attributes: Any) -> None:
        """Set attributes of a run that is there; those that are None go."""
        assert self._layout is not None
        changed = {**self._layout.attributes, **attributes}
        changed = {name: value for name, value in changed.items() if value is not None or name not in attributes}
        self._layout = replace(self._layout, attributes=changed)
        with self._in_place():
            self._layout.write()

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Refuse to go on in a folder that somebody removes meanwhile; what zarr makes in its place goes too."""
        try:
            with disk_errors(self.folder):
                yield
        except Unreachable:
            raise
        except Exception as error:
            if (self.folder / ROOT).is_file():
                raise
            remove_tree(self.folder)
            raise self._gone() from error
        if not (self.folder / ROOT).is_file():
            remove_tree(self.folder)
            raise self._gone()

    def _gone(self) -> BadInput:
        return BadInput(f"{self.folder} was removed while it was being written; give the same command again")
