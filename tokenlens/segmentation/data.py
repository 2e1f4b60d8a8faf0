"""Sets of images of which every pixel's class is known: ADE20K, Pascal VOC, and the embedded scenes.

ADE20K (Zhou et al., 2017, its scene parsing challenge): images/training/*.jpg with annotations/training/*.png, and
validation; 1 to 150 are the classes, 0 is none of them. Pascal VOC 2012: JPEGImages, SegmentationClass and
ImageSets/Segmentation/train.txt; 0 is the background, 1 to 20 the classes, 255 the border, which counts as nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data import check_limit, open_data
from ..data.embedded import EmbeddedSet
from ..data.files import root_of
from ..data.picture import read_rgb
from ..data.selection import spread
from ..errors import BadInput, UnknownName

IGNORED = 255  # a pixel of no class, which counts as nothing
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
ADE_CLASSES = 150
ADE_FOLDERS = {"train": "training", "val": "validation"}
EMBEDDED_LIMIT = 500  # of an endless set


@dataclass(frozen=True)
class SegmentationSet:
    """Images in a fixed order, and the class of each of their pixels."""

    name: str
    """the words it was opened with"""
    dataset: str
    """what runs call it, wherever it lies"""
    split: str
    classes: tuple[str, ...]
    ids: Sequence[str]
    image: Callable[[int], Image.Image]
    """one of them by number, RGB"""
    map_of: Callable[[int], NDArray[np.uint8]]
    """(H, W): the class of each of its pixels, or IGNORED"""

    def __len__(self) -> int:
        return len(self.ids)

    def map(self, index: int) -> NDArray[np.uint8]:
        """(H, W) uint8: the class of each pixel of an image, or IGNORED.

        Raises:
            BadInput: it has another size than the image, or a class that the set has not.
        """
        found, size = self.map_of(index), self.image(index).size
        if found.shape != size[::-1]:
            raise BadInput(f"the map of {self.ids[index]} in {self.name} is {found.shape[1]} x {found.shape[0]} and "
                           f"its image {size[0]} x {size[1]}; fetch both again")  # fmt: skip
        odd = np.unique(found[(found >= len(self.classes)) & (found != IGNORED)])
        if odd.size:
            raise BadInput(f"the map of {self.ids[index]} in {self.name} has the class {odd[0]}, and the set has 0 to "
                           f"{len(self.classes) - 1}; fetch it again")  # fmt: skip
        return found


def open_segmentation(spec: str, split: str = "val", limit: int | None = None) -> SegmentationSet:
    """Open `embedded:scenes`, `ade20k:PATH` or `voc:PATH`.

    Args:
        spec: the set.
        split: train or val.
        limit: of the embedded set its first images, EMBEDDED_LIMIT by default; of others evenly spaced ones.

    Raises:
        BadInput: a set whose pixels have no classes, files that are not there, or a limit below 1.
    """
    check_limit(limit, spec)
    kind, _, where = spec.partition(":")
    if kind in FOLDERS:
        if split not in ADE_FOLDERS:
            raise UnknownName("split", split, ADE_FOLDERS)
        return FOLDERS[kind](spec, root_of(where, kind), split, limit)
    found = open_data(spec, split, limit or EMBEDDED_LIMIT)
    if not isinstance(found, EmbeddedSet) or found.instances(0) is None:
        raise BadInput(f"{spec} does not know what its pixels show; give embedded:scenes, ade20k:PATH or voc:PATH")
    return SegmentationSet(
        found.name, found.name, split, ("background", *found.classes), found.ids, found.image, Drawn(found)
    )


@dataclass(frozen=True)
class Drawn:
    """Maps of an embedded set that knows its objects apart: 0 is the background."""

    data: EmbeddedSet

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """(H, W) of one image."""
        classes, masks = self.data.instances(index) or ([], np.zeros((0, 1, 1), bool))
        found = np.zeros(masks.shape[1:], np.uint8)
        for kind, mask in zip(classes, masks, strict=True):
            found[mask] = kind + 1
        return found


@dataclass(frozen=True)
class Pictures:
    """Images from files."""

    paths: Sequence[Path]

    def __call__(self, index: int) -> Image.Image:
        """One of them, RGB."""
        return _read(self.paths[index], lambda path: read_rgb(str(path)))


@dataclass(frozen=True)
class Maps:
    """Maps from files of grey levels or of a palette, counted from `first`; what lies below it is IGNORED."""

    paths: Sequence[Path]
    first: int

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """(H, W) of one image."""
        image = _read(self.paths[index], lambda path: Image.open(path).copy())
        if image.mode not in ("L", "P"):
            raise BadInput(f"{self.paths[index]} is no map of classes (it is {image.mode}); fetch it again")
        levels = np.array(image)
        return np.where(levels < self.first, IGNORED, levels - self.first).astype(np.uint8)


def _read(path: Path, reader: Callable[[Path], Image.Image]) -> Image.Image:
    try:
        return reader(path)
    except Exception as error:  # Pillow's errors are of many kinds
        raise BadInput(f"{path} is not an image that can be read ({error}); fetch it again") from error


def _ade20k(spec: str, root: Path, split: str, limit: int | None) -> SegmentationSet:
    folder = ADE_FOLDERS[split]
    names = [path.stem for path in sorted((root / "images" / folder).glob("*.jpg"))]
    if not names:
        raise BadInput(f"there are no .jpg in {root / 'images' / folder}; give the folder ADEChallengeData2016")
    maps = root / "annotations" / folder
    return _files(spec, split, _ade_classes(root), names, limit, root / "images" / folder, maps, 1)


def _ade_classes(root: Path) -> tuple[str, ...]:
    """As objectInfo150.txt names them, where it is; else numbers."""
    path = root / "objectInfo150.txt"
    lines = path.read_text("utf-8", "replace").splitlines()[1:] if path.is_file() else []
    named = tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines if line.strip())
    return named if len(named) == ADE_CLASSES else tuple(f"class {number}" for number in range(1, ADE_CLASSES + 1))


def _voc(spec: str, root: Path, split: str, limit: int | None) -> SegmentationSet:
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.is_file():
        raise BadInput(f"there is no {path}; give the folder VOC2012 of VOCdevkit")
    names = path.read_text("utf-8", "replace").split()
    return _files(spec, split, VOC, names, limit, root / "JPEGImages", root / "SegmentationClass", 0)


FOLDERS = {"ade20k": _ade20k, "voc": _voc}


def _files(
    spec: str, split: str, classes: tuple[str, ...], names: Sequence[str], limit: int | None, images: Path, maps: Path,
    first: int,
) -> SegmentationSet:  # fmt: skip
    if not names:
        raise BadInput(f"{spec} has no images of the split {split}; fetch it again")
    names = [names[row] for row in spread(len(names), limit)]
    pictures, shown = [images / f"{name}.jpg" for name in names], [maps / f"{name}.png" for name in names]
    if absent := [path for path in (*pictures, *shown) if not path.is_file()]:
        raise BadInput(f"there is no {absent[0]}; put images and maps where the set has them")
    dataset = spec.partition(":")[0]
    return SegmentationSet(spec, dataset, split, classes, names, Pictures(pictures), Maps(shown, first))
