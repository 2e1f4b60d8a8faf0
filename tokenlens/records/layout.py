"""How a run lies on disk: its `zarr.json` with all metadata in it, and a file for every chunk, with its checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, TransposeCodec, ZstdCodec

from . import packing
from .atomic import write
from .checksum import digest_of, intact, sealed
from .place import first_gone, pieces, size
from .schema import dims_of

ROOT = "zarr.json"
ALWAYS = ("kept", "group", "tokens_left", "image")  # also in runs that do not say which arrays they have


def codecs(values: np.ndarray, chunk: int) -> dict[str, Any]:
    """How a variable is packed, in arguments of zarr's `create_array`.

    The stage goes first and has blocks of its own: the fewer tokens are left, the narrower the labels, and the smaller
    their code. Of what is yes or no, images go last, so that a patch's answers lie together. A fifth smaller than the
    plain order.
    """
    yes_or_no = values.dtype == bool
    block = min(values.dtype.itemsize * chunk * values.shape[-1], 1 << 24) if 1 < values.ndim < 4 else 0
    # level 9 is zstd's 22: a twentieth smaller, of pruners' groups a fifth, in ten times the time
    packed = BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle" if yes_or_no else "shuffle", blocksize=block)
    order = [TransposeCodec(order=(1, 2, 0) if yes_or_no else (1, 0, 2))] if values.ndim == 3 else []
    return {"compressors": [packed, Crc32cCodec()], "filters": order}


@dataclass(frozen=True)
class Layout:
    """What the `zarr.json` of a run says."""

    folder: Path
    attributes: dict[str, Any]
    arrays: dict[str, Any]
    """zarr's metadata of each array"""
    sealed: bool | None
    """whether its digest is right; None where it has none, as in schema 1"""
    consolidated: bool
    """whether the arrays' metadata are in it; runs of schema 1 have them in the arrays' folders alone"""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it; OSError, ValueError or KeyError where it is gone or damaged."""
        root = json.loads((folder / ROOT).read_bytes())
        attributes = dict(root["attributes"])
        inline = root.get("consolidated_metadata")
        if inline is None:
            own = {path.name: path / ROOT for path in sorted(folder.iterdir())}
            arrays = {name: json.loads(path.read_bytes()) for name, path in own.items() if path.is_file()}
        else:
            arrays = inline["metadata"]
        digest = attributes.pop("digest", None)
        right = None if digest is None else intact({"attributes": attributes, "arrays": arrays, "digest": digest})
        return cls(folder, attributes, arrays, right, inline is not None)

    def write(self) -> None:
        """Write it, in one piece, into the folder of the run."""
        digest = sealed({"attributes": self.attributes, "arrays": self.arrays})["digest"]
        root = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {**self.attributes, "digest": digest},
            "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": self.arrays},
        }
        write(self.folder / ROOT, json.dumps(root, indent=1), parents=False)

    @property
    def written(self) -> int:
        """How many images are there."""
        return int(self.attributes["written"])

    @property
    def step(self) -> int:
        """Images in a chunk."""
        return packing.chunk_of(self.arrays["kept"])

    def file(self, name: str, first: int) -> Path:
        """The file of an array that holds row `first`."""
        array = self.arrays[name]
        index = first // array["chunk_grid"]["configuration"]["chunk_shape"][0]
        words = ["c", str(index), *["0"] * (len(array["shape"]) - 1)]
        return Path(name, array["chunk_key_encoding"]["configuration"]["separator"].join(words))

    def chunks(self, name: str) -> Iterator[tuple[int, Path]]:
        """The first row of each file that is written of an array, and the file; only the first dimension is cut."""
        array = self.arrays[name]
        rows, step = array["shape"][0], array["chunk_grid"]["configuration"]["chunk_shape"][0]
        if name != "image" and array["dimension_names"][0] == "image":
            rows = min(rows, self.written)
        for first in range(0, rows, step):
            yield first, self.file(name, first)

    def lost(self) -> str | None:
        """An array, or the file of a chunk, that should be there and is not."""
        listed = self.attributes.get("arrays")  # before they were listed, zarr left chunks of zeros out
        gone = next((str(name) for name in listed or ALWAYS if name not in self.arrays), None)
        if gone is None:
            files = (file for name in listed or () for _, file in self.chunks(name))
            first = first_gone(self.folder, files)
            gone = None if first is None else str(first)
        return gone

    def checked(self, name: str) -> bool:
        """Whether the chunks of an array have checksums."""
        return bool(packing.codecs_of(self.arrays[name])[-1]["name"] == "crc32c")

    def damaged(self, name: str) -> str | None:
        """The first file of an array with checksums that does not match its own."""
        for _, file in self.chunks(name):
            place = self.folder / file
            is_packed = packing.is_packed(self.arrays[name])
            if packing.damaged(place) if is_packed else not packing.intact(place.read_bytes()):
                return str(file)
        return None

    def pack(self) -> Layout:
        """Put the chunks of a run that has many into few files, beside the chunks, and describe it so (unwritten)."""
        arrays = {}
        for name, array in self.arrays.items():
            chunks = [self.folder / file for _, file in self.chunks(name)]
            if packing.is_packed(array) or len(chunks) < packing.FROM or not self.checked(name):
                continue
            arrays[name] = packing.packed(array)
            for start in range(0, len(chunks), packing.TOGETHER):
                target = self.folder / replace(self, arrays=arrays).file(name, start * packing.chunk_of(array))
                packing.pack(chunks[start : start + packing.TOGETHER], target)
            write(self.folder / name / ROOT, json.dumps(arrays[name], indent=1))
        return replace(self, arrays={**self.arrays, **arrays})

    def remove_packed(self) -> None:
        """Remove the chunks of arrays that are packed."""
        for name, array in self.arrays.items():
            if packing.is_packed(array):
                packing.remove_chunks(self.folder / name)

    def content(self) -> str:
        """A digest of the run: of its description, and of the size and the checksum of each chunk that is written."""
        attributes = {name: value for name, value in self.attributes.items() if name != "coordinates"}
        found = hashlib.blake2b(digest_of([attributes, self.arrays]).encode(), digest_size=8)
        for name in sorted(self.arrays):
            for _, file in self.chunks(name):
                try:
                    end = size(self.folder / file)
                    found.update(f"{file} {end} ".encode())
                    found.update(pieces(self.folder / file, [(max(0, end - packing.CRC), end)])[0])
                    if packing.is_packed(self.arrays[name]):
                        for checksum in packing.checksums(self.folder / file):
                            found.update(checksum)
                except FileNotFoundError:  # of zeros, in a run of schema 1
                    found.update(f"{file}".encode())
        return found.hexdigest()


def contents(path: Path) -> dict[str, str]:
    """The digest of each run in a folder that can be read, by the run's name."""
    found = {}
    for folder in sorted(path.iterdir()):
        with suppress(OSError, ValueError, KeyError, TypeError):  # no run, or a damaged one
            layout = Layout.read(folder)
            found[str(layout.attributes["run"])] = layout.content()
    return found


def create(
    folder: Path,
    variables: Mapping[str, np.ndarray],
    coordinates: Mapping[str, tuple[str, np.ndarray]],
    attributes: Mapping[str, Any],
    chunk: int,
) -> None:
    """Lay out a run in an empty folder.

    Args:
        folder: for the run.
        variables: values of the first images, for their types and all shapes but the first.
        coordinates: dimension and values of each; those of `image` say how many there will be.
        attributes: of the run.
        chunk: images in a chunk.
    """
    listed = {"coordinates": "row column", "arrays": sorted({*variables, *coordinates})}
    group = zarr.create_group(folder, zarr_format=3, attributes={**attributes, **listed})
    images = len(coordinates["image"][1])
    for name, values in variables.items():
        group.create_array(
            name,
            shape=(images, *values.shape[1:]),
            chunks=(chunk, *values.shape[1:]),
            dtype=values.dtype,
            dimension_names=dims_of(name, values.ndim),
            **codecs(values, chunk),
        )
    with zarr.config.set({"array.write_empty_chunks": True}):  # the only step, or stage, may be 0
        for name, (dim, values) in coordinates.items():
            group.create_array(name, data=values, dimension_names=(dim,), compressors=[ZstdCodec(), Crc32cCodec()])
    Layout.read(folder).write()
