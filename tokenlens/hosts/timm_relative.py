"""timm's BEiT and its ViTs of relative positions, whose attention adds a bias between every two places.

What is relied on inside timm, and guarded by the identity test over every registered name: of the three blocks the
lines of their forward; of the two attentions their `qkv`, norms and `scale`, and that they add what is handed in.

Shapes: B images, H heads, T tokens with the prefix, N patch tokens, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import timm
import torch
from timm.models import beit
from timm.models.vision_transformer_relpos import (
    RelPosAttention,
    RelPosBlock,
    ResPostRelPosBlock,
    VisionTransformerRelPos,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.attention import QKV
from ..core.host import Between, Decide, Ear, Tokens, host
from ..core.positions import Biases
from .timm_attention import Given, attended_after, fused, split
from .timm_halves import Layered, PostNorm, Scaled
from .timm_vit import TimmVisionTransformer, weights_of
from .twins import twin


def own_bias(attention: Any) -> Tensor | None:
    """(1, H, T, T): what an attention adds by itself."""
    if type(attention) is beit.Attention:
        return None if attention.relative_position_bias_table is None else attention._get_rel_pos_bias()
    return None if attention.rel_pos is None else attention.rel_pos.get_bias()


def told(attention: Any, projected: Tensor) -> nn.Module:
    """A twin that has projected already, and has no bias but the one that it is handed."""
    apart = {"rel_pos": None} if isinstance(attention, RelPosAttention) else dict.fromkeys(
        ("q_bias", "v_bias", "relative_position_bias_table"))  # fmt: skip
    return twin(attention, {"qkv": Given(projected), **apart})


class _Split:
    """Timm's forward. Modifications: a bias of what is there, an ear, and what stands in the middle."""

    def walked(
        self: Any,
        x: Tensor,
        shared: Tensor | None,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), or fewer; `bias` (B or 1, H, T, T), where given, is all that attention adds."""
        attention, y = self.attn, self.before_attention(x)
        if bias is not None or mask is not None or ear is not None or decide is not None:
            projected = fused(attention, y)
            if ear is not None:
                ear.given, ear.heard = y, (projected, bias)
            attention = told(attention, projected)
            shared = mask if bias is None else bias if mask is None else bias + mask
        if decide is not None:
            qkv = split(self.attn, projected)
            x, y = attended_after(decide, self.attn, qkv, x, shared, self.before_attention, self._values)
        else:
            y = attention(y, shared)
        joined: Tensor = self.joined(x, y, between)
        return joined

    def _values(self: Any, x: Tensor) -> Tensor:
        return split(self.attn, fused(self.attn, self.before_attention(x))).values


class SplitBeitBlock(_Split, Scaled, beit.Block):
    """BEiT's, with its name for what all blocks share."""

    def forward(self, x: Tensor, shared_rel_pos_bias: Tensor | None = None, *added: Any, **given: Any) -> Tensor:
        """As `walked`."""
        return self.walked(x, shared_rel_pos_bias, *added, **given)


class _SplitRelPos(_Split):
    """Those of the others, with theirs."""

    def forward(self, x: Tensor, shared_rel_pos: Tensor | None = None, *added: Any, **given: Any) -> Tensor:
        """As `walked`."""
        return self.walked(x, shared_rel_pos, *added, **given)


class SplitRelPosBlock(_SplitRelPos, Layered, RelPosBlock):
    """That of timm's ViTs of relative positions."""


class SplitResPostRelPosBlock(_SplitRelPos, PostNorm, ResPostRelPosBlock):
    """The same with its norms behind."""


@host("timm-relative")
class TimmRelative(TimmVisionTransformer):
    """timm's BEiT and relative-position ViTs; biases go with the tokens, as means where these are blended."""

    family = "timm relative"
    supported = (
        "timm's Beit and VisionTransformerRelPos made of their own blocks "
        "(beit_*, beitv2_*, vit_relpos_*, vit_srelpos_*)"
    )
    has_positions = True
    modules = ("beit", "vision_transformer_relpos")
    splits: ClassVar = {
        beit.Block: SplitBeitBlock,
        RelPosBlock: SplitRelPosBlock,
        ResPostRelPosBlock: SplitResPostRelPosBlock,
    }
    attentions = (beit.Attention, RelPosAttention)

    @staticmethod
    def recognises(model: object) -> bool:
        """A Beit or a VisionTransformerRelPos itself."""
        return type(model) in (beit.Beit, VisionTransformerRelPos)

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 patches."""
        small: nn.Module = timm.create_model(
            "beit_base_patch16_224", img_size=64, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=10
        )
        return small

    def prepare(self, blocks: Sequence[int]) -> None:
        """Let all blocks be split ones, since those after a stage are handed a bias."""
        super().prepare(range(self.blocks))

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens, and what all blocks add alike."""
        vit = self.model
        x = vit.patch_embed(images)
        count = x.shape[1]
        if vit.cls_token is not None:
            x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
        if isinstance(vit, VisionTransformerRelPos):
            shared = None if vit.shared_rel_pos is None else vit.shared_rel_pos.get_bias()
            return Tokens(x, self.grid, Biases(count, shared))
        x = vit.pos_drop(x if vit.pos_embed is None else x + vit.pos_embed)
        return Tokens(x, self.grid, Biases(count, None if vit.rel_pos_bias is None else vit.rel_pos_bias()))

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
        block = self.model.blocks[i]
        given = {name: what for name, what in (("ear", ear), ("between", between), ("decide", decide)) if what}
        told_bias = mask is not None or positions.state is not None or given
        added = (positions.among(self._table(block.attn, positions)), mask) if told_bias else ()
        if not given and self.model.grad_checkpointing and torch.is_grad_enabled():
            # what listens or decides is never run a second time
            recomputed: Tensor = checkpoint(block, x, positions.shared, *added, use_reentrant=False)
            return recomputed
        out: Tensor = block(x, positions.shared, *added, **given)
        return out

    def _table(self, attention: Any, positions: Biases) -> Tensor | None:
        """(1, H, T, T): all that an attention adds, between all tokens."""
        own, shared = own_bias(attention), positions.shared
        return shared if own is None else own if shared is None else own + shared

    def qkv(self, i: int, x: Tensor, ear: Ear) -> QKV:
        """Queries, keys and values of block i, and the bias between its tokens."""
        projected, bias = ear.heard
        return split(self.model.blocks[i].attn, projected)._replace(bias=bias)

    def flops(self, i: int, attended: Any, left: Any) -> Any:
        """Multiply-adds of block i: attention over `attended` patches, MLP over `left`, the prefix beside them."""
        relative, tokens = getattr(self.model.blocks[i].attn, "rel_pos", None), attended + self.prefix
        return super().flops(i, attended, left) + self._network(relative) - tokens * weights_of(relative)

    def flops_around(self) -> float:
        """Multiply-adds of patch embedding, head, and a bias that blocks share."""
        return super().flops_around() + self._network(getattr(self.model, "shared_rel_pos", None))

    def _network(self, relative: nn.Module | None) -> int:
        """Multiply-adds of the network that gives the bias between any two places, by how far apart they are."""
        rows, columns = self.grid
        return weights_of(relative) * (2 * rows - 1) * (2 * columns - 1)
