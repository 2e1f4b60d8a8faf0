"""What all sets have in common whose images lie in files: opening one, and saying what is wrong with it."""

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tokenlens.data.picture import read_rgb
from tokenlens.errors import BadInput

FEW = 4  # classes; fewer are named
LONGEST = 30  # letters of the words in a set's name


class BadImage(BadInput):
    """One file that cannot be read as an image."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be read as an image ({reason}): mend or remove it, or pass --skip-bad")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        return BadImage, (self.path, self.reason)  # so that it survives the way out of a worker process


@dataclass(frozen=True, eq=False)
class FileSet:
    """An image set of which all but the pixels is known; `bad` holds (id, reason) of what was left out.

    Labels are (images,) integers, -1 where unknown, or (images, classes) bool in a multi-label set. `files` says where
    each image is: a path here; a set whose images lie in archives says how to open them.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    ids: tuple[str, ...] = field(repr=False)
    files: tuple[str, ...] = field(repr=False)
    labels: NDArray[Any] = field(repr=False)
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    """what was understood, or passed over, a sentence each"""
    whole: Self | None = field(default=None, repr=False)
    """all images of the split, where this holds some of them"""

    arrays: ClassVar[tuple[str, ...]] = ("labels",)  # those with a row for each image

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether an image can be of several classes."""
        return self.labels.ndim == 2

    @cached_property
    def dataset(self) -> str:
        """What runs call the set, wherever it lies."""
        whole = self.whole or self
        images = (f"{name} {size}" for name, size in zip(whole.ids, whole.byte_counts(), strict=True))
        return called(self.name.partition(":")[0], whole.classes, len(whole), images)

    def byte_counts(self) -> Iterator[int]:
        """The bytes of each image; -1 where there is no file."""
        for file in self.files:
            try:
                yield Path(file).stat().st_size
            except OSError:
                yield -1

    def image(self, index: int) -> Image.Image:
        """Return one image: RGB, upright, first frame, transparency on white; raises `BadImage`."""
        source = None
        with _without_pillows_warnings():
            try:
                source = self.opened(index)
                return read_rgb(source)
            except MemoryError:
                raise
            except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
                raise BadImage(self.files[index], _reason(self.files[index], source, error)) from error
            finally:
                if source is not None and not isinstance(source, str):
                    source.close()

    def opened(self, index: int) -> str | BinaryIO:
        """Where one image is read from: its path, or an open file."""
        return self.files[index]

    def label(self, index: int) -> Any:
        """Return the index into `classes`, -1 where unknown; or (classes,) bool."""
        return self.labels[index].copy() if self.multi_label else int(self.labels[index])

    def mask(self, index: int) -> None:
        """Return None: files know nothing of objects."""
        return None

    def subset(self, which: NDArray[np.integer]) -> Self:
        """The set of these images only, in this order."""
        rows = {name: getattr(self, name)[which] for name in self.arrays}
        return replace(self, ids=tuple(self.ids[i] for i in which), files=tuple(self.files[i] for i in which), **rows)


def called(kind: str, classes: Sequence[str], count: int, images: Iterable[str]) -> str:
    """What runs call a set: its kind, and a digest of its classes and of what is said of all its images.

    The words before the digest are its classes, or how many classes or images there are.
    """
    found = hashlib.sha256("\n".join(classes).encode())
    for image in images:
        found.update(f"\n{image}".encode())
    words = "-".join(classes) if 0 < len(classes) < FEW else f"{len(classes)}-classes" if classes else f"{count}-images"
    return f"{kind}:{slug(words)}-{found.hexdigest()[:8]}"


def slug(words: str) -> str:
    """Words as part of a name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", words)[:LONGEST].strip("-") or "set"


def root_of(where: str, kind: str) -> Path:
    """The folder that a data set lies in. Raises BadInput where there is none."""
    if not where:
        raise BadInput(f"the folder's path is empty: write {kind}:PATH, as in {kind}:./photos")
    root = Path(where).expanduser().resolve()
    if not root.exists():
        raise BadInput(f"there is no folder {root}: check the path")
    if not root.is_dir():
        raise BadInput(f"{root} is a file and not a folder of images: give the folder that it lies in")
    return root


@contextmanager
def _without_pillows_warnings() -> Iterator[None]:
    """Pillow warns of odd metadata and of merely large images: neither costs a pixel."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _reason(file: str, source: str | BinaryIO | None, error: Exception) -> str:
    if isinstance(source, str) and not Path(file).exists():  # a link that leads nowhere, or a file removed since
        return "there is no file behind this name"
    if isinstance(error, BadInput):
        return "a pipe or a device, and no file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(source, str) and Path(file).stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels to be opened safely; scale it down"
    return " ".join(str(error).split()) or type(error).__name__
