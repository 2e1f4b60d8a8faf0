"""Data sets by name: `open_data("embedded:shapes")`, `open_data("folder:/my/images")`.

Importing this costs nothing: a kind's own file is imported when a set of that kind is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import BadInput, UnknownName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["KINDS", "ImageSet", "open_data"]


class ImageSet(Protocol):
    """Images in a fixed order, with what is known about each."""

    @property
    def name(self) -> str:
        """The words it was opened with, e.g. "embedded:shapes"."""

    @property
    def split(self) -> str:
        """Which part of the set, e.g. "val"."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; () when unknown."""

    @property
    def ids(self) -> Sequence[str]:
        """Stable image ids, one an image, never row numbers, e.g. "shapes/val/000123"."""

    def __len__(self) -> int:
        """The number of images."""

    def image(self, index: int) -> Image.Image:
        """One image, RGB."""

    def label(self, index: int) -> int:
        """The class of one image; -1 when unknown."""

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """(rows, columns) bool on the patch grid, True on the object; None when the set has none."""


def _embedded(where: str, split: str, limit: int | None, skip_bad: bool) -> ImageSet:
    from .embedded import open_embedded

    return open_embedded(where, split, limit)


def _folder(where: str, split: str, limit: int | None, skip_bad: bool) -> ImageSet:
    from .folder import open_folder

    return open_folder(where, split, limit, skip_bad)


KINDS: dict[str, Callable[[str, str, int | None, bool], ImageSet]] = {"embedded": _embedded, "folder": _folder}


def open_data(spec: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> ImageSet:
    """Open the data set that `spec` names: "kind:where", e.g. "embedded:shapes" or "folder:/my/images".

    `limit` takes the first images of an embedded set, and evenly spaced ones of a folder; beyond the set it is clipped.
    `skip_bad` passes over files that cannot be read. Raises BadInput when the set is not known or cannot be read.
    """
    kind, _, where = spec.partition(":")
    if kind not in KINDS or not where:
        raise UnknownName("data set", spec, ["embedded:shapes", "folder:PATH"])
    if limit is not None and limit < 1:
        raise BadInput(f"limit must be at least 1 image, not {limit}; leave it out to take all of {spec}")
    return KINDS[kind](where, split, limit, skip_bad)
