"""From a picture to what a detector sees, as mmdet's test pipeline makes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from .mask_rcnn import DetectorConfig, Frame

MULTIPLE = 32  # that the sides of a padded image are of


def seen_size(original: tuple[int, int], config: DetectorConfig) -> tuple[int, int]:
    """The height and width that an image of (height, width) gets: the largest that both limits allow, at least 1.

    Examples:
        >>> seen_size((480, 640), DetectorConfig())
        (800, 1067)
    """
    scale = min(config.long / max(original), config.short / min(original))
    height, width = (max(int(side * scale + 0.5), 1) for side in original)
    return height, width


def grid_of(original: tuple[int, int], config: DetectorConfig) -> tuple[int, int]:
    """Rows and columns of patches of an image of (height, width), padding included."""
    rows, columns = (-(-side // MULTIPLE) * MULTIPLE // config.backbone.patch for side in seen_size(original, config))
    return rows, columns


def prepared(image: Image.Image, config: DetectorConfig) -> tuple[Tensor, Frame]:
    """One image (3, H, W) float32, resized, normalised and padded below and on the right, and where it lies in it.

    Resized without smoothing, as OpenCV does, and rounded to whole numbers.
    """
    original = (image.height, image.width)
    height, width = seen_size(original, config)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)
    resized = functional.interpolate(pixels[None], (height, width), mode="bilinear").round()[0]
    mean, std = (torch.tensor(of)[:, None, None] for of in (config.mean, config.std))
    padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
    return functional.pad((resized - mean) / std, padding), Frame((height, width), original)


def batched(images: Sequence[Image.Image], config: DetectorConfig) -> tuple[Tensor, list[Frame]]:
    """Images of one grid, (B, 3, H, W), and where each lies in it."""
    pairs = [prepared(image, config) for image in images]
    return torch.stack([pixels for pixels, _ in pairs]), [frame for _, frame in pairs]
