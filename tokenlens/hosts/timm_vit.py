"""timm's VisionTransformer of plain pre-norm blocks: DeiT, AugReg, DINO, DINOv2, CLIP, SigLIP, MAE and more.

All that is relied on inside timm stands here, and the identity test over many registered models guards it: of `Block`
the two lines of its forward, of `Attention` its `qkv`, `q_norm`, `k_norm`, `scale`, and what follows its softmax.

Shapes: B images, H heads, T tokens with the prefix, N patch tokens, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers import Attention, PatchEmbed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.attention import QKV
from ..core.host import Between, Decide, Ear, Tokens, host, name_of
from ..errors import BadInput
from .patch_product import let_product

TimmViT = Any  # a timm VisionTransformer; what its parts are is known at run time only


class _Listening(nn.Module):
    """Stands in a layer's place, calls it, and tells an ear what came out."""

    def __init__(self, layer: nn.Module, ear: Ear) -> None:
        super().__init__()
        self.layer, self.ear = layer, ear

    def forward(self, x: Tensor) -> Tensor:
        self.ear.given, self.ear.heard = x, self.layer(x)
        return self.ear.heard


def overheard(attention: nn.Module, ear: Ear) -> nn.Module:
    """A twin that shares everything with an attention, but tells the ear what its `qkv` gives.

    So timm's forward runs as it is, on whatever stands in `qkv` now (LoRA, say), and no hook or attribute stays on the
    model: threads do not meet, and an exception leaves nothing behind.
    """
    twin: nn.Module = object.__new__(type(attention))
    twin.__dict__.update(attention.__dict__)
    twin.__dict__["_modules"] = {**attention._modules, "qkv": _Listening(attention.qkv, ear)}  # type: ignore[arg-type]
    return twin


class SplitBlock(Block):
    """timm's Block. Modifications: an ear on its attention; what stands between its halves, or before its attention."""

    def forward(
        self,
        x: Tensor,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), or fewer tokens."""
        if decide is not None:
            x = self._decided(x, attn_mask, decide)
        else:
            attention = self.attn if ear is None else overheard(self.attn, ear)
            x = x + self.drop_path1(self.ls1(attention(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)))
        if between is not None:
            x = between(x)
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _decided(self, x: Tensor, mask: Tensor | None, decide: Decide) -> Tensor:
        """The first half with the softmax of all tokens, carried over to those of the plan."""
        attn: Any = self.attn
        y = self.norm1(x)
        qkv = split(attn, attn.qkv(y))
        scores = (qkv.queries * qkv.scale) @ qkv.keys.transpose(-2, -1)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        plan, values = decide(x, qkv, weights), qkv.values
        if plan is not None:
            prefix = x.shape[1] - plan.group.shape[1]
            x, weights = plan.carry(x, prefix), plan.carry_attention(weights, prefix)
            y = self.norm1(x)
            values = split(attn, attn.qkv(y)).values
        mixed = attn.norm((attn.attn_drop(weights) @ values).transpose(1, 2).flatten(2))
        mixed = mixed if attn.gate is None else mixed * attn.gate(y).sigmoid()
        return x + self.drop_path1(self.ls1(attn.proj_drop(attn.proj(mixed))))


def split(attention: Any, projected: Tensor) -> QKV:
    """Queries, keys and values (B, H, T, D) of what `qkv` gave, (B, T, 3 H D)."""
    batch, count, _ = projected.shape
    parts = projected.view(batch, count, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    q, k = (_normed(norm, part) for norm, part in zip((attention.q_norm, attention.k_norm), parts[:2], strict=True))
    return QKV(q, k, parts[2], attention.scale)


def _normed(norm: nn.Module, part: Tensor) -> Tensor:
    weight = getattr(norm, "weight", None)  # decided outside autocast, so nothing else makes the two types agree
    normed: Tensor = norm(part if weight is None else part.to(weight.dtype))
    return normed


@host("timm-vit")
class TimmVisionTransformer:
    """timm's VisionTransformer made of plain blocks, with any prefix tokens, pooling and head."""

    family = "timm ViT"
    supported = (
        "timm's VisionTransformer made of its PatchEmbed and plain pre-norm Blocks with its Attention "
        "(vit_*, deit_*, deit3_*, flexivit_*, with AugReg, DINO, DINOv2, CLIP, SigLIP or MAE weights)"
    )
    has_positions = False

    def __init__(self, model: TimmViT) -> None:
        self.model, self.name = model, name_of(model)
        self._check()
        embed = model.patch_embed
        self.blocks, self.width, self.prefix = len(model.blocks), model.embed_dim, model.num_prefix_tokens
        self.heads = model.blocks[0].attn.num_heads if self.blocks else 0
        self.grid: tuple[int, int] = tuple(embed.grid_size)
        self.image = (embed.proj.in_channels, *(n * p for n, p in zip(embed.grid_size, embed.patch_size, strict=True)))
        self.has_class_token = getattr(model, "cls_token", None) is not None

    @staticmethod
    def recognises(model: object) -> bool:
        """A VisionTransformer or DeiT's distilled one; other subclasses run their blocks otherwise."""
        return type(model) in (VisionTransformer, VisionTransformerDistilled)

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 patches."""
        small: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", img_size=64, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=10
        )
        return small

    def _check(self) -> None:
        vit = self.model
        if type(vit.patch_embed) is not PatchEmbed:
            kind = type(vit.patch_embed).__name__
            raise BadInput(
                f"{self.name} makes its patches with a {kind}, not the plain PatchEmbed; supported: {self.supported}"
            )
        for i, block in enumerate(vit.blocks):
            for part, plain in ((block, (Block, SplitBlock)), (getattr(block, "attn", None), (Attention,))):
                if type(part) not in plain:
                    kind, wanted = type(part).__name__, plain[0].__name__
                    raise BadInput(
                        f"block {i} of {self.name} has a {kind}, not the plain {wanted}; supported: {self.supported}"
                    )
        if not isinstance(vit.patch_drop, nn.Identity):
            raise BadInput(f"{self.name} drops random patches before its first block; create it with patch_drop_rate=0")

    def prepare(self, blocks: Sequence[int]) -> None:
        """Let these blocks be SplitBlocks: the same modules, parameters and hooks, with one more way to be called."""
        let_product(self.model.patch_embed.proj)
        for i in blocks:
            self.model.blocks[i].__class__ = SplitBlock

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens."""
        vit = self.model
        x = vit.patch_embed(images)
        grid = (x.shape[1], x.shape[2]) if x.dim() == 4 else self.grid
        return Tokens(vit.norm_pre(vit.patch_drop(vit._pos_embed(x))), grid)

    def block(
        self,
        i: int,
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """Block i, through its own `__call__`, so that hooks and wrappers see it."""
        block = self.model.blocks[i]
        given = {name: what for name, what in (("ear", ear), ("between", between), ("decide", decide)) if what}
        if not given and self.model.grad_checkpointing and torch.is_grad_enabled():
            # what listens or decides is never run a second time
            recomputed: Tensor = checkpoint(block, x, mask, use_reentrant=False)
            return recomputed
        out: Tensor = block(x, attn_mask=mask, **given)
        return out

    def qkv(self, i: int, x: Tensor, ear: Ear) -> QKV:
        """Queries, keys and values of block i, normalised where the model does so."""
        block: Any = self.model.blocks[i]
        if ear.heard is None:
            ear.given = block.norm1(x)
            ear.heard = block.attn.qkv(ear.given)
        return split(block.attn, ear.heard)._replace(given=ear.given)

    def finish(self, x: Tensor, mass: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C) after the last norm."""
        return fill_padding(self.model.norm(x), mass, self.model)

    def head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, T, C) -> (B, classes)."""
        logits: Tensor = self.model.forward_head(features, pre_logits=pre_logits)
        return logits

    def grid_of(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches of images of (height, width)."""
        rows, columns = self.model.patch_embed.dynamic_feat_size(tuple(size))
        return rows, columns

    def flops(self, i: int, attended: Any, left: Any) -> Any:
        """Multiply-adds of block i: attention over `attended` patches, MLP over `left`, the prefix beside them."""
        block = self.model.blocks[i]
        tokens, width = attended + self.prefix, block.attn.num_heads * block.attn.head_dim
        attention = tokens * self.width * 4 * width + 2 * tokens**2 * width
        return attention + (left + self.prefix) * 2 * self.width * block.mlp.fc1.out_features

    def flops_around(self) -> float:
        """Multiply-adds of patch embedding and head."""
        rows, columns = self.grid
        kernel = self.model.patch_embed.patch_size
        embedding = rows * columns * self.width * self.image[0] * kernel[0] * kernel[1]
        return float(embedding + self.width * self.model.num_classes)


def fill_padding(x: Tensor, mass: Tensor | None, vit: TimmViT) -> Tensor:
    """Give padding the mean of the image's other tokens, so that it changes neither an average nor a maximum pool."""
    if mass is None or vit.global_pool == "token":
        return x
    absent = (mass == 0).unsqueeze(-1)
    if vit.attn_pool is not None:
        if bool(absent.any()):
            raise BadInput(
                f"{name_of(vit)} pools by attention, which would see padding; use a method that does not pad"
            )
        return x
    patches = x[:, vit.num_prefix_tokens :]
    present = (~absent).to(x.dtype)
    # without the prefix the pool sees patches alone; with it, the mean over all tokens that are there
    head = x[:, : vit.num_prefix_tokens] if vit.pool_include_prefix else x[:, :0]
    mean = ((patches * present).sum(1) + head.sum(1)) / (present.sum(1) + head.shape[1])
    return torch.cat([x[:, : vit.num_prefix_tokens], torch.where(absent, mean.unsqueeze(1), patches)], 1)
