"""What ViTs around torch's own `nn.MultiheadAttention` share: torchvision's, with SWAG's weights, and open_clip's.

Their attention is called as their libraries call it. It tells nobody what it projects, so that a reducer that reads
keys has them projected once more.

Shapes: B images, H heads, T tokens with the prefix, N patch tokens, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..core.attention import QKV
from ..core.host import Between, Decide, Ear
from .decided import decided


def attend(attention: nn.MultiheadAttention, x: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, C) -> (B, T, C), with an additive mask (B, 1, 1, T)."""
    keys = None if mask is None else mask[:, 0, 0].to(x.dtype)
    out: Tensor = attention(x, x, x, need_weights=False, key_padding_mask=keys)[0]
    return out


def project(attention: nn.MultiheadAttention, x: Tensor) -> QKV:
    """Queries, keys and values (B, H, T, D) of (B, T, C); the keys with their bias."""
    projected = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    queries, keys, values = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return QKV(queries, keys, values, attention.head_dim**-0.5)


class SplitBlock(nn.Module):
    """Before a library's pre-norm block. Modifications: a mask of keys; what stands between or before its halves."""

    attended: ClassVar[str]
    """the attention's name"""
    after: ClassVar[tuple[str | None, str | None]]
    """what attention and MLP go through before they are added"""

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), or fewer tokens."""
        block: Any = self
        attention, y = getattr(block, self.attended), block.ln_1(x)
        if decide is not None:
            qkv = project(attention, y)
            x, weights, values = decided(decide, qkv, x, mask, lambda x: project(attention, block.ln_1(x)).values)
            weights = functional.dropout(weights, attention.dropout, attention.training)
            heard = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
        else:
            if ear is not None:
                ear.given = ear.heard = y
            heard = attend(attention, y, mask)
        x = x + self._through(self.after[0], heard)
        return self.second(x if between is None else between(x))

    def second(self: Any, x: Tensor) -> Tensor:
        """Tokens (B, T, C) after attention -> those that leave the block."""
        out: Tensor = x + self._through(self.after[1], self.mlp(self.ln_2(x)))
        return out

    def _through(self, name: str | None, x: Tensor) -> Tensor:
        return x if name is None else getattr(self, name)(x)


class MultiheadViT:
    """A host of pre-norm blocks `ln_1`, attention, `ln_2`, `mlp`, with a class token."""

    split: type[SplitBlock]
    """what a block becomes that somebody stands in, or that masks keys"""
    prefix, has_class_token, has_positions = 1, True, False

    model: Any
    layers: Sequence[Any]
    """the library's blocks"""
    grid: tuple[int, int]
    image: tuple[int, int, int]
    width: int
    classes: int
    """channels of what the head gives"""

    @property
    def blocks(self) -> int:
        """How many."""
        return len(self.layers)

    @property
    def heads(self) -> int:
        """Of an attention."""
        return int(self._attention(0).num_heads) if self.layers else 0

    def _attention(self, i: int) -> Any:
        return getattr(self.layers[i], self.split.attended)

    def prepare(self, blocks: Sequence[int]) -> None:
        """Let all blocks be SplitBlocks, as those after a merger mask keys: the same modules, parameters and hooks."""
        for layer in self.layers:
            layer.__class__ = self.split

    def block(
        self,
        i: int,
        x: Tensor,
        mask: Tensor | None,
        positions: Any,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """Block i, through its own `__call__`, so that hooks and wrappers see it."""
        layer = self.layers[i]
        named = {"mask": mask, "ear": ear, "between": between, "decide": decide}
        given: dict[str, Any] = {name: what for name, what in named.items() if what is not None}
        if self._recomputes() and not {*given} - {"mask"} and torch.is_grad_enabled():
            # what listens or decides is never run a second time
            recomputed: Tensor = checkpoint(layer, x, use_reentrant=False, **given)
            return recomputed
        out: Tensor = layer(x, **given)
        return out

    def _recomputes(self) -> bool:
        """Whether gradient checkpointing is on."""
        return False

    def second(self, i: int, x: Tensor) -> Tensor:
        """What block i does after its attention."""
        out: Tensor = self.layers[i].second(x)
        return out

    def qkv(self, i: int, x: Tensor, ear: Ear) -> QKV:
        """Queries, keys and values of block i."""
        y = self.layers[i].ln_1(x) if ear.heard is None else ear.heard
        return project(self._attention(i), y)._replace(given=y)

    def flops(self, i: int, attended: Any, left: Any) -> Any:
        """Multiply-adds of block i: attention over `attended` patches, MLP over `left`, the prefix beside them."""
        tokens, mlp = attended + self.prefix, next(p for p in self.layers[i].mlp if isinstance(p, nn.Linear))
        return 4 * tokens * self.width**2 + 2 * tokens**2 * self.width + (left + self.prefix) * 2 * mlp.weight.numel()

    def flops_around(self) -> float:
        """Multiply-adds of patch embedding and head."""
        channels, height, width = self.image
        return float(channels * height * width * self.width + self.width * self.classes)


def configuration(
    name: str, size: Sequence[int], mean: Sequence[float], std: Sequence[float], **words: Any
) -> dict[str, Any]:
    """How a model wants its images, in timm's words, as `pretrained_cfg` of a model that is not timm's.

    Args:
        name: of the model.
        size: (height, width) that it sees.
        mean: of the channels.
        std: of the channels.
        **words: `interpolation` (bicubic), `crop_pct` (1.0), `crop_mode` (center).
    """
    usual = {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center"}
    return {"architecture": name, "input_size": (3, *size), "mean": tuple(mean), "std": tuple(std), **usual, **words}
