"""Sets of the Hugging Face hub, or folders that its datasets library reads: `hf:OWNER/NAME`, `hf:./folder`.

Read through timm's reader. The first image column and the first column of classes are taken, several classes an image
too (a multi-label set); `val` is also found as `validation`. Image ids are the file names that the set stores, after
the split; where it stores none, or one twice, digests of the images' bytes. Images are in the set's order.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from tokenlens.data.files import FileSet
from tokenlens.data.names import SPLITS
from tokenlens.data.registry import register
from tokenlens.data.remote import is_remote
from tokenlens.data.selection import chosen, spread, unreadable
from tokenlens.errors import BadInput, needed
from tokenlens.hub import answers_at_once


@dataclass(frozen=True, eq=False)
class HubSet(FileSet):
    """Images in the tables of the datasets library."""

    reader: Any = field(default=None, repr=False)
    rows: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp), repr=False)
    """(images,) where each is in the reader"""

    listing: tuple[tuple[str | None, int], ...] = field(default=(), repr=False)
    """the stored name and the bytes of every image of the split"""

    arrays: ClassVar[tuple[str, ...]] = ("labels", "rows")

    @cached_property
    def dataset(self) -> str:
        """What runs call it: its name on the hub, or of a folder a digest of what its files are called and hold."""
        if is_remote(self.name):
            return self.name
        found = hashlib.sha256("\n".join(self.classes).encode())
        for name, size in self.listing:
            found.update(f"\n{name} {size}".encode())
        return f"hf:{len(self.listing)}-images-{found.hexdigest()[:8]}"

    def opened(self, index: int) -> BinaryIO:
        """The bytes of one image."""
        found: BinaryIO = self.reader[int(self.rows[index])][0]
        return found


@register("hf", "hf:OWNER/NAME", labels="one or several", ids="stored file names, or digests of the images' bytes")
def open_hf(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> HubSet:
    """Open a set of the hub, which is fetched once, or a folder.

    Raises:
        BadInput: the extra `hub` is not installed; no such set or split, no network, no images in it.
    """
    datasets = needed("datasets", "hub", f"hf:{where}")
    from timm.data.readers import create_reader

    local = Path(where).expanduser()
    path = str(local.resolve()) if local.exists() else where
    with _told(where), nullcontext() if local.exists() else answers_at_once():
        part = _part(where, split, datasets.get_dataset_split_names(path))
        image, label = _columns(where, datasets, datasets.load_dataset(path, split=part).features)
        reader = create_reader(f"hfds/{path}", split=part, input_key=image, target_key=label or image)
    rows = spread(len(reader), limit)
    classes = tuple(sorted(reader.class_to_idx, key=reader.class_to_idx.__getitem__)) if label else ()
    ids = [f"{part}/{name.removeprefix(part + '/')}" for name in _names(reader, image, path, rows)]
    found = HubSet(
        f"hf:{path}",
        split,
        classes,
        tuple(ids),
        tuple(f"{name} of hf:{where}" for name in ids),
        _labels(reader.dataset[label], len(classes))[rows] if label else np.full(len(rows), -1, np.int32),
        reader=reader,
        rows=rows,
        listing=_listing(reader, image, path),
    )
    return chosen(found, f"hf:{where}", None, skip_bad, unreadable if skip_bad else None)


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # the library, its file systems and the network fail in their own ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"hf:{where} cannot be opened ({reason}): check the name, the network and what the set needs"
        ) from error


def _part(where: str, split: str, there: Sequence[str]) -> str:
    found = next((name for name in SPLITS.get(split, (split,)) if name in there), None)
    if found is None:
        raise BadInput(f"hf:{where} has the splits {', '.join(there)} and not {split}: choose one of these")
    return found


def _columns(where: str, datasets: Any, features: dict[str, Any]) -> tuple[str, str | None]:
    """The columns of images and of classes; None without the latter."""
    image = next((name for name, kind in features.items() if isinstance(kind, datasets.Image)), None)
    if image is None:
        raise BadInput(f"hf:{where} has no column of images, only {', '.join(features)}: give another set")

    def is_class(kind: Any) -> bool:
        return isinstance(getattr(kind, "feature", kind), datasets.ClassLabel)

    return image, next((name for name, kind in features.items() if is_class(kind)), None)


def _labels(column: Sequence[Any], classes: int) -> NDArray[Any]:
    """(images,) int32, or of lists of classes (images, classes) bool."""
    values = list(column)
    if not any(isinstance(value, list) for value in values):
        return np.array([-1 if value is None else value for value in values], np.int32)
    labels = np.zeros((len(values), classes), bool)
    for row, value in enumerate(values):
        labels[row, value or []] = True
    return labels


def _names(reader: Any, image: str, path: str, rows: NDArray[np.intp]) -> list[str]:
    """A stable name for each of these rows."""
    import pyarrow.compute
    from tqdm import tqdm

    stored = pyarrow.compute.struct_field(reader.dataset.data.column(image), "path").to_pylist()
    names = [_relative(name, path) for name in stored]
    if None not in names and len(set(names)) == len(names):
        return [str(names[row]) for row in rows]
    found, seen = [], dict[str, int]()
    for row in tqdm(rows.tolist(), "naming images", disable=len(rows) < 1000, leave=False):
        with reader[row][0] as file:
            digest = hashlib.blake2b(file.read(), digest_size=8).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        found.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return found


def _listing(reader: Any, image: str, path: str) -> tuple[tuple[str | None, int], ...]:
    """The stored name and the bytes of every image; a set of the hub is known by its name."""
    import pyarrow.compute

    if not Path(path).exists():
        return ()
    column = reader.dataset.data.column(image)
    stored = pyarrow.compute.struct_field(column, "path").to_pylist()
    sizes = pyarrow.compute.binary_length(pyarrow.compute.struct_field(column, "bytes")).to_pylist()
    return tuple(
        (_relative(name, path), Path(name).stat().st_size if size is None else size)
        for name, size in zip(stored, sizes, strict=True)
    )


def _relative(name: str | None, path: str) -> str | None:
    """A stored file name, if it does not depend on the machine."""
    if name and Path(name).is_absolute():
        return Path(name).relative_to(path).as_posix() if Path(name).is_relative_to(path) else None
    return name or None
