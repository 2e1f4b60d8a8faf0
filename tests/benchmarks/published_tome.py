"""ToMe as it is published, for a comparison of speed: its rule in plain torch, around timm's blocks.

Bolya et al., 2023, arXiv:2210.09461; written from the rule, as the plain versions in `methods`. Attention is fused,
with the logarithm of the sizes as a mask; decisions are made in the host's precision, and nothing is recorded.

Shapes: B images, T tokens, the class token first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Merge = Callable[[Tensor], Tensor]


def matching(keys: Tensor, removed: int) -> Merge:
    """What sums values (B, T, C) over the `removed` most alike pairs of every other token and its partner."""
    keys = functional.normalize(keys, dim=-1)
    scores = keys[:, ::2] @ keys[:, 1::2].transpose(1, 2)
    scores[:, 0] = -torch.inf  # the class token goes nowhere
    best, partner = scores.max(-1)
    order = best.argsort(dim=-1, descending=True)
    source, stays = order[:, :removed, None], order[:, removed:].sort(1).values[..., None]
    into = partner[..., None].gather(1, source)

    def merge(x: Tensor) -> Tensor:
        even, odd, channels = x[:, ::2], x[:, 1::2], x.shape[2]
        gone = even.gather(1, source.expand(-1, -1, channels))
        kept = even.gather(1, stays.expand(-1, -1, channels))
        joined = odd.scatter_reduce(1, into.expand(-1, -1, channels), gone, "sum")
        return torch.cat([kept, joined], 1)

    return merge


class PublishedToMe(nn.Module):
    """A timm ViT that merges between attention and MLP of some blocks."""

    def __init__(self, vit: Any, keep: Mapping[int, int]) -> None:
        """`keep`: block -> patch tokens that remain after it, at least half of those before."""
        super().__init__()
        self.vit, self.keep = vit, dict(keep)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes)."""
        vit = self.vit
        x, size = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images)))), None
        for i, block in enumerate(vit.blocks):
            mixed, keys = self._attended(block.attn, block.norm1(x), size)
            x = x + mixed
            removed = min(x.shape[1] - 1 - self.keep.get(i, x.shape[1] - 1), (x.shape[1] - 1) // 2)
            if removed > 0:
                merge = matching(keys, removed)
                size = torch.ones_like(x[..., :1]) if size is None else size
                x, size = merge(x * size), merge(size)
                x = x / size
            x = x + block.mlp(block.norm2(x))
        logits: Tensor = vit.forward_head(vit.norm(x))
        return logits

    def _attended(self, attention: Any, y: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        queries, keys, values = attention.qkv(y).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if size is None else size.log()[:, None, None, :, 0]
        mixed = functional.scaled_dot_product_attention(queries, keys, values, mask)
        return attention.proj(mixed.transpose(1, 2).flatten(2)), keys.mean(1)
