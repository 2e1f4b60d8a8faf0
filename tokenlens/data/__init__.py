"""The data sets, one file each: `open_data("embedded:shapes")`, `open_data("folder:/my/images")`.

To add one, write its file and put its name here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

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
from .registry import DATA_SETS, DataSet, ImageSet, Named, check_limit, open_data, register

__all__ = [
    "DATA_SETS",
    "DataSet",
    "ImageSet",
    "Named",
    "check_apart",
    "check_limit",
    "content_of_ids",
    "content_of",
    "dataset_of",
    "identity_of",
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


def dataset_of(data: Named) -> str:
    """What runs call a set: of files, what they are and not where they lie; of others, the words it was opened with."""
    return str(getattr(data, "dataset", data.name))


def identity_of(data: Named) -> dict[str, Any]:
    """What the identity of a run (`tokenlens.records.run.Run`) says of its images."""
    return {"dataset": dataset_of(data), "split": data.split, "images": len(data), "content": content_of(data)}


def content_of(data: Named) -> str:
    """A digest of the image ids, in order."""
    return content_of_ids(data.ids)


def content_of_ids(ids: Sequence[str]) -> str:
    """The digest of image ids, in order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def check_apart(train: Named, val: Named) -> None:
    """Refuse to judge on what was learned from: no image id may be in both sets."""
    shared = set(train.ids) & set(val.ids)
    if shared:
        raise BadInput(
            f"{len(shared)} images of {val.name} ({val.split}) are in {train.name} ({train.split}) too, "
            f"{min(shared)} for one; give splits that share none"
        )
