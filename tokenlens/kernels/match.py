"""Bipartite matching: every other token finds its most similar partner, and the most similar pairs become one.

In plain torch that is some twenty launches, two of them sorts, which on a GPU take longer than the matching; the kernel
is one, with a program for each image.

Shapes: B images, H heads, N tokens, D channels a head.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

from . import TRITON

MOST = 256  # tokens, of which one program holds the similarities of all pairs


def matched(keys: Tensor, prefix: int, removed: int) -> Tensor:
    """The new token that each old one goes into.

    Args:
        keys: (B, N, D) or (B, H, N, D), whose mean over heads, in float32, is compared by its cosine.
        prefix: tokens before the N, which count in the alternation and are never merged.
        removed: how many go, at most as many as there are at the even places.

    Returns:
        (B, N) int64: first those at even places that stay, in their order where there is a prefix and else the least
        alike last, then those at odd places. On CUDA it is one kernel, where Triton is there, for up to 256 tokens;
        else `plain`, which is the same but for near-ties.
    """
    heads = keys if keys.dim() == 4 else keys.unsqueeze(1)
    if heads.is_cuda and TRITON and heads.shape[2] <= MOST and heads.dtype != torch.float64:
        return _on_cuda(heads.detach(), prefix, removed)
    return plain(keys, prefix, removed)


def plain(keys: Tensor, prefix: int, removed: int) -> Tensor:
    """The same in plain torch."""
    if keys.dim() == 4:
        keys = keys.mean(1, dtype=torch.promote_types(keys.dtype, torch.float32))
    keys = functional.normalize(keys, dim=-1)
    batch, count, _ = keys.shape
    first = prefix % 2
    even, odd = slice(first, None, 2), slice(1 - first, None, 2)
    best, partner = (keys[:, even] @ keys[:, odd].transpose(1, 2)).max(-1)
    stays = best.argsort(descending=True)[:, removed:]
    stays = stays.sort().values if prefix else stays
    group = torch.empty(batch, count, dtype=torch.int64, device=keys.device)
    group[:, odd] = torch.arange(stays.shape[1], stays.shape[1] + count - best.shape[1], device=keys.device)
    own = torch.arange(stays.shape[1], device=keys.device).expand(batch, -1)
    group[:, even] = (stays.shape[1] + partner).scatter(1, stays, own)
    return group


@torch.library.custom_op("tokenlens::matched", mutates_args=())
def _on_cuda(keys: Tensor, prefix: int, removed: int) -> Tensor:
    from . import triton_match

    with torch.cuda.device_of(keys):
        return triton_match.matched(keys, prefix, removed)


@_on_cuda.register_fake
def _(keys: Tensor, prefix: int, removed: int) -> Tensor:
    return keys.new_empty(keys.shape[0], keys.shape[2], dtype=torch.int64)


@register_flop_formula(torch.ops.tokenlens.matched)  # type: ignore[untyped-decorator]
def _(keys: tuple[int, int, int, int], *_: Any, **__: Any) -> int:
    images, _heads, tokens, dims = keys
    return 2 * images * (tokens // 2) * (tokens - tokens // 2) * dims
