"""Merging in one kernel: a program for each new token looks for its members, and sums them.

It needs no sorted list of members: a row of groups lies in registers, and the next member is the least place behind the
last one. Groups have few members, and there are many programs.

Shapes: as in `merge`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


def merged(x: Tensor, share: Tensor, group: Tensor, count: int, prefix: int) -> Tensor:
    """As `merge.merged`; shares are float32."""
    x, share, group = x if x.stride(2) == 1 else x.contiguous(), share.contiguous(), group.contiguous()
    images, tokens, channels = x.shape[0], group.shape[1], x.shape[2]
    out = torch.empty(images, prefix + count, channels, dtype=x.dtype, device=x.device)
    if out.numel() == 0:
        return out
    wide = triton.next_power_of_2(channels)
    launch: dict[str, Any] = {"TOKENS": triton.next_power_of_2(max(tokens, 1)), "CHANNELS": wide,
                              "num_warps": max(1, min(4, wide // 128))}  # fmt: skip
    _merge[(images * (prefix + count),)](
        x, share, group, out, x.stride(0), x.stride(1), tokens, channels, count, prefix, **launch
    )
    return out


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _merge(x, share, group, out, image_stride, token_stride, tokens, channels, count, prefix,  # type: ignore[no-untyped-def]
           TOKENS: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    image = row // (prefix + count)
    new = row % (prefix + count) - prefix
    x += image * image_stride
    share, group = share + image * tokens, group + image * tokens
    channel = tl.arange(0, CHANNELS)
    there = channel < channels
    out += row * channels + channel
    if new < 0:
        tl.store(out, tl.load(x + (new + prefix) * token_stride + channel, mask=there), mask=there)
    else:
        token = tl.arange(0, TOKENS)
        mine = tl.load(group + token, mask=token < tokens, other=-1) == new
        members = tl.sum(mine.to(tl.int32), axis=0)
        total = tl.zeros([CHANNELS], tl.float32)
        last = -1
        for _ in range(0, members):
            last = tl.min(tl.where(mine & (token > last), token, TOKENS), axis=0)
            member = tl.load(x + (last + prefix) * token_stride + channel, mask=there, other=0.0).to(tl.float32)
            total += tl.load(share + last) * member
        tl.store(out, total.to(out.dtype.element_ty), mask=there)
