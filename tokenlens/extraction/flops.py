"""What a forward pass costs, from the tokens that each block sees.

In the field's GFLOPs, which are billions of multiply-adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from ..hosts.attention import TimmViT

if TYPE_CHECKING:
    from ..core.walk import ReducedViT


def gflops(vit: TimmViT, left: Mapping[int, Any], site: str = "after_attention") -> Any:
    """Cost of one image in the ViT itself.

    Args:
        vit: the timm ViT.
        left: block -> patch tokens after the stage there; a number, or an array with one for each image.
        site: where the stages stand in their blocks.

    Returns:
        10^9 multiply-adds: patch embedding, blocks and head; what reducers do themselves is left out.
    """
    dim, prefix = vit.embed_dim, vit.num_prefix_tokens
    patches: Any = vit.patch_embed.num_patches
    kernel = vit.patch_embed.patch_size
    total = patches * dim * vit.patch_embed.proj.in_channels * kernel[0] * kernel[1]
    for i, block in enumerate(vit.blocks):
        if site == "before_block":
            patches = left.get(i, patches)
        tokens, width = patches + prefix, block.attn.num_heads * block.attn.head_dim
        total = total + tokens * dim * 4 * width + 2 * tokens**2 * width
        patches = left.get(i, patches)
        total = total + (patches + prefix) * 2 * dim * block.mlp.fc1.out_features
    return (total + dim * vit.num_classes) / 1e9


def mean_gflops(model: ReducedViT, tokens_left: NDArray[Any]) -> float:
    """Mean cost of images in a reduced model, reducers included.

    Args:
        model: in eval mode.
        tokens_left: (images, stages), the patch tokens after each stage; padding is not counted.

    Returns:
        10^9 multiply-adds. Of what reducers do, the matrix products are counted, while they run on one image.
    """
    return float(np.mean(_walk(model, tokens_left))) + _reducers(model)


def _walk(model: ReducedViT, tokens_left: NDArray[Any]) -> Any:
    left = np.asarray(tokens_left, np.float64).T
    site = next(iter(model.reducers.values())).site
    return gflops(model.vit, dict(zip(model.blocks, left, strict=True)), str(site))


def _distances(a: tuple[int, ...], *_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
    """Torch's counter leaves `cdist` out, which is a matrix product at heart."""
    return int(2 * np.prod(out_shape) * a[-1])


@contextmanager
def _resting(model: ReducedViT) -> Iterator[None]:
    """Without gradients: torch's counter hooks on to what needs one, which fails where that is no graph's result."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@torch.no_grad()
def _reducers(model: ReducedViT) -> float:
    """What torch counts on one image, less what the ViT itself costs at the tokens that were left."""
    like, embed = next(model.vit.parameters()), model.vit.patch_embed
    size = [side * patch for side, patch in zip(embed.grid_size, embed.patch_size, strict=True)]
    image = torch.zeros(1, embed.proj.in_channels, *size, device=like.device, dtype=like.dtype)
    cdist = dict.fromkeys((torch.ops.aten._euclidean_dist, torch.ops.aten._cdist_forward), _distances)
    with _resting(model), FlopCounterMode(display=False, custom_mapping=cdist) as counter:
        trace = model.trace(image)[1]
    walked = float(_walk(model, trace.tokens_left.cpu().numpy())[0])
    # below 0 only where the attention ran in a kernel that torch's counter does not know
    return max(counter.get_total_flops() / 2e9 - walked, 0.0)
