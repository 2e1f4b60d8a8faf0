"""WebDataset shards: `wds:/data/imagenet-{split}-{0000..0127}.tar`, or a folder with timm's _info.json.

A sample is an image (`key.jpg`, png, webp...) with its class beside it: `key.cls`, or `label` in `key.json`; without
either it is -1. Braces list shards, `{split}` stands for the split; shards behind https://, s3:// or gs:// are fetched
once, into WDS_CACHE or ~/.cache/tokenlens/shards. Image ids are the samples' keys, after `split/` where the split
chooses the shards; images are in the order of the shards. timm's own reader streams shards and does not hand on the
keys, which is why it is not used.

The classes are the list `classes` of _info.json. Shards themselves have no names: without that list the classes are
called by their numbers, up to the highest label of the split and of the shards of train that are on this machine.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from tokenlens.data.files import FileSet
from tokenlens.data.registry import register
from tokenlens.data.remote import check_address, is_local
from tokenlens.data.selection import chosen, unreadable
from tokenlens.data.shards import INFO, fetched, info_of, place_of, shards_of
from tokenlens.data.tar import Sample, samples
from tokenlens.errors import BadInput, needed

_highest: dict[tuple[str, int], int] = {}  # the highest label of a shard, by its path and last change: one look will do


@dataclass(frozen=True, eq=False)
class Shards(FileSet):
    """Images in tar archives."""

    shards: tuple[str, ...] = field(default=(), repr=False)
    spans: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64), repr=False)
    """(images, 3): the image's shard, and where in it its bytes begin and how many there are"""

    arrays: ClassVar[tuple[str, ...]] = ("labels", "spans")

    def byte_counts(self) -> Iterator[int]:
        """The bytes of each image."""
        yield from self.spans[:, 2].tolist()

    def opened(self, index: int) -> BinaryIO:
        """The bytes of one image."""
        shard, start, size = self.spans[index].tolist()
        with Path(self.shards[shard]).open("rb") as file:
            file.seek(start)
            return io.BytesIO(file.read(size))


@register("wds", "wds:SHARDS.tar", ids="the samples' keys")
def open_wds(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> Shards:
    """Open shards; images are read when they are asked for.

    Raises:
        BadInput: the extra `hub` is not installed; a shard is missing, compressed or damaged; a sample without image.
    """
    from tqdm import tqdm

    library = needed("webdataset", "hub", f"wds:{where}")
    check_address(where)
    if is_local(where):
        where = str(Path(where).expanduser().resolve())
    names = shards_of(library, where, split)
    away = not all(is_local(name) for name in names)
    shards = [fetched(library, name) for name in tqdm(names, "fetching shards", disable=not away, leave=False)]
    prefix = f"{split}/" if "{split}" in where or (Path(where) / INFO).is_file() else ""
    ids, files, labels, spans = [], [], [], []
    for number, shard in enumerate(tqdm(shards, "reading shards", disable=len(shards) < 10, leave=False)):
        for key, sample in _samples(shard).items():
            ids.append(prefix + key)
            files.append(f"{shard}/{sample.name}")
            labels.append(sample.label)
            spans.append((number, sample.start, sample.size))
    if not ids:
        raise BadInput(f"{', '.join(names[:3])} hold no samples: give other shards")
    found = Shards(
        f"wds:{where}",
        split,
        _classes(library, where, max(labels)),
        tuple(ids),
        tuple(files),
        np.array(labels, np.int32),
        shards=tuple(shards),
        spans=np.array(spans, np.int64),
    )
    return chosen(found, f"wds:{where}", limit, skip_bad, unreadable if skip_bad else None)


def _classes(library: Any, where: str, highest: int) -> tuple[str, ...]:
    """The same for every split; `highest` is the highest label of the one that is opened."""
    from tqdm import tqdm

    info = info_of(where)
    if info is not None and info.classes is not None:
        names = len(info.classes)
        if highest >= names:
            raise BadInput(
                f"{Path(where) / INFO} names {names} classes, and an image has the label {highest}: name all"
            )
        return tuple(info.classes)
    train = shards_of(library, where, "train") if info is None or "train" in info.splits else []
    there = [str(place) for place in map(place_of, train) if place.is_file()]
    for shard in tqdm(there, "counting classes", disable=len(there) < 10, leave=False):
        if _version(shard) not in _highest:
            _samples(shard)
        highest = max(highest, _highest[_version(shard)])
    return tuple(str(label) for label in range(highest + 1))


def _samples(shard: str) -> dict[str, Sample]:
    """The samples of a shard by key; its highest label is kept in mind."""
    found = samples(shard)
    _highest[_version(shard)] = max((sample.label for sample in found.values()), default=-1)
    return found


def _version(shard: str) -> tuple[str, int]:
    return shard, Path(shard).stat().st_mtime_ns
