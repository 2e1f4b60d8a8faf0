"""timm's Eva family: EVA, EVA02, DINOv3, Perception Encoder, ViTs with rotary embeddings, Sapiens2 and more.

What is relied on inside timm, and guarded by the identity test over every registered name: of `EvaBlock` and
`EvaBlockPostNorm` the lines of their forward; of `EvaAttention` and `AttentionRope` their projections (fused, apart, or
with keys that heads share), norms, gate and `scale`. Rotations go with the patches; the prefix has none.

Shapes: B images, H heads, T tokens with the prefix, N patch tokens, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import timm
import torch
from timm.layers import AttentionRope, apply_rot_embed_cat
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.attention import QKV
from ..core.host import Between, Decide, Ear, Tokens, host
from ..errors import BadInput
from .timm_attention import Given, attended_after, fused, normed
from .timm_halves import PostNorm, Scaled
from .timm_rope import KINDS, rotary, send_once
from .timm_vit import TimmVisionTransformer
from .twins import twin

Projected = tuple[Tensor, Tensor, Tensor]


def projected(attention: Any, y: Tensor) -> Projected:
    """Queries, keys and values as timm projects them: (B, T, H D) each, or fewer heads of keys and values."""
    if attention.qkv is None:
        return attention.q_proj(y), attention.k_proj(y), attention.v_proj(y)
    queries, keys, values = fused(attention, y).chunk(3, -1)
    return queries, keys, values


def split(attention: Any, parts: Projected, rope: Tensor | None) -> QKV:
    """What was projected, by heads: normalised, rotated where a patch stands, with shared keys and values repeated."""

    def heads(part: Tensor) -> Tensor:
        return part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    def rotated(part: Tensor) -> Tensor:
        if rope is None:
            return part
        prefix = attention.num_prefix_tokens
        turned = apply_rot_embed_cat(part[:, :, prefix:], rope, half=attention.rotate_half)
        return torch.cat([part[:, :, :prefix], turned], 2).type_as(values)

    def shared(part: Tensor) -> Tensor:
        groups = getattr(attention, "num_kv_groups", 1)
        return part if groups == 1 else part.repeat_interleave(groups, 1)

    queries, keys, values = (heads(part) for part in parts)
    queries, keys = normed(attention, "q_norm", queries), normed(attention, "k_norm", keys)
    content = None if rope is None else shared(keys)
    return QKV(rotated(queries), shared(rotated(keys)), shared(values), attention.scale, content)


class _Split:
    """The forward of both of timm's blocks. Modifications: who hears its attention, and what stands in its middle."""

    def forward(
        self: Any,
        x: Tensor,
        rope: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), or fewer tokens."""
        attention, y = self.attn, self.before_attention(x)
        if ear is not None:
            parts = projected(attention, y)
            ear.given, ear.heard = y, (parts, rope)
            given = dict(zip(("q_proj", "k_proj", "v_proj"), map(Given, parts), strict=True))
            attention = twin(attention, {"qkv": None, **given})
        if decide is not None:
            qkv = split(self.attn, projected(self.attn, y), rope)
            x, y = attended_after(decide, self.attn, qkv, x, attn_mask, self.before_attention, self._values)
        else:
            y = attention(y, rope=rope, attn_mask=attn_mask, is_causal=is_causal)
        joined: Tensor = self.joined(x, y, between)
        return joined

    def _values(self: Any, x: Tensor) -> Tensor:
        return split(self.attn, projected(self.attn, self.before_attention(x)), None).values


class SplitEvaBlock(_Split, Scaled, EvaBlock):
    """timm's EvaBlock."""


class SplitEvaBlockPostNorm(_Split, PostNorm, EvaBlockPostNorm):
    """timm's EvaBlockPostNorm."""


@host("timm-eva")
class TimmEva(TimmVisionTransformer):
    """timm's Eva: rotary or absolute positions, norms before or after, gated MLPs, keys that heads share."""

    family = "timm Eva"
    supported = (
        "timm's Eva made of its blocks with EvaAttention or AttentionRope "
        "(eva_*, eva02_*, vit_*_dinov3, vit_pe_*, vit_*_rope_*, vit_*_sapiens2)"
    )
    has_positions = True
    modules = ("eva",)
    splits: ClassVar = {EvaBlock: SplitEvaBlock, EvaBlockPostNorm: SplitEvaBlockPostNorm}
    attentions = (EvaAttention, AttentionRope)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.has_positions = model.rope is not None

    @staticmethod
    def recognises(model: object) -> bool:
        """An Eva itself."""
        return type(model) is Eva

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 patches, with DINOv3's registers and rotations."""
        small: nn.Module = timm.create_model(
            "vit_small_patch16_dinov3", img_size=64, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=10
        )
        return small

    def _check(self) -> None:
        super()._check()
        if type(self.model.rope) not in (*KINDS, type(None)):
            kind = type(self.model.rope).__name__
            raise BadInput(f"{self.name} has positions of a {kind}, not timm's own; supported: {self.supported}")

    def prepare(self, blocks: Sequence[int]) -> None:
        """As its parent does; and rotations of the model's own grid are at hand."""
        super().prepare(blocks)
        send_once(self.model.rope, self.grid)

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens, and their positions where these are rotary."""
        vit = self.model
        x = vit.patch_embed(images)
        grid = (x.shape[1], x.shape[2]) if x.dim() == 4 else self.grid
        x, table = vit._pos_embed(x)
        return Tokens(vit.norm_pre(x), grid, None if table is None else rotary(vit.rope, table, grid))

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
        block, rope = self.model.blocks[i], None if positions is None else positions.rows(i)
        given = {name: what for name, what in (("ear", ear), ("between", between), ("decide", decide)) if what}
        if not given and self.model.grad_checkpointing and torch.is_grad_enabled():
            # what listens or decides is never run a second time
            recomputed: Tensor = checkpoint(block, x, rope, mask, use_reentrant=False)
            return recomputed
        out: Tensor = block(x, rope=rope, attn_mask=mask, **given)
        return out

    def qkv(self, i: int, x: Tensor, ear: Ear) -> QKV:
        """Queries, keys and values of block i, normalised and rotated as the model does so."""
        return split(self.model.blocks[i].attn, *ear.heard)._replace(given=ear.given)
