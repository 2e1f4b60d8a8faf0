"""Many chunks in one file, as Zarr's sharding codec has it: complete runs of many images are few files, not thousands.

A file holds the chunks as they were, byte for byte, and ends with an index of where each begins, with a checksum of its
own. It has another name than any chunk, so that chunks and files lie beside each other until one description takes the
place of the other. Sharding codec 1.0, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from .atomic import whole
from .place import pieces, remove_tree, size

CODEC = "sharding_indexed"
FROM = 16  # chunks, from which on it is worth while
TOGETHER = 128  # chunks in a file
CRC = 4  # bytes of a checksum, the last of a chunk
NONE = np.iinfo(np.uint64).max  # in an index: there is no such chunk


def is_packed(array: Mapping[str, Any]) -> bool:
    """Whether an array's metadata are those of packed chunks."""
    return bool(array["codecs"][0]["name"] == CODEC)


def chunk_of(array: Mapping[str, Any]) -> int:
    """Images in a chunk of an array, packed or not."""
    shape = array["codecs"][0]["configuration"] if is_packed(array) else array["chunk_grid"]["configuration"]
    return int(shape["chunk_shape"][0])


def codecs_of(array: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The codecs of a chunk of an array, packed or not."""
    found: list[dict[str, Any]] = array["codecs"][0]["configuration"]["codecs"] if is_packed(array) else array["codecs"]
    return found


def packed(array: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of an array once its chunks are packed."""
    shape = array["chunk_grid"]["configuration"]["chunk_shape"]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {"chunk_shape": shape, "codecs": array["codecs"], "index_codecs": index, "index_location": "end"}
    grid = {"name": "regular", "configuration": {"chunk_shape": [TOGETHER * shape[0], *shape[1:]]}}
    return {
        **array,
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": CODEC, "configuration": sharding}],
    }


def pack(chunks: list[Path], target: Path) -> None:
    """Write chunks into one file, one after the other."""
    index = np.full((TOGETHER, 2), NONE, "<u8")
    with whole(target) as making, making.open("wb") as file:
        for number, chunk in enumerate(chunks):
            content = chunk.read_bytes()
            index[number] = file.tell(), len(content)
            file.write(content)
        file.write(index.tobytes())
        file.write(_crc(index.tobytes()))


def chunk(folder: Path, key: str) -> bytes:
    """A chunk of a run, by the name that it had before it was packed; FileNotFoundError where it is not there."""
    name, _, number, *rest = key.split("/")
    file = folder / name / ".".join(["c", str(int(number) // TOGETHER), *rest])
    start, length = _chunks(file)[int(number) % TOGETHER]
    return pieces(file, [(start, start + length)])[0]


def damaged(file: Path) -> bool:
    """Whether a file of packed chunks, or one of these, does not match its checksum."""
    content = file.read_bytes()
    index = _index(content[-_END:])
    return index is None or not all(intact(content[start : start + length]) for start, length in index)


def intact(chunk: bytes) -> bool:
    """Whether a chunk matches the checksum that it ends with; of nothing, zero would be the right one."""
    return len(chunk) > CRC and chunk[-CRC:] == _crc(chunk[:-CRC])


def checksums(file: Path) -> Iterator[bytes]:
    """Where each packed chunk of a file is, and its checksum."""
    chunks = _chunks(file)
    ends = [start + length for start, length in chunks]
    found = pieces(file, [(end - CRC, end) for end in ends])
    yield from (f"{start} {length} ".encode() + crc for (start, length), crc in zip(chunks, found, strict=True))


def remove_chunks(folder: Path) -> None:
    """Remove the chunks of an array that are in packed files now."""
    remove_tree(folder / "c")


def _chunks(file: Path) -> list[tuple[int, int]]:
    """First byte and size of each chunk of a file; none where it is damaged."""
    end = size(file)
    return _index(pieces(file, [(max(0, end - _END), end)])[0]) or []


_END = 16 * TOGETHER + CRC  # bytes of an index


def _index(content: bytes) -> list[tuple[int, int]] | None:
    """First byte and size of each chunk; None where the index is damaged."""
    if len(content) < _END or content[-CRC:] != _crc(content[:-CRC]):
        return None
    found = np.frombuffer(content[:-CRC], "<u8").reshape(TOGETHER, 2)
    return [(int(start), int(size)) for start, size in found if start != NONE]


def _crc(content: bytes) -> bytes:
    return google_crc32c.value(content).to_bytes(CRC, "little")  # type: ignore[no-any-return]
