"""A batch of detections in the words of a run's schema, and average precision of what a run holds.

Images of other sizes have other grids: each lies in the upper left of the largest one, and `valid` says where.

Shapes: B images, S stages, P places of the largest grid, D detections at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ..core.trace import laid
from ..errors import needed
from ..extraction.batch import canonical
from .data import DetectionSet
from .deformable import Shape
from .evaluation import average_precision
from .mask_rcnn import Frame, MaskRCNN
from .objects import SIZES, intact, owners
from .preparing import grid_of
from .roi import MASK, MOST, paste

READ = 64  # images that are read of a run at once


def largest(data: DetectionSet, model: MaskRCNN) -> Shape:
    """Rows and columns of a grid that holds those of all images."""
    grids = [grid_of(size, model.config) for size in set(data.sizes)]
    return max(rows for rows, _ in grids), max(columns for _, columns in grids)


def alike(data: DetectionSet, model: MaskRCNN, among: range, most: int) -> Iterator[list[int]]:
    """These images in their order: as many at a time as follow each other with one grid, at most `most`."""
    rows: list[int] = []
    for row in among:
        same = rows and grid_of(data.sizes[row], model.config) == grid_of(data.sizes[rows[0]], model.config)
        if rows and (not same or len(rows) == most):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


@torch.inference_mode()
def record(
    model: MaskRCNN, images: Tensor, frames: Sequence[Frame], grid: Shape, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Run one batch: patterns on the largest grid, and at most 100 detections an image.

    Raises:
        BadInput: what an image's detections come from is NaN or infinite, with its name.
    """
    found, trace = model.trace(images, frames, names)
    own = (images.shape[2] // model.config.backbone.patch, images.shape[3] // model.config.backbone.patch)

    def wide(values: Tensor, outside: float) -> NDArray[Any]:
        placed: NDArray[Any] = laid(values, own, grid, outside).cpu().numpy()
        return placed

    there = torch.ones(len(images), own[0] * own[1], dtype=torch.bool)
    arrays = {
        "kept": wide(trace.kept, False),
        "group": wide(canonical(trace.group), -1),
        "valid": wide(there, False),
        "tokens_left": trace.tokens_left.cpu().numpy(),
    }
    scale = torch.stack([frame.scale(images) for frame in frames])
    boxes = np.zeros((len(images), MOST, 4), np.float32)
    scores, kinds = np.zeros((len(images), MOST), np.float32), np.full((len(images), MOST), -1, np.int16)
    masks = np.zeros((len(images), MOST, 2 * MASK, 2 * MASK), np.uint8)
    for row, seen in enumerate(found):
        count = len(seen.scores)
        boxes[row, :count], scores[row, :count] = seen.boxes.cpu(), seen.scores.cpu()
        kinds[row, :count], masks[row, :count] = seen.classes.cpu(), (255 * seen.shown).round().cpu()
    return {**arrays, "box": boxes, "box_score": scores, "box_class": kinds, "box_mask": masks,
            "box_scale": scale.cpu().numpy()}  # fmt: skip


def entries(
    data: DetectionSet, row: int, boxes: Tensor, scores: Tensor | NDArray[Any], kinds: Tensor | NDArray[Any]
) -> list[dict[str, Any]]:
    """Boxes (D, 4) that were found in an image, with scores (D,) and classes (D,), as COCO's files say it."""
    image = data.truth["images"][row]["id"]
    return [
        {
            "image_id": image,
            "category_id": data.categories[int(kind)],
            "score": float(score),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        for (x1, y1, x2, y2), score, kind in zip(boxes.tolist(), scores, kinds, strict=True)
    ]


def results(data: DetectionSet, run: xr.Dataset, masks: bool) -> list[dict[str, Any]]:
    """What a run found, as COCO's files of results say it."""
    encode = needed("pycocotools.mask", "detection", "average precision").encode
    found = []
    for row, here in enumerate(_rows(run, ["box", "box_score", "box_class", *["box_mask"] * masks])):
        count = int((here["box_class"] >= 0).sum())
        boxes = torch.from_numpy(here["box"][:count])
        if masks:
            sure = torch.from_numpy(here["box_mask"][:count]).float() / 255
            pixels = paste(sure, boxes, data.sizes[row]).numpy().astype(np.uint8)
        seen = entries(data, row, boxes, here["box_score"][:count], here["box_class"][:count])
        if masks:
            for entry, shown in zip(seen, pixels, strict=True):
                entry["segmentation"] = encode(np.asfortranarray(shown))
        found += seen
    return found


def _rows(run: xr.Dataset, names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
    """Some variables of each image in turn; a chunk of them is read at once."""
    for start in range(0, run.sizes["image"], READ):
        part = run[list(names)].isel(image=slice(start, start + READ)).load()
        yield from ({name: part[name].values[row] for name in names} for row in range(part.sizes["image"]))


def metrics(data: DetectionSet, run: xr.Dataset, model: MaskRCNN) -> dict[str, float]:
    """What a run amounts to, in percent; what is not defined is left out.

    Average precision of boxes, and of masks where the set has them, under COCO's names after "box" and "mask"; and
    "intact", "intact s", "m" and "l": the share of an object's patches that is intact after the last stage, over all
    objects, and over those of each size.
    """
    found = results(data, run, data.masks)
    told: dict[str, float] = {}
    for kind, word in (("bbox", "box"), ("segm", "mask")):
        if kind == "bbox" or data.masks:
            numbers = average_precision(data.truth, found, kind, data.bounds)  # type: ignore[arg-type]
            told |= {f"{word} {name}": value for name, value in numbers.items() if value == value}
    shares: dict[str, list[float]] = {}
    for row, here in enumerate(_rows(run, ["group"])):
        owner = owners(data, row, model.config, run.attrs["grid"])
        for size, share in intact(owner, data.of(row), here["group"][-1], data.bounds):
            shares.setdefault(size, []).append(share)
    if shares:
        told["intact"] = 100 * float(np.mean([share for size in shares.values() for share in size]))
    return told | {f"intact {size}": 100 * float(np.mean(shares[size])) for size in SIZES if size in shares}
