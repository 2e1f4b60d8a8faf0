"""The data sets, one file each: `open_data("embedded:shapes")`, `open_data("folder:/my/images")`.

To add one, write its file and put its name here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

# isort: off
from . import (  # noqa: F401  importing registers; the order is that of lists
    embedded,
    photographs,
    folder,
    imagenet,
    nabirds,
    coco,
    nuswide,
    hf,
    wds,
)

# isort: on
from ..errors import BadInput
from .registry import DATA_SETS, DataSet, ImageSet, open_data, register

__all__ = [
    "DATA_SETS",
    "DataSet",
    "ImageSet",
    "check_apart",
    "content_of_ids",
    "content_of",
    "dataset_of",
    "left_out",
    "open_data",
    "register",
]


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
    return content_of_ids(data.ids)


def content_of_ids(ids: Sequence[str]) -> str:
    """The digest of image ids, in order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def check_apart(train: ImageSet, val: ImageSet) -> None:
    """Refuse to judge on what was learned from: no image id may be in both sets."""
    shared = set(train.ids) & set(val.ids)
    if shared:
        raise BadInput(
            f"{len(shared)} images of {val.name} ({val.split}) are in {train.name} ({train.split}) too, "
            f"{min(shared)} for one; give splits that share none"
        )
