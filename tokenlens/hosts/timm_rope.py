"""timm's rotary embeddings as positions that travel: the rows that timm makes, and those between its places.

All four kinds turn pairs of channels by angles that are linear in two coordinates, which is what a mean place needs.

Shapes: B images, N tokens, H heads, D channels a head.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from timm.layers.pos_embed_sincos import (
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    RotaryEmbeddingMixed,
    RotaryEmbeddingMRope,
    _build_grid,
    _rope_layout,
)
from torch import Tensor

from ..core.positions import Rotary
from ..errors import BadInput

KINDS = (RotaryEmbeddingCat, RotaryEmbeddingDinoV3, RotaryEmbeddingMixed, RotaryEmbeddingMRope)


def rotary(rope: Any, table: Tensor, grid: tuple[int, int]) -> Rotary:
    """The rows that timm made for a walk, (P, 2 D) or (blocks, H, P, 2 D), as positions."""
    return Rotary(table, lambda: places(rope, grid), lambda where, block: rows_at(rope, where, block))


def places(rope: Any, grid: tuple[int, int]) -> Tensor:
    """(P, 2): the coordinates of the patches, in the embedding's own units and order."""
    if rope.training and rope.aug_active:
        raise BadInput("position=mean has no place for what moves positions at random in training; take member")
    like = next(chain(rope.parameters(), rope.buffers()))
    settings: dict[str, Any] = {"grid_indexing": rope.grid_indexing, "ndim": 2}
    if isinstance(rope, RotaryEmbeddingCat):
        names = ("grid_type", "ref_feat_shape", "grid_offset", "normalize_coords")
        settings |= {name: getattr(rope, name) for name in names}
    elif isinstance(rope, RotaryEmbeddingDinoV3):
        names = ("grid_offset", "normalize_coords")
        settings |= {"grid_type": "centered", **{name: getattr(rope, name) for name in names}}
    return _build_grid(list(grid), device=like.device, **settings).reshape(-1, 2)


def rows_at(rope: Any, where: Tensor, block: int) -> Tensor:
    """(B, N, 2) coordinates -> (B, 1 or H, N, 2 D): sines and cosines of a block there."""
    first, second = (part[..., None, :] for part in _frequencies(rope, block))  # (1 or H, 1, D / 2)
    across = where[:, None, :, :, None]
    angles = across[..., 0, :] * first + across[..., 1, :] * second
    half = not isinstance(rope, RotaryEmbeddingMixed) and getattr(rope, "rotate_half", True)
    return torch.cat([_rope_layout(angles.sin(), half), _rope_layout(angles.cos(), half)], -1)


def _frequencies(rope: Any, block: int) -> tuple[Tensor, Tensor]:
    """By how much each angle grows with each coordinate: (1 or H, D / 2) twice."""
    if isinstance(rope, RotaryEmbeddingMixed):
        first, second = rope.freqs[:, block].float()
        return first, second
    if isinstance(rope, RotaryEmbeddingMRope):
        return (rope.inv_freq * (rope.axis == 1))[None], (rope.inv_freq * (rope.axis == 2))[None]
    bands = rope.bands if isinstance(rope, RotaryEmbeddingCat) else 2 * torch.pi / rope.periods
    none = torch.zeros_like(bands)
    return torch.cat([bands, none])[None], torch.cat([none, bands])[None]
