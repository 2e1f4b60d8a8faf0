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


class Remembering(RotaryEmbeddingDinoV3):
    """timm's, which makes the table of a grid on the CPU at each call: here a GPU is sent that of one grid once."""

    own: tuple[int, int]
    table: Tensor

    def remember(self, grid: tuple[int, int]) -> None:
        """Keep the table of a grid, in the precision in which timm makes it."""
        self.own = grid
        self.register_buffer("table", self._create_embed(list(grid), no_aug=True), persistent=False)

    def get_embed(self, shape: Any = None, dtype: torch.dtype | None = None) -> Tensor:
        """As timm's."""
        if shape is None or tuple(shape) != self.own or (self.training and self.aug_active):
            return super().get_embed(shape, dtype)
        return self.table if dtype is None else self.table.to(dtype)

    def _apply(self, fn: Any, *args: Any, **given: Any) -> Any:
        module = super()._apply(fn, *args, **given)
        if self.table.dtype != self.periods.dtype:  # cast with all the rest
            self.remember(self.own)
        return module


KINDS = (RotaryEmbeddingCat, RotaryEmbeddingDinoV3, Remembering, RotaryEmbeddingMixed, RotaryEmbeddingMRope)


def send_once(rope: Any, grid: tuple[int, int]) -> None:
    """Let the rotations of a model's own grid be made now and not in a walk."""
    if issubclass(type(rope), RotaryEmbeddingDinoV3):
        rope.__class__ = Remembering
        rope.remember(grid)


def rotary(rope: Any, table: Tensor, grid: tuple[int, int]) -> Rotary:
    """The rows that timm made for a walk, (P, 2 D) or (blocks, H, P, 2 D), as positions."""
    return Rotary(table, lambda: places(rope, grid), lambda where, block: rows_at(rope, where, block))


def places(rope: Any, grid: tuple[int, int]) -> Tensor:
    """(P, 2): the coordinates of the patches, in the embedding's own units and order."""
    if rope.training and rope.aug_active:
        raise BadInput("position=mean has no place for what moves positions at random in training; take member")
    kind, like = type(rope), next(chain(rope.parameters(), rope.buffers()))
    every = ("grid_offset", "normalize_coords", "grid_type", "ref_feat_shape")
    centred = isinstance(rope, RotaryEmbeddingDinoV3)
    names = every if kind is RotaryEmbeddingCat else every[:2] if centred else ()
    settings: dict[str, Any] = {name: getattr(rope, name) for name in names}
    if centred:
        settings["grid_type"] = "centered"
    made = _build_grid(list(grid), grid_indexing=rope.grid_indexing, device=like.device, ndim=2, **settings)
    return made.reshape(-1, 2)


def rows_at(rope: Any, where: Tensor, block: int) -> Tensor:
    """(B, N, 2) coordinates -> (B, 1 or H, N, 2 D): sines and cosines of a block there."""
    first, second = (part[..., None, :] for part in _frequencies(rope, block))  # (1 or H, 1, D / 2)
    across = where[:, None, :, :, None]
    angles = across[..., 0, :] * first + across[..., 1, :] * second
    half = type(rope) is not RotaryEmbeddingMixed and getattr(rope, "rotate_half", True)
    return torch.cat([_rope_layout(angles.sin(), half), _rope_layout(angles.cos(), half)], -1)


def _frequencies(rope: Any, block: int) -> tuple[Tensor, Tensor]:
    """By how much each angle grows with each coordinate: (1 or H, D / 2) twice."""
    kind = type(rope)
    if kind is RotaryEmbeddingMixed:
        first, second = rope.freqs[:, block].float()
        return first, second
    if kind is RotaryEmbeddingMRope:
        return (rope.inv_freq * (rope.axis == 1))[None], (rope.inv_freq * (rope.axis == 2))[None]
    bands = rope.bands if kind is RotaryEmbeddingCat else 2 * torch.pi / rope.periods
    none = torch.zeros_like(bands)
    return torch.cat([bands, none])[None], torch.cat([none, bands])[None]
