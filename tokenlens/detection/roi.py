"""What is in a proposal: its class, a better box, and a mask.

He et al., 2017, arXiv:1703.06870. Held against mmdet 2.28.2 (Apache-2.0): boxes are not rounded to the map, the
background is the last class, and the parameters are called as there.

Shapes: R boxes of all images, C classes, P channels of the pyramid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from .boxes import STRIDES, decode, suppress
from .fpn import convolution

STDS = (0.1, 0.1, 0.2, 0.2)
FINEST = 56  # sides of boxes below twice this are read from the finest map
LEVELS = 4  # maps that boxes are read from
BOX, MASK = 7, 14  # samples along a side
SCORE, OVERLAP, MOST = 0.05, 0.5, 100  # of detections: least score, most overlap in a class, how many an image
POSITIVE = 0.5  # overlap with an object, in training
SHARE = 0.25  # of sampled boxes that may have an object


def aligned(maps: Sequence[Tensor], boxes: Sequence[Tensor], side: int) -> Tensor:
    """(R, P, side, side): what lies in each image's boxes (n, 4), read from the map that fits their size."""
    rows = torch.cat([functional.pad(of, (1, 0), value=float(image)) for image, of in enumerate(boxes)])
    sides = rows[:, 3:] - rows[:, 1:3]
    level = (sides.prod(1).sqrt() / FINEST + 1e-6).log2().floor().clamp(0, LEVELS - 1)
    found = maps[0].new_zeros(len(rows), maps[0].shape[1], side, side)
    for number, (of, stride) in enumerate(zip(maps[:LEVELS], STRIDES, strict=False)):
        there = (level == number).nonzero().squeeze(1)
        found[there] = roi_align(of, rows[there].to(of.dtype), side, 1 / stride, sampling_ratio=0, aligned=True)
    return found


class BoxHead(nn.Module):
    """Two hidden layers over what a box shows."""

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.shared_fcs = nn.ModuleList([nn.Linear(channels * BOX * BOX, hidden), nn.Linear(hidden, hidden)])
        self.fc_cls = nn.Linear(hidden, classes + 1)
        self.fc_reg = nn.Linear(hidden, 4 * classes)
        nn.init.normal_(self.fc_cls.weight, std=0.01)
        nn.init.normal_(self.fc_reg.weight, std=0.001)
        nn.init.zeros_(self.fc_cls.bias)
        nn.init.zeros_(self.fc_reg.bias)

    def forward(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """(R, P, 7, 7) -> logits (R, C + 1), background last, and deltas for each class (R, C, 4)."""
        hidden = read.flatten(1)
        for layer in self.shared_fcs:
            hidden = functional.relu(layer(hidden))
        return self.fc_cls(hidden), self.fc_reg(hidden).unflatten(1, (self.classes, 4))

    def detect(
        self, logits: Tensor, deltas: Tensor, boxes: Tensor, size: tuple[int, int], scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The detections in one image.

        Args:
            logits: (R, C + 1).
            deltas: (R, C, 4).
            boxes: (R, 4) proposals, in an image of `size` (height, width).
            size: of the image that the network saw, without padding.
            scale: (4,), by which it is larger than the original.

        Returns:
            Boxes (D, 4) in the original's pixels, scores (D,), classes (D,) int64, best first.
        """
        scores = logits.softmax(1)[:, :-1]
        moved = decode(boxes.repeat_interleave(self.classes, 0), deltas.flatten(0, 1), STDS, size) / scale
        proposal, kind = (scores > SCORE).nonzero(as_tuple=True)
        found, score = moved.view(-1, self.classes, 4)[proposal, kind], scores[proposal, kind]
        best = suppress(found, score, kind, OVERLAP, MOST)
        return found[best], score[best], kind[best]


class MaskHead(nn.Module):
    """Convolutions over what a box shows, up to one mask of twice the side for each class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convolution(channels, channels, 3) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.conv_logits = nn.Conv2d(channels, classes, 1)
        convolutions: list[Any] = [*(layer.conv for layer in self.convs), self.upsample, self.conv_logits]
        for conv in convolutions:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, read: Tensor, kinds: Tensor) -> Tensor:
        """(R, P, 14, 14), classes (R,) -> logits (R, 28, 28) of each box's own class."""
        for layer in self.convs:
            read = functional.relu(layer(read))
        logits = self.conv_logits(functional.relu(self.upsample(read)))
        own: Tensor = logits[torch.arange(len(kinds), device=kinds.device), kinds]
        return own


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(D, height, width) bool: masks (D, 28, 28) in 0..1 laid into their boxes (D, 4), where they are at least half."""
    if not len(masks):
        return torch.zeros(0, *size, dtype=torch.bool, device=masks.device)
    y, x = (torch.arange(n, device=boxes.device, dtype=boxes.dtype) + 0.5 for n in size)
    x = (x - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1]) * 2 - 1
    y = (y - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2]) * 2 - 1
    x, y = (torch.where(axis.isfinite(), axis, 0.0) for axis in (x, y))  # of boxes without area
    done = []
    for mask, across, down in zip(masks, x, y, strict=True):  # one by one: a hundred of a photograph are a gigabyte
        grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)
        done.append(functional.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0] >= 0.5)
    return torch.stack(done)
