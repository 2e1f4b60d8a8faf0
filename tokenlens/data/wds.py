"""WebDataset shards: `wds:/data/imagenet-{split}-{0000..0127}.tar`, or a folder with timm's _info.json.

A sample is an image (`key.jpg`, png, webp...) with its class beside it: `key.cls`, or `label` in `key.json`; without
either it is -1. Braces list shards, `{split}` stands for --split; shards behind an address are fetched once, into
WDS_CACHE or ~/.cache/tokenlens/shards. Image ids are the samples' keys, after `split/` where the split chooses the
shards; images are in the order of the shards. timm's own reader streams shards and does not hand on the keys, which
is why it is not used.
"""

import hashlib
import io
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from tokenlens.data.choosing import chosen, unreadable
from tokenlens.data.files import FileSet
from tokenlens.data.folder import SPLITS
from tokenlens.data.tar import samples
from tokenlens.errors import BadInput, needed

INFO = "_info.json"


@dataclass(frozen=True, eq=False)
class Shards(FileSet):
    """Images in tar archives."""

    shards: tuple[str, ...] = field(default=(), repr=False)
    spans: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64), repr=False)
    """(images, 3): the image's shard, and where in it its bytes begin and how many there are"""

    arrays: ClassVar[tuple[str, ...]] = ("labels", "spans")

    def opened(self, index: int) -> BinaryIO:
        """The bytes of one image."""
        shard, start, size = self.spans[index].tolist()
        with Path(self.shards[shard]).open("rb") as file:
            file.seek(start)
            return io.BytesIO(file.read(size))


def open_wds(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> Shards:
    """Open shards; images are read when they are asked for.

    Raises:
        BadInput: the extra `hub` is not installed; a shard is missing, compressed or damaged; a sample without image.
    """
    from tqdm import tqdm

    library = needed("webdataset", "hub", f"wds:{where}")
    if _is_local(where):
        where = str(Path(where).expanduser().resolve())
    names = _shards(library, where, split)
    away = not all(_is_local(name) for name in names)
    shards = tuple(_local(library, name) for name in tqdm(names, "fetching shards", disable=not away, leave=False))
    prefix = f"{split}/" if "{split}" in where or (Path(where) / INFO).is_file() else ""
    ids, files, labels, spans = [], [], [], []
    for number, shard in enumerate(tqdm(shards, "reading shards", disable=len(shards) < 10, leave=False)):
        for key, sample in samples(shard).items():
            ids.append(prefix + key)
            files.append(f"{shard}/{sample.name}")
            labels.append(sample.label)
            spans.append((number, sample.start, sample.size))
    if not ids:
        raise BadInput(f"{', '.join(names[:3])} hold no samples: give other shards")
    found = Shards(
        f"wds:{where}",
        split,
        (),
        tuple(ids),
        tuple(files),
        np.array(labels, np.int32),
        shards=shards,
        spans=np.array(spans, np.int64),
    )
    return chosen(found, f"wds:{where}", limit, skip_bad, unreadable if skip_bad else None)


def _is_local(name: str) -> bool:
    return "://" not in name and not name.startswith("pipe:")


def _shards(library: Any, where: str, split: str) -> list[str]:
    """The shards of a split, by name."""
    info = Path(where) / INFO
    if not info.is_file():
        if _is_local(where) and Path(where).is_dir():
            raise BadInput(f"{where} is a folder without {INFO}: name its shards, as in wds:{where}/{{0000..0009}}.tar")
        return list(library.shardlists.expand_urls(where.replace("{split}", split)))
    try:
        splits = json.loads(info.read_text())["splits"]
        files = {name: [str(info.parent / file) for file in part["filenames"]] for name, part in splits.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{info} has no splits with filenames ({error!r}): name the shards instead") from error
    found = next((name for name in SPLITS.get(split, (split,)) if name in files), None)
    if found is None:
        raise BadInput(f"{info} has the splits {', '.join(files)} and not {split}: pass one of them with --split")
    return files[found]


def _cache_name(address: str) -> str:
    """A file name for an address; webdataset's own is the last word of it, which other addresses share."""
    last = re.sub(r"[^A-Za-z0-9.\-]+", "-", address)[-60:]
    return f"{hashlib.sha256(address.encode()).hexdigest()[:16]}{last}"


def _local(library: Any, shard: str) -> str:
    """The shard as a file on this machine; one behind an address is fetched, unless it was before."""
    if _is_local(shard):
        if not Path(shard).is_file():
            raise BadInput(f"there is no shard {shard}: check the path and the numbers in braces")
        return shard
    folder = os.environ.get("WDS_CACHE") or str(Path.home() / ".cache/tokenlens/shards")
    try:
        cache = library.cache.FileCache(folder, url_to_name=_cache_name)
        return str(cache.get_file(shard))
    except Exception as error:  # commands and protocols fail in their own ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{shard} cannot be fetched ({reason}): check the address and try again") from error
