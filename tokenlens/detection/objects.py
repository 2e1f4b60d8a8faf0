"""Which patches show which object, and what a pattern leaves of them.

Shapes: G objects of an image, P places of the largest grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from ..errors import needed
from .data import COCO_BOUNDS, DetectionSet
from .mask_rcnn import DetectorConfig
from .preparing import seen_size

COVERED = 0.25  # share of a patch that shows an object, from which on it is the object's
SIZES = ("s", "m", "l")  # small, medium, large


def owners(data: DetectionSet, row: int, config: DetectorConfig, grid: Sequence[int]) -> NDArray[np.int16]:
    """(P,): the annotation of an image that covers most of each patch, at least a quarter; -1: none, or a crowd."""
    size, patch, (rows, columns) = data.sizes[row], config.backbone.patch, grid
    owner = np.full(rows * columns, -1, np.int16)
    most = torch.full((rows * columns,), COVERED)
    seen = seen_size(size, config)
    room = (0, columns * patch - seen[1], 0, rows * patch - seen[0])
    for number, annotation in enumerate(data.of(row)):
        if annotation.get("iscrowd"):
            continue
        stretched = functional.interpolate(pixels_of(annotation, size)[None, None], seen, mode="area")
        share = functional.avg_pool2d(functional.pad(stretched, room), patch).flatten()
        more = share > most if (owner >= 0).any() else share >= most
        owner[more.numpy()] = number
        most = torch.where(more, share, most)
    return owner


def pixels_of(annotation: dict[str, Any], size: tuple[int, int]) -> Tensor:
    """(height, width) float32, 1 where an object is: its mask, or its box where it has none."""
    coco = needed("pycocotools.mask", "detection", "detection")
    height, width = size
    shape = annotation.get("segmentation") or np.array([annotation["bbox"]], float)
    if not isinstance(shape, dict):
        shape = coco.merge(coco.frPyObjects(shape, height, width))
    elif isinstance(shape["counts"], list):
        shape = coco.frPyObjects(shape, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, for how pycocotools hands arrays over
        return torch.from_numpy(coco.decode(shape)).float()


def intact(
    owner: NDArray[np.int16],
    annotations: Sequence[dict[str, Any]],
    group: ArrayLike,
    bounds: Sequence[float] = COCO_BOUNDS,
) -> Iterator[tuple[str, float]]:
    """Size, and share of the patches that are intact, of each object of an image that has patches.

    A patch is intact where its token holds nothing but patches of the same object: kept, or purely grouped.

    Args:
        owner: (P,) as `owners` gives it.
        annotations: of the image, COCO's.
        group: (P,) the token that each patch is in; negative: none.
        bounds: areas in pixels from which on an object is medium, and large.

    Examples:
        >>> list(intact(np.array([0, 0, 0, -1]), [{"area": 9.0}], [0, 0, 1, 1]))  # the third is mixed with background
        [('s', 0.6666666666666666)]
    """
    group = np.asarray(group)
    tokens = np.arange(group.max(initial=-1) + 1)[:, None]
    inside = group == tokens
    lowest = np.where(inside, owner, np.iinfo(np.int16).max).min(1, initial=np.iinfo(np.int16).max)
    highest = np.where(inside, owner, -2).max(1, initial=-2)
    pure = (group >= 0) & np.append(lowest == highest, False)[group]
    for number, annotation in enumerate(annotations):
        own = owner == number
        if own.any():
            size = SIZES[int(np.searchsorted(bounds, annotation["area"], "right"))]
            yield size, float(pure[own].mean())
