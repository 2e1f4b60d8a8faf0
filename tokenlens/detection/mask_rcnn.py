"""Mask R-CNN over a ViT-Adapter, in mmdet's conventions.

He et al., 2017, arXiv:1703.06870. Held against mmdet 2.28.2 (Apache-2.0) with JoakimHaurum/ATC@227c94b. torchvision's
own model is another one: its anchors are rounded, its boxes read half a pixel off, its background is class 0.

Shapes: B images, G objects and D detections in an image, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from ..core.random import content_hashes, keys, uniform
from ..core.trace import Trace
from ..errors import BadInput
from .adapter import ViTAdapter
from .boxes import assign, encode, sample
from .fpn import FPN
from .interaction import AdapterConfig
from .roi import BOX, MASK, POSITIVE, SHARE, STDS, BoxHead, MaskHead, aligned, paste
from .rpn import RPNHead


@dataclass(frozen=True)
class DetectorConfig:
    """The sizes of a detector, each with the published tiny model's value."""

    backbone: AdapterConfig = field(default_factory=AdapterConfig)
    channels: int = 256
    """of the pyramid"""
    hidden: int = 1024
    """of the box head"""
    classes: int = 80
    proposals: int = 1000
    """at most, an image"""
    sampled: int = 512
    """proposals that a loss is taken of, an image"""
    long: int = 1333
    """pixels that an image's longer side has at most"""
    short: int = 800
    """pixels that its shorter side has, where the longer one allows"""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Frame:
    """How an image came to lie in a batch."""

    size: tuple[int, int]
    """height and width that the network sees, without padding"""
    original: tuple[int, int]
    """height and width of the image itself"""

    def scale(self, like: Tensor) -> Tensor:
        """(4,): by which boxes are larger in the batch than in the image."""
        down, right = (new / old for new, old in zip(self.size, self.original, strict=True))
        return like.new_tensor([right, down, right, down])


@dataclass
class Detections:
    """What was found in an image, best first."""

    boxes: Tensor
    """(D, 4) float32: x1, y1, x2, y2 in the image's own pixels"""
    scores: Tensor
    """(D,) float32"""
    classes: Tensor
    """(D,) int64"""
    shown: Tensor
    """(D, 28, 28) float32 in 0..1: how surely each place of a box shows the object"""
    size: tuple[int, int]
    """height and width of the image"""

    @property
    def masks(self) -> Tensor:
        """(D, height, width) bool; pasted when asked for, which takes longer than finding the boxes."""
        return paste(self.shown, self.boxes, self.size)


@dataclass
class Objects:
    """What is to be found in an image, in the batch's pixels."""

    boxes: Tensor
    """(G, 4) float32"""
    classes: Tensor
    """(G,) int64"""
    masks: Tensor
    """(G, H, W) bool or float"""


class MaskRCNN(nn.Module):
    """From images to boxes, classes and masks; state dict as mmdet's, without what plays no part."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        c = self.config = config
        self.backbone = ViTAdapter(c.backbone)
        self.neck = FPN(c.backbone.width, c.channels)
        self.rpn_head = RPNHead(c.channels, c.proposals)
        self.roi_head = nn.ModuleDict(
            {"bbox_head": BoxHead(c.channels, c.hidden, c.classes), "mask_head": MaskHead(c.channels, c.classes)}
        )

    def forward(self, images: Tensor, frames: Sequence[Frame]) -> list[Detections]:
        """(B, 3, H, W) normalised and padded images, and where each lies in it -> what is found in each."""
        return self.trace(images, frames)[0]

    @torch.no_grad()
    def trace(
        self, images: Tensor, frames: Sequence[Frame], names: Sequence[str] = ()
    ) -> tuple[list[Detections], Trace]:
        """As `forward`, and what became of every patch.

        Raises:
            BadInput: something that an image's detections come from is NaN or infinite; with its name from `names`.
        """
        maps, trace = self.backbone.trace(images)
        pyramid = self.neck(maps)
        levels = self.rpn_head(pyramid)
        check_finite([[part[i] for level in levels for part in level[:2]] for i in range(len(frames))], names)
        proposals = [self.rpn_head.propose(levels, i, frame.size)[:, :4] for i, frame in enumerate(frames)]
        return self.detect(pyramid, proposals, frames, names), trace

    def detect(
        self, pyramid: Sequence[Tensor], proposals: Sequence[Tensor], frames: Sequence[Frame], names: Sequence[str] = ()
    ) -> list[Detections]:
        """What the pyramid shows in each image's proposals (P, 4); raises BadInput as `trace` does."""
        box_head: Any = self.roi_head["bbox_head"]
        mask_head = self.roi_head["mask_head"]
        counts = [len(of) for of in proposals]
        logits, deltas = (part.split(counts) for part in box_head(aligned(pyramid, proposals, BOX)))
        check_finite([*zip(logits, deltas, strict=True)], names)
        scales = [frame.scale(pyramid[0]) for frame in frames]
        each = zip(logits, deltas, proposals, frames, scales, strict=True)
        found = [box_head.detect(score, delta, of, frame.size, scale) for score, delta, of, frame, scale in each]
        read = aligned(pyramid, [boxes * scale for (boxes, _, _), scale in zip(found, scales, strict=True)], MASK)
        shown = mask_head(read, torch.cat([kinds for _, _, kinds in found])).sigmoid()
        masks = shown.split([len(kinds) for _, _, kinds in found])
        check_finite([(mask,) for mask in masks], names)
        return [
            Detections(boxes, scores, kinds, mask, frame.original)
            for (boxes, scores, kinds), mask, frame in zip(found, masks, frames, strict=True)
        ]

    def losses(self, images: Tensor, objects: Sequence[Objects], seed: int = 0) -> dict[str, Tensor]:
        """The five losses of a batch; which boxes they are taken of follows from each image's content and the seed."""
        pyramid = self.neck(self.backbone(images))
        levels = self.rpn_head(pyramid)
        contents = content_hashes(images)
        places = sum(level[0].shape[1] for level in levels)
        found = self.rpn_head.losses(levels, [of.boxes for of in objects], uniform(keys(contents, seed, 0), places))
        seeds = keys(contents, seed, 1)
        size = (images.shape[2], images.shape[3])
        sampled = [
            self._sampled(self.rpn_head.propose(levels, i, size)[:, :4], of, seeds[i : i + 1])
            for i, of in enumerate(objects)
        ]
        return {**found, **self._box_losses(pyramid, sampled, objects), **self._mask_loss(pyramid, sampled, objects)}

    def _sampled(self, proposals: Tensor, there: Objects, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (R, 4), those with an object first, and the object (R,) of each or -1; objects propose themselves."""
        boxes = torch.cat([there.boxes, proposals])
        found = assign(boxes, there.boxes, POSITIVE, POSITIVE, None)
        taken, empty = sample(found, self.config.sampled, SHARE, uniform(seed, len(boxes))[0])
        return torch.cat([boxes[taken], boxes[empty]]), torch.cat([found[taken], found[empty]])

    def _box_losses(
        self, pyramid: Sequence[Tensor], sampled: Sequence[tuple[Tensor, Tensor]], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        boxes = torch.cat([of for of, _ in sampled])
        logits, deltas = self.roi_head["bbox_head"](aligned(pyramid, [of for of, _ in sampled], BOX))
        kinds = torch.cat(
            [_own(of.classes, own, self.config.classes) for of, (_, own) in zip(objects, sampled, strict=True)]
        )
        goals = torch.cat([_own(of.boxes, own, 0.0) for of, (_, own) in zip(objects, sampled, strict=True)])
        held = (kinds < self.config.classes).nonzero().squeeze(1)
        goal = encode(boxes[held], goals[held], STDS)
        moving = functional.l1_loss(deltas[held, kinds[held]], goal, reduction="sum") / max(len(boxes), 1)
        return {"class": functional.cross_entropy(logits, kinds), "box": moving}

    def _mask_loss(
        self, pyramid: Sequence[Tensor], sampled: Sequence[tuple[Tensor, Tensor]], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        held = [of[own >= 0] for of, own in sampled]
        owners = [own[own >= 0] for _, own in sampled]
        kinds = torch.cat([of.classes[own] for of, own in zip(objects, owners, strict=True)])
        logits = self.roi_head["mask_head"](aligned(pyramid, held, MASK), kinds)
        goals = []
        for boxes, own, of in zip(held, owners, objects, strict=True):
            rows = torch.cat([own[:, None].to(boxes.dtype), boxes], 1)
            masks = of.masks[:, None].to(boxes.dtype)
            goals.append(roi_align(masks, rows, 2 * MASK, 1.0, sampling_ratio=0, aligned=True)[:, 0])
        goal = (torch.cat(goals) >= 0.5).to(logits.dtype)
        loss = functional.binary_cross_entropy_with_logits(logits, goal, reduction="sum") / max(goal.numel(), 1)
        return {"mask": loss}


def check_finite(parts: Sequence[Sequence[Tensor]], names: Sequence[str] = ()) -> None:
    """Refuse what is NaN or infinite of any image: it fails every threshold, as if there were nothing to find."""
    for which, of in enumerate(parts):
        if not all(bool(part.isfinite().all()) for part in of):
            image = names[which] if names else which
            raise BadInput(
                f"the detector's scores, boxes or masks are NaN or infinite for image {image}, so nothing is stored; "
                "look at the weights"
            )


def _own(values: Tensor, own: Tensor, none: float) -> Tensor:
    """values[own], and `none` where own is -1."""
    return torch.cat([values, values.new_full((1, *values.shape[1:]), none)])[own]  # -1 is the last
