"""Embedded data sets: drawn when asked for, so that everything works offline. There is one: `shapes` (shapes.py)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownName
from .shapes import CLASSES, shapes

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CLASSES", "SIZES", "Shapes", "open_embedded", "shapes"]

SIZES = {"train": 1_000_000, "val": 10_000, "test": 10_000}


drawn = lru_cache(maxsize=8)(shapes)  # an image and its mask are asked for one after the other


class Shapes:
    """The set `shapes` as an image set: names, ids and PIL images over `shapes(split, index)`."""

    name, classes = "embedded:shapes", CLASSES

    def __init__(self, split: str, count: int) -> None:
        """`count` pictures of a split, the first ones."""
        self.split = split
        self.ids: Sequence[str] = [f"shapes/{split}/{index:06d}" for index in range(count)]

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self.ids)

    def _at(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(
                f"{self.name} was opened with {len(self)} pictures of split {self.split}, "
                f"and there is no picture {index}; the last is {len(self) - 1}"
            )
        return index % len(self)

    def image(self, index: int) -> Image.Image:
        """One picture, RGB, 112 x 112."""
        from PIL import Image

        return Image.fromarray(drawn(self.split, self._at(index))[0])

    def label(self, index: int) -> int:
        """Its class, an index into `classes`."""
        return self._at(index) % len(CLASSES)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(14, 14) bool: the patches of which the object covers at least a quarter."""
        return drawn(self.split, self._at(index))[2]


def open_embedded(name: str, split: str = "val", limit: int | None = None) -> Shapes:
    """Open an embedded set, its first `limit` pictures or all. Raises UnknownName for an unknown name or split."""
    if name != "shapes":
        raise UnknownName("embedded set", name, ["shapes"])
    if split not in SIZES:
        raise UnknownName("split of shapes", split, SIZES)
    return Shapes(split, min(SIZES[split], SIZES[split] if limit is None else limit))
