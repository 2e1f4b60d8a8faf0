"""A WebDataset shard: a tar archive of samples. Its headers are read once, so that any image can be had at any time."""

import json
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from tokenlens.data.names import EXTENSIONS
from tokenlens.errors import BadInput

MOST = 1_000_000  # classes; a label beyond is a number of something else


class Sample(NamedTuple):
    """Where an image is in its shard, and its class."""

    name: str
    start: int
    size: int
    label: int


def samples(shard: str) -> dict[str, Sample]:
    """The samples of a shard by key, which is a file's path up to the first dot of its name.

    Raises:
        BadInput: the shard is compressed or damaged; a sample without an image, or with a class that is no number.
    """
    images: dict[str, Sample] = {}
    labels: dict[str, int] = {}
    keys: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, slash, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                key = folder + slash + stem
                if not member.isfile() or not stem:
                    continue
                keys.setdefault(key, member.name)
                if f".{ending.lower()}" in EXTENSIONS:
                    images.setdefault(key, Sample(member.name, member.offset_data, member.size, -1))
                elif ending.lower() in ("cls", "json"):
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    _label(shard, member.name, labels, key, content.read())
    except tarfile.ReadError as error:
        with Path(shard).open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        way = "unpack it with gunzip, single images are read from plain archives only" if packed else "fetch it again"
        raise BadInput(f"{shard} cannot be read as a tar archive ({error}): {way}") from error
    bare = next((name for key, name in keys.items() if key not in images), None)
    if bare is not None:
        raise BadInput(f"the sample of {bare} in {shard} has no image: take it out, or give other shards")
    return {key: image._replace(label=labels.get(key, -1)) for key, image in images.items()}


def _label(shard: str, name: str, labels: dict[str, int], key: str, content: bytes) -> None:
    in_json = name.lower().endswith(".json")
    try:
        said = json.loads(content).get("label") if in_json else content.decode().strip()
        if said is None:
            return
        found = _whole(said)
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"{name} in {shard} tells no class ({error}): a whole number from 0 is needed") from error
    if not in_json or key not in labels:
        labels[key] = found


def _whole(said: Any) -> int:
    """A class as writers of shards leave it: 3, "3" or 3.0. Names are none: nothing says how they are numbered."""
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        raise ValueError(f"it is {said!r}")
    number = float(said)
    if not number.is_integer() or not -1 <= number < MOST:
        raise ValueError(f"it is {said!r}, and not below {MOST}" if number.is_integer() else f"it is {said!r}")
    return int(number)
