"""Sets of images in which the objects are known: COCO's, and the embedded set `scenes`.

What is to be found is said as COCO's files say it (images, categories, annotations), so that pycocotools takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data import check_limit, open_data
from ..data.embedded import EmbeddedSet
from ..data.embedded.open import SETS
from ..data.files import called, root_of
from ..data.picture import read_rgb
from ..data.selection import spread
from ..errors import BadInput, needed
from .instances import read_instances

EMBEDDED_LIMIT = 500  # of an endless set
COCO_BOUNDS = (32.0**2, 96.0**2)


@dataclass(frozen=True)
class DetectionSet:
    """Images in a fixed order, and what is to be found in them."""

    name: str
    """the words it was opened with"""
    dataset: str
    """what runs call it, wherever it lies"""
    split: str
    images: Callable[[int], Image.Image]
    """one of them by number, RGB"""
    truth: dict[str, Any]
    """COCO's images, categories and annotations, of these images alone, in their order"""
    masks: bool
    """whether every annotation has one"""
    bounds: tuple[float, float] = COCO_BOUNDS
    """areas in pixels from which on an object is medium, and large"""

    def __len__(self) -> int:
        return len(self.truth["images"])

    @property
    def ids(self) -> list[str]:
        """Stable names of the images."""
        return [str(image.get("name", image["id"])) for image in self.truth["images"]]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image."""
        return [(image["height"], image["width"]) for image in self.truth["images"]]

    def of(self, row: int) -> list[dict[str, Any]]:
        """The annotations of an image."""
        return self._by_image.get(self.truth["images"][row]["id"], [])

    @cached_property
    def _by_image(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for annotation in self.truth["annotations"]:
            found.setdefault(annotation["image_id"], []).append(annotation)
        return found

    def subset(self, rows: Sequence[int]) -> DetectionSet:
        """Some of its images, and what is to be found in them."""
        images = [self.truth["images"][row] for row in rows]
        truth = {**self.truth, "images": images, "annotations": [one for row in rows for one in self.of(row)]}
        return replace(self, images=Chosen(self.images, rows), truth=truth)

    def image(self, row: int) -> Image.Image:
        """An image, RGB."""
        return self.images(row)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of a detector's."""
        return tuple(category["name"] for category in self.truth["categories"])

    @property
    def categories(self) -> list[int]:
        """COCO's ids of the classes, in the order of a detector's."""
        return [category["id"] for category in self.truth["categories"]]


def open_detection(spec: str, split: str = "val", limit: int | None = None) -> DetectionSet:
    """Open `embedded:scenes`, or `coco:PATH` with COCO's folders in it.

    Args:
        spec: the set.
        split: train or val.
        limit: of the embedded set its first images, EMBEDDED_LIMIT by default; of COCO evenly spaced ones.

    Raises:
        BadInput: a set whose objects are not known apart; a file that is malformed, with what is wrong.
    """
    check_limit(limit, spec)
    kind, _, where = spec.partition(":")
    if kind == "coco":
        return _coco(spec, root_of(where, kind), split, limit)
    found = open_data(spec, split, limit or EMBEDDED_LIMIT)
    if not isinstance(found, EmbeddedSet) or found.instances(0) is None:
        raise BadInput(f"{spec} does not know its objects apart; give embedded:scenes, or coco:PATH")
    return _embedded(found)


def _embedded(data: EmbeddedSet) -> DetectionSet:
    encode = needed("pycocotools.mask", "detection", "detection").encode
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, name in enumerate(data.ids):
        classes, masks = data.instances(index) or ([], np.zeros((0, 0, 0), bool))
        images.append({"id": index + 1, "name": name, "height": masks.shape[1], "width": masks.shape[2]})
        for kind, mask in zip(classes, masks, strict=True):
            code = encode(np.asfortranarray(mask.astype(np.uint8)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": kind + 1,
                    "bbox": box_of(mask),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": code,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(data.classes, 1)]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    bounds = SETS[data.source].thirds or COCO_BOUNDS
    return DetectionSet(data.name, data.name, data.split, data.image, truth, True, bounds)


def box_of(mask: NDArray[np.bool_]) -> list[float]:
    """Corner, width and height around a mask (H, W) that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    return [float(left), float(top), float(columns[-1] + 1 - left), float(rows[-1] + 1 - top)]


def _coco(spec: str, root: Path, split: str, limit: int | None) -> DetectionSet:
    parts = (f"{split}2017", f"{split}2014", split)
    path = next((at for part in parts if (at := root / f"annotations/instances_{part}.json").is_file()), None)
    if path is None:
        raise BadInput(f"there is no {root / f'annotations/instances_{parts[0]}.json'}, nor one of 2014: give the "
                       f"folder that holds COCO's annotations, or choose another split than {split}")  # fmt: skip
    images, categories, annotations = read_instances(path)
    stated = ("id", "file_name", "height", "width")  # any set may have the ids 1 to n
    dataset = called("coco", [category["name"] for category in categories], len(images),
                     (" ".join(str(image[name]) for name in stated) for image in images))  # fmt: skip
    images = [images[row] for row in spread(len(images), limit)]
    chosen = {image["id"] for image in images}
    annotations = [one for one in annotations if one["image_id"] in chosen]
    found = [{**one, "id": number} for number, one in enumerate(annotations, 1)]
    part = path.stem.removeprefix("instances_")
    folder = root / part if (root / part).is_dir() else root / "images" / part
    files = [folder / image["file_name"] for image in images]
    if absent := [file for file in files if not file.is_file()]:
        raise BadInput(f"there is no image {absent[0]}; put COCO's images beside its annotations")
    truth = {"images": images, "categories": categories, "annotations": found}
    masks = all(annotation.get("segmentation") for annotation in found)
    sizes = [(image["width"], image["height"]) for image in images]
    return DetectionSet(spec, dataset, split, Files(files, sizes), truth, masks)


@dataclass(frozen=True)
class Chosen:
    """Some images of a set."""

    images: Callable[[int], Image.Image]
    rows: Sequence[int]

    def __call__(self, index: int) -> Image.Image:
        """One of them, RGB."""
        return self.images(self.rows[index])


@dataclass(frozen=True)
class Files:
    """Images by number, from files."""

    paths: Sequence[Path]
    sizes: Sequence[tuple[int, int]]
    """width and height that each has to have: boxes are in these pixels"""

    def __call__(self, index: int) -> Image.Image:
        """One of them, RGB."""
        path, size = self.paths[index], self.sizes[index]
        try:
            image = read_rgb(str(path))
        except Exception as error:  # Pillow's errors are of many kinds
            raise BadInput(f"{path} is not an image that can be read ({error}); fetch it again") from error
        if image.size != size:
            raise BadInput(f"{path} is {' x '.join(map(str, image.size))}, and the annotations are of an image of "
                           f"{' x '.join(map(str, size))}; fetch both again")  # fmt: skip
        return image
