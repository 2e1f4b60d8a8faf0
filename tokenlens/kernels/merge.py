"""Merging: each new token is the weighted sum of the old ones of its group.

In plain torch that is a copy in float32, a product and sums, on a GPU in no fixed order; the kernel reads each token
once, sums in float32 in the order of the tokens, and writes the type of the tokens.

Shapes: B images, T prefix tokens, N old tokens, K new ones, C channels.
"""

import torch
from torch import Tensor

from . import TRITON


def merged(x: Tensor, share: Tensor, group: Tensor, count: int, prefix: int = 0) -> Tensor:
    """(B, T + N, C), shares (B, N) and groups (B, N) int64, -1: dropped -> (B, T + K, C) of the type of x.

    The prefix goes on as it is. On CUDA it is one kernel, where Triton is there, no gradient is asked for and x is not
    float64; else `plain`, which is the same but for rounding.
    """
    learning = torch.is_grad_enabled() and (x.requires_grad or share.requires_grad)
    if x.is_cuda and not learning and x.dtype != torch.float64 and TRITON:
        return _on_cuda(x, share.float(), group, count, prefix)
    return plain(x, share, group, count, prefix)


def plain(x: Tensor, share: Tensor, group: Tensor, count: int, prefix: int = 0) -> Tensor:
    """The same in plain torch; sums in float32, in float64 of float64."""
    if prefix:
        return torch.cat([x[:, :prefix], plain(x[:, prefix:], share, group, count)], 1)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    wide = wide * torch.where(group >= 0, share, 0.0).to(wide.dtype).unsqueeze(-1)
    # one flat index_add is the fastest of the ways to sum by group
    images = x.shape[0]  # `len` would fix the batch in ONNX
    flat = (group.clamp(min=0) + count * torch.arange(images, device=x.device).unsqueeze(1)).flatten()
    summed = wide.new_zeros(images * count, x.shape[-1]).index_add(0, flat, wide.flatten(0, 1))
    return summed.view(images, count, -1).to(x.dtype)


@torch.library.custom_op("tokenlens::merged", mutates_args=())
def _on_cuda(x: Tensor, share: Tensor, group: Tensor, count: int, prefix: int) -> Tensor:
    from . import triton_merge

    with torch.cuda.device_of(x):
        return triton_merge.merged(x, share, group, count, prefix)


@_on_cuda.register_fake
def _(x: Tensor, share: Tensor, group: Tensor, count: int, prefix: int) -> Tensor:
    return x.new_empty(x.shape[0], prefix + count, x.shape[2])
