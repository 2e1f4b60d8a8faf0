"""What a forward pass costs, from the tokens that each block sees.

In the field's GFLOPs, which are billions of multiply-adds.
"""

from __future__ import annotations

from collections.abc import Mapping

from .attention import TimmViT


def gflops(vit: TimmViT, left: Mapping[int, float], site: str = "after_attention") -> float:
    """Cost of one image.

    Args:
        vit: the timm ViT.
        left: block -> patch tokens after the stage there.
        site: where the stages stand in their blocks.

    Returns:
        10^9 multiply-adds: patch embedding, blocks and head; reducers are left out.
    """
    dim, prefix = vit.embed_dim, vit.num_prefix_tokens
    patches: float = vit.patch_embed.num_patches
    kernel = vit.patch_embed.patch_size
    total = patches * dim * vit.patch_embed.proj.in_channels * kernel[0] * kernel[1]
    for i, block in enumerate(vit.blocks):
        if site == "before_block":
            patches = left.get(i, patches)
        tokens, width = patches + prefix, block.attn.num_heads * block.attn.head_dim
        total += tokens * dim * 4 * width + 2 * tokens**2 * width
        patches = left.get(i, patches)
        total += (patches + prefix) * 2 * dim * block.mlp.fc1.out_features
    return (total + dim * vit.num_classes) / 1e9
