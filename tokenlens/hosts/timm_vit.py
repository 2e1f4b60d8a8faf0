"""timm's VisionTransformer of plain pre-norm blocks: DeiT, AugReg, DINO, DINOv2, CLIP, SigLIP, MAE and more.

All that is relied on inside timm stands here, and the identity test over many registered models guards it: of `Block`
the two lines of its forward, of `Attention` its `qkv`, `q_norm`, `k_norm`, `scale`, and what follows its softmax.

Shapes: B images, H heads, T tokens with the prefix, N patch tokens, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import timm
import torch
from timm.layers import Attention, HybridEmbed, PatchEmbed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.attention import QKV
from ..core.host import Between, Decide, Ear, Tokens, host, name_of
from ..errors import BadInput
from .patch_product import let_product
from .timm_attention import attended_after, overheard, split
from .timm_halves import Layered

TimmViT = Any  # a timm VisionTransformer; what its parts are is known at run time only


class SplitBlock(Layered, Block):
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
            project = self._projected
            qkv = project(x)
            x, y = attended_after(decide, self.attn, qkv, x, attn_mask, self.norm1, lambda x: project(x).values)
        else:
            attention = self.attn if ear is None else overheard(self.attn, ear)
            y = attention(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        return self.joined(x, y, between)

    def _projected(self, x: Tensor) -> QKV:
        attn: Any = self.attn
        return split(attn, attn.qkv(self.norm1(x)))


@host("timm-vit")
class TimmVisionTransformer:
    """timm's VisionTransformer made of plain blocks, with any prefix tokens, pooling and head."""

    family: ClassVar[str] = "timm ViT"
    supported: ClassVar[str] = (
        "timm's VisionTransformer made of its PatchEmbed and plain pre-norm Blocks with its Attention "
        "(vit_*, deit_*, deit3_*, flexivit_*, with AugReg, DINO, DINOv2, CLIP, SigLIP or MAE weights)"
    )
    has_positions = False
    modules: tuple[str, ...] = ("vision_transformer", "deit")
    """of timm, where these are registered"""
    splits: ClassVar[Mapping[type[nn.Module], type[nn.Module]]] = {Block: SplitBlock}
    """the blocks that are understood, and how each can be called one more way"""
    attentions: tuple[type[nn.Module], ...] = (Attention,)
    embedding: type[nn.Module] = PatchEmbed

    def __init__(self, model: TimmViT) -> None:
        self.model, self.name = model, name_of(model)
        self._check()
        self.blocks, self.width, self.prefix = len(model.blocks), model.embed_dim, model.num_prefix_tokens
        self.heads = model.blocks[0].attn.num_heads if self.blocks else 0
        self.image = self._image()
        self.grid = self.grid_of(self.image[1:])
        self.has_class_token = getattr(model, "cls_token", None) is not None

    @staticmethod
    def recognises(model: object) -> bool:
        """A VisionTransformer or DeiT's distilled one; other subclasses run their blocks otherwise."""
        plain = type(model) in (VisionTransformer, VisionTransformerDistilled)
        return plain and type(getattr(model, "patch_embed", None)) is not HybridEmbed

    @classmethod
    def names(cls) -> list[str]:
        """All that timm registers in the modules of this family."""
        return [name for module in cls.modules for name in timm.list_models(module=module)]

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 patches."""
        small: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", img_size=64, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=10
        )
        return small

    @property
    def _embeds(self) -> Any:
        """What makes tokens of patches."""
        return self.model.patch_embed

    def _image(self) -> tuple[int, int, int]:
        embed = self._embeds
        height, width = (n * p for n, p in zip(embed.grid_size, embed.patch_size, strict=True))
        return embed.proj.in_channels, height, width

    def _check(self) -> None:
        vit = self.model
        if type(self._embeds) is not self.embedding:
            kind, plain = type(self._embeds).__name__, self.embedding.__name__
            raise BadInput(
                f"{self.name} makes its patches with a {kind}, not the plain {plain}; supported: {self.supported}"
            )
        for i, block in enumerate(vit.blocks):
            understood = (*self.splits, *self.splits.values()), self.attentions
            for part, kinds in zip((block, getattr(block, "attn", None)), understood, strict=True):
                if type(part) not in kinds:
                    kind, wanted = type(part).__name__, kinds[0].__name__
                    raise BadInput(
                        f"block {i} of {self.name} has a {kind}, not the plain {wanted}; supported: {self.supported}"
                    )
        if not isinstance(getattr(vit, "patch_drop", None), nn.Identity | None):
            raise BadInput(f"{self.name} drops random patches before its first block; create it with patch_drop_rate=0")

    def prepare(self, blocks: Sequence[int]) -> None:
        """Let these blocks be split ones: the same modules, parameters and hooks, with one more way to be called."""
        let_product(self._embeds.proj)
        for i in blocks:
            block = self.model.blocks[i]
            block.__class__ = self.splits.get(type(block), type(block))

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
        positions: Any,
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

    def second(self, i: int, x: Tensor) -> Tensor:
        """What block i does after its attention."""
        out: Tensor = self.model.blocks[i].second(x)
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
        return ready_to_pool(self.model.norm(x), mass, self.model)

    def head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, T, C) -> (B, classes)."""
        logits: Tensor = self.model.forward_head(features, pre_logits=pre_logits)
        return logits

    def grid_of(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches of images of (height, width)."""
        rows, columns = self._embeds.dynamic_feat_size(tuple(size))
        return rows, columns

    def flops(self, i: int, attended: Any, left: Any) -> Any:
        """Multiply-adds of block i: attention over `attended` patches, MLP over `left`, the prefix beside them."""
        block, tokens = self.model.blocks[i], attended + self.prefix
        attention = tokens * weights_of(block.attn) + 2 * tokens**2 * block.attn.proj.in_features
        mlp = (left + self.prefix) * weights_of(block.mlp)
        return attention + mlp + (self.pooling(left + self.prefix) if i == self.blocks - 1 else 0)

    def pooling(self, tokens: Any) -> Any:
        """Multiply-adds of a pool by attention, counted with the last block, which leaves it these tokens."""
        pool = getattr(self.model, "attn_pool", None)
        if pool is None:
            return 0
        latent, each = pool.latent_len, pool.kv.weight.numel()
        return tokens * each + latent * (weights_of(pool) - each) + 2 * latent * tokens * pool.kv.in_features

    def flops_around(self) -> float:
        """Multiply-adds of patch embedding and head."""
        return float(self._embedding + self.width * self.model.num_classes)

    @property
    def _embedding(self) -> float:
        rows, columns = self.grid
        kernel = self._embeds.patch_size
        return float(rows * columns * self.width * self.image[0] * kernel[0] * kernel[1])


def weights_of(part: nn.Module | None) -> int:
    """Of all its linear layers: its multiply-adds a token."""
    layers = () if part is None else part.modules()
    return sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear))


def ready_to_pool(x: Tensor, mass: Tensor | None, vit: TimmViT) -> Tensor:
    """Let the model's own pool see each token by its mass: averages are of patches, padding counts nothing.

    So off the shelf (MAE) the average is sum(size * x) / patches, as published.
    """
    if mass is None or vit.global_pool == "token":
        return x
    if getattr(vit, "attn_pool", None) is not None:
        if bool((mass == 0).any()):
            raise BadInput(
                f"{name_of(vit)} pools by attention, which would see padding; use a method that does not pad"
            )
        return x
    first = 0 if getattr(vit, "pool_include_prefix", False) else vit.num_prefix_tokens  # of those that are pooled
    pooled = x[:, first:]
    weight = nn.functional.pad(mass, (vit.num_prefix_tokens - first, 0), value=1.0).unsqueeze(-1)
    weight = (weight / weight.mean(1, keepdim=True)).to(x.dtype)
    if vit.global_pool == "avg":
        pooled = pooled * weight
    else:  # a maximum too: padding becomes the mean of what is there
        pooled = torch.where(weight > 0, pooled, (pooled * weight).mean(1, keepdim=True))
    return torch.cat([x[:, :first], pooled], 1)
