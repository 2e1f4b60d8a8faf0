"""Files that are whole or not there, whenever their writer is killed and whatever the disk does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import disk_errors


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a place beside `path` to write to; it moves there once the block has ended well and all is on disk.

    What another writer was killed at is written over. Raises BadInput where the disk is full or cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write(path: Path, content: bytes | str) -> Path:
    """Write a file at one go; see `whole`."""
    with whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
