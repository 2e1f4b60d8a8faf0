"""Boxes as mmdet counts them: anchors that are not rounded, deltas, and which box belongs to which object.

Held against mmdet 2.28.2 (Apache-2.0). A box is x1, y1, x2, y2 in pixels, its far corner not included.

Shapes: B images, N boxes, G objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

STRIDES = (4, 8, 16, 32, 64)  # pixels between the places of each level's map
RATIOS = (0.5, 1.0, 2.0)  # height to width
SCALE = 8  # side of a square anchor, in strides
LIMIT = abs(math.log(16 / 1000))  # of the logarithm of a side's growth


def anchors(shape: tuple[int, int], stride: int, like: Tensor) -> Tensor:
    """(rows * columns * 3, 4): the anchors of each place of a map, row by row, around its corner and not its middle.

    Examples:
        >>> anchors((1, 1), 4, torch.zeros(1))[1].tolist()
        [-16.0, -16.0, 16.0, 16.0]
    """
    ratios = torch.tensor(RATIOS, dtype=like.dtype, device=like.device).sqrt()
    half = 0.5 * SCALE * stride * torch.stack([1 / ratios, ratios], 1)
    y, x = (stride * torch.arange(n, dtype=like.dtype, device=like.device) for n in shape)
    corner = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 1, 2)
    return torch.cat([corner - half, corner + half], -1).flatten(0, 1)


def decode(boxes: Tensor, deltas: Tensor, stds: Sequence[float], size: tuple[int, int]) -> Tensor:
    """(N, 4) boxes moved by (N, 4) deltas, clipped to an image of (height, width)."""
    moved = deltas * deltas.new_tensor(stds)
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) * 0.5, boxes[:, 2:] - boxes[:, :2]
    middle = middle + sides * moved[:, :2]
    half = sides * moved[:, 2:].clamp(-LIMIT, LIMIT).exp() * 0.5
    far = boxes.new_tensor([size[1], size[0]])
    return torch.cat([(middle - half).clamp(min=0).minimum(far), (middle + half).clamp(min=0).minimum(far)], 1)


def encode(boxes: Tensor, targets: Tensor, stds: Sequence[float]) -> Tensor:
    """(..., 4) deltas that move boxes onto targets."""
    middle, sides = (boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]
    goal, wanted = (targets[..., :2] + targets[..., 2:]) * 0.5, targets[..., 2:] - targets[..., :2]
    return torch.cat([(goal - middle) / sides, (wanted / sides).log()], -1) / boxes.new_tensor(stds)


def suppress(boxes: Tensor, scores: Tensor, kinds: Tensor, threshold: float, most: int) -> Tensor:
    """Places of the boxes (N, 4) that no better one of the same kind (N,) overlaps, best first, at most so many.

    Kinds are kept apart by moving each one's boxes away, in float32, as mmcv does.
    """
    if not len(boxes):
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    apart = boxes + (kinds.to(boxes.dtype) * (boxes.max() + 1))[:, None]
    return nms(apart, scores, threshold)[:most]


def assign(boxes: Tensor, objects: Tensor, positive: float, negative: float, least: float | None) -> Tensor:
    """(N,) int64: the object that each box is taken for; -1 none, -2 neither it nor none.

    Args:
        boxes: (N, 4).
        objects: (G, 4).
        positive: an overlap from here on is the object's.
        negative: below it a box is nobody's.
        least: from here on the boxes that an object overlaps most are its own, whatever their overlap; None: not so.
    """
    if not len(objects):
        return torch.full((len(boxes),), -1, device=boxes.device)
    overlap = box_iou(objects, boxes)
    best, which = overlap.max(0)
    found = torch.full_like(which, -2)
    found[best < negative] = -1
    found = torch.where(best >= positive, which, found)
    if least is not None:
        top = overlap.max(1, keepdim=True).values
        own = (overlap == top) & (top >= least)
        later = own * torch.arange(1, len(objects) + 1, device=boxes.device)[:, None]  # of several objects, the last
        found = torch.where(own.any(0), later.max(0).values - 1, found)
    return found


def sample(found: Tensor, count: int, share: float, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Draw at most `count` of (N,) assigned boxes, at most this share of them with an object.

    Args:
        found: as `assign` gives it.
        count: N' wanted.
        share: of those with an object.
        draws: (N,) uniform in [0, 1).

    Returns:
        (N,) bool each: those with an object, and those without.
    """
    taken = _lowest(found >= 0, draws, int(count * share))
    return taken, _lowest(found == -1, draws, count - int(taken.sum()))


def _lowest(among: Tensor, draws: Tensor, count: int) -> Tensor:
    order = draws.masked_fill(~among, 2.0).argsort()
    chosen = torch.zeros_like(among)
    chosen[order[:count]] = True
    return chosen & among
