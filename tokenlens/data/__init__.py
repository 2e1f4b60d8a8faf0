"""Data sets by name: `open_data("embedded:shapes")`, `open_data("folder:/my/images")`.

Importing this costs nothing: a kind's own file is imported when a set of that kind is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from ..errors import BadInput, UnknownName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Label = int | NDArray[np.bool_]

__all__ = ["KINDS", "ImageSet", "check_apart", "content_of", "dataset_of", "left_out", "open_data"]


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
    def multi_label(self) -> bool:
        """Whether an image can be of several classes, or of none."""

    @property
    def ids(self) -> Sequence[str]:
        """Stable image ids, one an image, never row numbers, e.g. "shapes/val/000123"."""

    def __len__(self) -> int:
        """The number of images."""

    def image(self, index: int) -> Image.Image:
        """One image, RGB."""

    def label(self, index: int) -> Label:
        """The class of one image, -1 when unknown; in a multi-label set (classes,) bool, True where the class is."""

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """(rows, columns) bool on the patch grid, True on the object; None when the set has none."""


KINDS = {
    "embedded": "embedded:shapes",
    "folder": "folder:PATH",
    "imagenet": "imagenet:PATH",
    "nabirds": "nabirds:PATH",
    "coco": "coco:PATH",
    "nuswide": "nuswide:PATH",
    "hf": "hf:OWNER/NAME",
    "wds": "wds:SHARDS.tar",
}
"""What each kind looks like; its file of the same name has `open_<kind>(where, split, limit, skip_bad)`."""


def open_data(spec: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> ImageSet:
    """Open the data set that `spec` names: "kind:where", e.g. "embedded:shapes" or "folder:/my/images".

    Args:
        spec: one of `KINDS`.
        split: which part, e.g. "train" or "val".
        limit: the first images of an embedded set, evenly spaced ones of others; beyond the set it is clipped.
        skip_bad: pass over images that cannot be read; they are all decoded once to know.

    Raises:
        BadInput: the set is not known or cannot be read.
    """
    kind, _, where = spec.partition(":")
    if kind not in KINDS or not where:
        raise UnknownName("data set", spec, KINDS.values())
    if limit is not None and limit < 1:
        raise BadInput(f"limit must be at least 1 image, not {limit}; leave it out to take all of {spec}")
    opener = getattr(import_module(f".{kind}", __name__), f"open_{kind}")
    try:
        found: ImageSet = opener(where, split, limit, skip_bad)
    except OSError as error:
        place, reason = error.filename or spec, error.strerror or error
        raise BadInput(f"{place} cannot be read ({reason}): check the path and its permissions") from error
    return found


def left_out(data: ImageSet) -> str:
    """What to tell of how the set was understood and of files that were passed over; "" where there is nothing."""
    told: list[str] = list(getattr(data, "notes", ()))
    bad: list[tuple[str, str]] = getattr(data, "bad", [])
    if bad:
        named = ", ".join(f"{name} ({reason})" for name, reason in bad[:5])
        told.append(f"left out {len(bad)} files that cannot be read: {named}{', ...' if len(bad) > 5 else ''}")
    return "\n".join(told)


def dataset_of(data: ImageSet) -> str:
    """What runs call a set: of files, what they are and not where they lie; of others, the words it was opened with."""
    return str(getattr(data, "dataset", data.name))


def content_of(data: ImageSet) -> str:
    """A digest of the image ids, in order."""
    return hashlib.sha256("\n".join(data.ids).encode()).hexdigest()[:16]


def check_apart(train: ImageSet, val: ImageSet) -> None:
    """Refuse to judge on what was learned from: no image id may be in both sets."""
    shared = set(train.ids) & set(val.ids)
    if shared:
        raise BadInput(
            f"{len(shared)} images of {val.name} ({val.split}) are in {train.name} ({train.split}) too, "
            f"{min(shared)} for one; give splits that share none"
        )
