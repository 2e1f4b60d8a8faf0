"""How zarr reaches a run: by its own stores, for a folder of this machine and for a place on an object store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore

from . import packing
from .place import SETTINGS, answers, is_remote


class _Remote(FsspecStore):
    """zarr's, of which what does not answer is told as all else of a store is."""

    async def get(self, key: str, *given: Any, **more: Any) -> Buffer | None:
        with answers(self):
            return await super().get(key, *given, **more)

    async def set(self, key: str, *given: Any, **more: Any) -> None:
        with answers(self):
            await super().set(key, *given, **more)

    def __str__(self) -> str:
        return self.path


class _Complete:
    """A run of which a chunk that is not there has gone: zarr would read zeros in its place."""

    folder: Path

    async def get(self, key: str, *given: Any, **more: Any) -> Buffer | None:
        found = await super().get(key, *given, **more)  # type: ignore[misc]
        return await asyncio.to_thread(self._packed, key) if found is None and "/c" in key else found

    def _packed(self, key: str) -> Buffer:
        """A chunk that was put into a file with others since the run was opened."""
        try:
            return default_buffer_prototype().buffer.from_bytes(packing.chunk(self.folder, key))
        except FileNotFoundError:
            raise FileNotFoundError(f"{key} has gone") from None


class _CompleteHere(_Complete, LocalStore):
    def get_sync(self, key: str, *given: Any, **more: Any) -> Buffer | None:
        found = super().get_sync(key, *given, **more)
        return self._packed(key) if found is None and "/c" in key else found


class _CompleteRemote(_Complete, _Remote):
    pass


def store_of(folder: Path, read_only: bool = False) -> Store:
    """The store of a run."""
    if is_remote(folder):
        return _Remote.from_url(str(folder), dict(SETTINGS), read_only)
    return LocalStore(folder, read_only=read_only)


def complete(folder: Path) -> Store:
    """The store of a run to be read, whose chunks are all written: one that is not there has gone."""
    made: Any = (
        _CompleteRemote.from_url(str(folder), dict(SETTINGS), read_only=True)
        if is_remote(folder)
        else _CompleteHere(folder, read_only=True)
    )
    made.folder = folder
    return made  # type: ignore[no-any-return]
