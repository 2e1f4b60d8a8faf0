"""What a model's tokens say of each patch, and a linear layer that reads it.

The model stays as it is; the layer is learned on its un-reduced tokens, as Oquab et al., 2023, arXiv:2304.07193, judge
DINOv2. So what a reduced model loses is the tokens' loss alone.

Shapes: B images, P patches, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import pil_to_tensor

from ..core.reduced_vit import ReducedViT
from ..hosts.loading import input_of
from .data import IGNORED, SegmentationSet

STEPS = 1000
BATCH = 4096  # patches
RATE = 1e-2
DECAY = 1e-4


def seen(image: Image.Image, model: ReducedViT) -> Tensor:
    """(3, H, W): a whole image, squeezed to what the model sees, and normalised."""
    config = input_of(model.vit)
    height, width = config["input_size"][1:]
    pixels = pil_to_tensor(image.resize((width, height), Image.Resampling.BICUBIC)).float() / 255
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    return (pixels - mean) / std


def shares(labels: NDArray[np.uint8], classes: int, grid: Sequence[int]) -> Tensor:
    """(P, K): how much of each patch shows each class; rows of patches that show none are 0."""
    found = torch.from_numpy(labels).long()
    each = functional.one_hot(torch.where(found == IGNORED, classes, found), classes + 1)[..., :classes]
    return functional.adaptive_avg_pool2d(each.permute(2, 0, 1).float(), (grid[0], grid[1])).flatten(1).T


@dataclass
class Head:
    """From a token to the classes of its patch."""

    mean: Tensor
    """(C,) of the tokens that it was learned on, and"""
    std: Tensor
    """(C,)"""
    linear: nn.Linear

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, grid: Sequence[int], size: Sequence[int]) -> NDArray[np.uint8]:
        """(P, C) tokens of an image -> (H, W): the class of each pixel, between patches in between."""
        logits = self.linear((tokens - self.mean) / self.std).T.unflatten(1, tuple(grid))
        larger = functional.interpolate(logits[None], tuple(size), mode="bilinear")[0]
        return larger.argmax(0).to(torch.uint8).cpu().numpy()


def learned(model: ReducedViT, data: SegmentationSet, seed: int, batch_size: int = 16) -> Head:
    """A head for an un-reduced model, by AdamW on the patches of a set; the same for the same seed."""
    device = next(model.parameters()).device
    tokens, goals = [], []
    for start in range(0, len(data), batch_size):
        rows = range(start, min(start + batch_size, len(data)))
        with torch.no_grad():
            found, _ = model.spread(torch.stack([seen(data.image(row), model) for row in rows]).to(device))
        tokens.append(found.float().flatten(0, 1))
        goals += [shares(data.map(row), len(data.classes), model.host.grid) for row in rows]
    x, y = torch.cat(tokens), torch.cat(goals).to(device)
    there = y.sum(1) > 0
    x, y = x[there], y[there]
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    x = (x - mean) / std
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(x.shape[1], y.shape[1]).to(device)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows_drawn = torch.randint(len(x), (min(BATCH, len(x)),), generator=generator).to(device)
        loss = functional.cross_entropy(linear(x[rows_drawn]), y[rows_drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Head(mean, std, linear)
