"""transformers' rotary embedding of DINOv3 as positions that travel: its own rows, and those between its places.

Shapes: B images, N tokens, P places, D channels a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..core.positions import Rotary
from ..errors import BadInput


def rotary(rope: Any, images: Tensor, grid: tuple[int, int]) -> Rotary:
    """The rows (P, 2 D), cosines before sines, that the library makes for images."""
    return Rotary(torch.cat(rope(images), -1), lambda: places(rope, grid), lambda where, _: rows_at(rope, where))


def places(rope: Any, grid: tuple[int, int]) -> Tensor:
    """(P, 2): the centres of the patches, from -1 to 1, rows before columns."""
    if rope.training:
        raise BadInput("position=mean has no place for what moves positions at random in training; take member")
    across = [2 * (torch.arange(count, device=rope.inv_freq.device) + 0.5) / count - 1 for count in grid]
    return torch.stack(torch.meshgrid(*across, indexing="ij"), -1).flatten(0, 1)


def rows_at(rope: Any, where: Tensor) -> Tensor:
    """(B, N, 2) coordinates -> (B, 1, N, 2 D): cosines and sines there."""
    angles = (2 * math.pi * where[..., None] * rope.inv_freq).flatten(-2).tile(2)
    return torch.cat([angles.cos(), angles.sin()], -1).unsqueeze(1)
