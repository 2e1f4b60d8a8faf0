"""All that tokenlens relies on inside timm's `Attention`: `qkv`, `q_norm`, `k_norm`, `scale`, `num_heads`, `head_dim`.

The attention itself is timm's and stays fused; a hook on its `qkv` layer remembers what went in, and the few numbers
that a reducer asks for are formed from that. The identity test over many registered models guards these lines.

Shapes: B images, H heads, T tokens with the prefix, D channels a head.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Attention
from torch import Tensor, nn

TimmViT = Any  # a timm VisionTransformer; what its parts are is known at run time only


def remember(qkv: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
    """Forward hook: leave the projection where `Attended` finds it. A module-level function, so that copies work."""
    qkv.remembered = output  # type: ignore[assignment]


def forget(vit: TimmViT) -> None:
    """Let go of what was remembered: it would keep a training step's graph alive, which cannot be copied either."""
    for block in vit.blocks:
        block.attn.qkv.__dict__.pop("remembered", None)


def widen(x: Tensor) -> Tensor:
    """At least float32: half-precision numbers tie, and decisions made from ties are arbitrary."""
    return x if x.dtype == torch.float64 else x.float()


def bias(mass: Tensor | None, prefix: int, dtype: torch.dtype) -> Tensor | None:
    """The additive attention mask log(mass), (B, 1, 1, T); prefix tokens weigh 1. None for no mass.

    A mass that is being learned (DynamicViT's policy) gets a small floor: the logarithm of 0 has no gradient.
    """
    if mass is None:
        return None
    log = torch.log(mass + 1e-8) if mass.requires_grad else torch.log(mass)
    return nn.functional.pad(log, (prefix, 0)).to(dtype)[:, None, None, :]


class Attended:
    """What the latest attention of the walk saw, in float32 (float64 in a float64 model)."""

    def __init__(self, attention: Attention, mass: Tensor | None, prefix: int) -> None:
        self.attention, self.mass, self.prefix = attention, mass, prefix
        self.projected: Tensor = attention.qkv.remembered  # type: ignore[assignment]

    def _part(self, which: int) -> Tensor:
        """(B, H, T, D): 0 the queries, 1 the keys, 2 the values."""
        batch, count, _ = self.projected.shape
        shape = (batch, count, 3, self.attention.num_heads, self.attention.head_dim)
        part = self.projected.view(shape)[:, :, which].transpose(1, 2)
        norm = (self.attention.q_norm, self.attention.k_norm, nn.Identity())[which]
        weight = getattr(norm, "weight", None)  # decided outside autocast, so nothing else makes the two types agree
        return widen(norm(part if weight is None else part.to(weight.dtype)))

    @property
    def keys(self) -> Tensor:
        """(B, H, N, D) of the patch tokens."""
        return self._part(1)[:, :, self.prefix :]

    @property
    def values(self) -> Tensor:
        """(B, H, N, D) of the patch tokens."""
        return self._part(2)[:, :, self.prefix :]

    def rows(self, queries: slice) -> Tensor:
        """(B, H, queries, T): rows of the softmax attention."""
        scores = (self._part(0)[:, :, queries] * self.attention.scale) @ self._part(1).transpose(-2, -1)
        mask = bias(self.mass, self.prefix, scores.dtype)
        return (scores if mask is None else scores + mask).softmax(-1)
