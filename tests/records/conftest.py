"""Places on a store in this process's memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenlens.records.place import place


@pytest.fixture
def bucket() -> Iterator[Path]:
    """An empty bucket, `memory://bucket`."""
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    yield place("memory://bucket")
    MemoryFileSystem.store.clear()
