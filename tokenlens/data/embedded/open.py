"""Embedded data sets: drawn when asked for, so that everything works offline, and the truth about them is known.

`shapes` (one textured object), `birds` (kinds that differ in small parts), `scenes` (several objects, multi-label) and
`tags` (attributes of the whole picture, multi-label) mirror ImageNet, NABirds, COCO and NUS-WIDE. The first three know
which patches the objects lie on, and take a photographer's bias: `embedded:birds@bias=0.5` moves every object half of
the way to the centre and changes nothing else in the picture. The very pictures of a set can be changed:
`embedded:birds@noise=0.1` adds grain to them, `embedded:birds@mirror=1` shows them in a mirror, and
`embedded:birds@crop=0.25` cuts a quarter of each side away and enlarges the middle to the whole. They keep their ids,
so that `tokenlens compare --axis change` tells how far patterns hold.

A new set is a file with a function (split, index[, bias]) -> image, label, mask, and a line in `SETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInput, UnknownName
from ..registry import register
from . import birds, scenes, tags
from .paint import generator
from .shapes import CLASSES, shapes

if TYPE_CHECKING:
    from PIL import Image

    from ..registry import Label

__all__ = ["CLASSES", "SETS", "SIZES", "EmbeddedSet", "open_embedded", "shapes"]

SIZES = {"train": 1_000_000, "val": 10_000, "test": 10_000}


@dataclass(frozen=True)
class Source:
    """What draws the pictures of a set: (112, 112, 3) uint8, label, mask (14, 14) bool or None."""

    classes: tuple[str, ...]
    draw: Callable[..., tuple[NDArray[np.uint8], Any, NDArray[np.bool_] | None]]
    multi_label: bool = False
    objects: bool = True
    """whether there are any: they have masks, and can be moved to the centre"""
    instances: Callable[..., tuple[list[int], NDArray[np.bool_]]] | None = None
    """where it knows each object apart: classes and masks (objects, 112, 112) bool"""
    thirds: tuple[float, float] | None = None
    """of such a set: the areas in pixels from which on an object is medium, and large"""


SETS = {
    "shapes": Source(CLASSES, shapes),
    "birds": Source(birds.CLASSES, birds.birds),
    "scenes": Source(scenes.CLASSES, scenes.scenes, multi_label=True, instances=scenes.instances, thirds=scenes.THIRDS),
    "tags": Source(tags.CLASSES, tags.tags, multi_label=True, objects=False),
}


@lru_cache(maxsize=8)  # an image, its label and its mask are asked for one after the other
def drawn(name: str, split: str, index: int, bias: float) -> tuple[NDArray[np.uint8], Any, NDArray[np.bool_] | None]:
    """One picture of a set: image, label, mask."""
    source = SETS[name]
    return source.draw(split, index, bias) if source.objects else source.draw(split, index)


class EmbeddedSet:
    """A set as an image set: names, ids and PIL images over what its source draws."""

    def __init__(
        self, source: str, split: str, count: int, bias: float = 0.0, noise: float = 0.0, mirror: float = 0.0,
        crop: float = 0.0,
    ) -> None:  # fmt: skip
        """`count` pictures of a split, the first ones; `bias` from 0, objects anywhere, to 1, in the centre.

        `noise` is the deviation of the grain that is added, as a share of all grey levels; `mirror` is 0 or 1;
        `crop` is the share of each side that is cut away, half of it at either end.
        """
        self.source, self.split, self.bias, self.noise, self.mirror = source, split, bias, noise, bool(mirror)
        self.crop = crop
        self.classes, self.multi_label = SETS[source].classes, SETS[source].multi_label
        given = {"bias": bias, "noise": noise, "mirror": mirror, "crop": crop}
        self.name = f"embedded:{source}" + "".join(f"@{key}={value:.15g}" for key, value in given.items() if value)
        drawn_as = f"{source}@bias={bias:.15g}" if bias else source  # what is changed is still the same picture
        self.ids: Sequence[str] = [f"{drawn_as}/{split}/{index:06d}" for index in range(count)]

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

    def _middle(self, pixels: NDArray[Any], how: str) -> NDArray[Any]:
        """What is left of a picture (..., ..., [3]) after the crop, in the size that it had."""
        from PIL import Image

        if not self.crop:
            return pixels
        (height, width), cut = pixels.shape[:2], self.crop / 2
        box = (width * cut, height * cut, width * (1 - cut), height * (1 - cut))
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling[how], box))

    def image(self, index: int) -> Image.Image:
        """One picture, RGB, 112 x 112."""
        from PIL import Image

        pixels = drawn(self.source, self.split, self._at(index), self.bias)[0]
        pixels = self._middle(pixels, "BICUBIC")
        if self.noise:
            grain = generator(f"noise {self.noise:.15g}", self.split, self._at(index)).normal(size=pixels.shape)
            pixels = np.clip(pixels + 255 * self.noise * grain, 0, 255).round().astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(pixels[:, ::-1]) if self.mirror else pixels)

    def label(self, index: int) -> Label:
        """Its class, an index into `classes`; in a multi-label set (classes,) bool."""
        if not self.multi_label:  # classes take turns, so nothing need be drawn
            return self._at(index) % len(self.classes)
        label: NDArray[np.bool_] = drawn(self.source, self.split, self._at(index), self.bias)[1].copy()
        return label

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """(14, 14) bool: the patches that objects lie on; None where a set has no objects."""
        mask = drawn(self.source, self.split, self._at(index), self.bias)[2]
        if mask is None:
            return None
        mask = self._middle(mask, "NEAREST")
        return mask[:, ::-1] if self.mirror else mask

    def instances(self, index: int) -> tuple[list[int], NDArray[np.bool_]] | None:
        """The objects of a picture: their classes, and (objects, 112, 112) bool where each is seen; None: not known.

        Examples:
            >>> classes, masks = open_embedded("scenes").instances(0)
            >>> len(classes), masks.shape[1:]
            (5, (112, 112))
        """
        known = SETS[self.source].instances
        if known is None:
            return None
        classes, masks = known(self.split, self._at(index), self.bias)
        if self.crop and len(masks):
            masks = np.stack([self._middle(mask, "NEAREST") for mask in masks])
            seen = np.flatnonzero(masks.any(axis=(1, 2)))  # others were cut away
            classes, masks = [classes[i] for i in seen], masks[seen]
        return classes, masks[:, :, ::-1] if self.mirror else masks


@register("embedded", "embedded:shapes", labels="one or several", masks=True, ids="set, split and number")
def open_embedded(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> EmbeddedSet:
    """Open an embedded set, its first `limit` pictures or all: "birds", or "birds@bias=0.5". None is ever bad.

    Raises UnknownName for an unknown name, setting or split, BadInput for a bias that cannot be.
    """
    name, _, setting = where.partition("@")
    if name not in SETS:
        raise UnknownName("embedded set", name, SETS)
    if split not in SIZES:
        raise UnknownName(f"split of {name}", split, SIZES)
    count = SIZES[split] if limit is None else min(SIZES[split], limit)
    return EmbeddedSet(name, split, count, **(_setting(name, setting) if "@" in where else {}))


SETTINGS = {  # what each goes from and to, and one of its values
    "bias": ("0 (objects anywhere) to 1 (in the centre)", 0.5),
    "noise": ("0 (none) to 1 (grain as strong as all grey levels)", 0.1),
    "mirror": ("0 (as drawn) to 1 (in a mirror)", 1),
    "crop": ("0 (the whole picture) to 0.75 (its middle, a quarter of each side)", 0.25),
}
MOST = {"crop": 0.75}  # of those that do not go to 1


def _setting(name: str, setting: str) -> dict[str, float]:
    key, _, given = setting.partition("=")
    if key not in SETTINGS:
        raise UnknownName("setting of embedded sets", key, SETTINGS)
    if key == "bias" and not SETS[name].objects:
        raise BadInput(f"embedded:{name} has no objects that a bias could move; leave out @{setting}")
    try:
        value = float(given)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= MOST.get(key, 1) or (key == "mirror" and value not in (0, 1)):
        ends, one = SETTINGS[key]
        raise BadInput(
            f"the {key} of embedded:{name} goes from {ends}, and {given!r} is not such a number; give, for instance, "
            f"embedded:{name}@{key}={one:g}"
        )
    return {key: value}
