"""Which WebDataset shards a split has, by timm's _info.json or by braces, and where they are on this machine."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from tokenlens.data.names import SPLITS
from tokenlens.data.remote import check_address, is_local
from tokenlens.errors import BadInput

INFO = "_info.json"


class Info(NamedTuple):
    """What timm's _info.json says."""

    splits: dict[str, list[str]]
    """the shards of each"""
    classes: list[str] | None


def info_of(where: str) -> Info | None:
    """Read it; None where a folder, or a name of shards, has none."""
    path = Path(where) / INFO
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text("utf-8-sig"))
        splits = {
            name: [str(path.parent / file) for file in part["filenames"]] for name, part in said["splits"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} has no splits with filenames ({error!r}): name the shards instead") from error
    classes = said.get("classes")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise BadInput(f"classes in {path} is no list of names: mend it, or take it out")
    return Info(splits, classes)


def shards_of(library: Any, where: str, split: str) -> list[str]:
    """The shards of a split, by name."""
    info = info_of(where)
    if info is None:
        if is_local(where) and Path(where).is_dir():
            raise BadInput(f"{where} is a folder without {INFO}: name its shards, as in wds:{where}/{{0000..0009}}.tar")
        names: list[str] = library.shardlists.expand_urls(where.replace("{split}", split))
        for name in names:
            check_address(name)
        return names
    found = next((name for name in SPLITS.get(split, (split,)) if name in info.splits), None)
    if found is None:
        path, there = Path(where) / INFO, ", ".join(info.splits)
        raise BadInput(f"{path} has the splits {there} and not {split}: choose one of these")
    return info.splits[found]


def _cache_name(address: str) -> str:
    """A file name for an address; webdataset's own is the last word of it, which other addresses share."""
    last = re.sub(r"[^A-Za-z0-9.\-]+", "-", address)[-60:]
    return f"{hashlib.sha256(address.encode()).hexdigest()[:16]}{last}"


def place_of(shard: str) -> Path:
    """Where a shard is on this machine, or will be."""
    if is_local(shard):
        return Path(shard)
    folder = os.environ.get("WDS_CACHE")
    return (Path(folder) if folder else Path.home() / ".cache/tokenlens/shards") / _cache_name(shard)


def fetched(library: Any, shard: str) -> str:
    """The shard as a file on this machine; one behind an address is fetched, unless it was before."""
    place = place_of(shard)
    if is_local(shard):
        if not place.is_file():
            raise BadInput(f"there is no shard {shard}: check the path and the numbers in braces")
        return shard
    try:
        cache = library.cache.FileCache(str(place.parent), url_to_name=_cache_name)
        return str(cache.get_file(shard))
    except Exception as error:  # protocols fail in their own ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{shard} cannot be fetched ({reason}): check the address and try again") from error
