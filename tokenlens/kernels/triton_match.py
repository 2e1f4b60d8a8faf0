"""Matching in one kernel: a program for each image holds the similarities of all pairs in registers.

Keys are read once, as they lie, and averaged over heads in float32. Products are made of three of half the digits
(3xTF32), which is float32 but for the last bit. There is no sort: a token's rank is how many are more alike than it.

Shapes: as in `match`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


def matched(keys: Tensor, prefix: int, removed: int) -> Tensor:
    """As `match.matched`, of keys (B, H, N, D)."""
    keys = keys if keys.stride(3) == 1 else keys.contiguous()
    images, heads, tokens, dims = keys.shape
    group = torch.empty(images, tokens, dtype=torch.int64, device=keys.device)
    if group.numel() == 0:
        return group
    first = prefix % 2
    even = (tokens - first + 1) // 2
    side = max(16, triton.next_power_of_2(max(even, tokens - even)))
    launch: dict[str, Any] = {"SORTED": prefix > 0, "SIDE": side, "PART": 32 if dims > 16 else 16,
                              "num_warps": 8 if side > 64 else 4}  # fmt: skip
    _match[(images,)](
        keys, group, keys.stride(0), keys.stride(1), keys.stride(2), heads, tokens, dims, first, even, removed, **launch
    )
    return group


# a compilation for every other number of tokens would take longer than it saves
@triton.jit(do_not_specialize=["heads", "tokens", "first", "even", "removed"])  # type: ignore[untyped-decorator, unused-ignore]
def _match(keys, group, image_stride, head_stride, token_stride, heads, tokens, dims, first, even, removed,  # type: ignore[no-untyped-def]
           SORTED: tl.constexpr, SIDE: tl.constexpr, PART: tl.constexpr):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    keys += image * image_stride
    group += image * tokens
    place = tl.arange(0, SIDE)
    a, b = first + 2 * place, 1 - first + 2 * place
    is_a, is_b = a < tokens, b < tokens
    alike = tl.zeros([SIDE, SIDE], tl.float32)
    left_length, right_length = tl.zeros([SIDE], tl.float32), tl.zeros([SIDE], tl.float32)
    for begin in range(0, dims, PART):
        dim = begin + tl.arange(0, PART)
        known = (dim < dims)[None, :]
        left, right = tl.zeros([SIDE, PART], tl.float32), tl.zeros([SIDE, PART], tl.float32)
        for head in range(0, heads):
            at = keys + head * head_stride + dim[None, :]
            left += tl.load(at + a[:, None] * token_stride, mask=is_a[:, None] & known, other=0.0).to(tl.float32)
            right += tl.load(at + b[:, None] * token_stride, mask=is_b[:, None] & known, other=0.0).to(tl.float32)
        left, right = left / heads, right / heads
        left_length += tl.sum(left * left, axis=1)
        right_length += tl.sum(right * right, axis=1)
        alike += tl.dot(left, tl.trans(right), input_precision="tf32x3")
    alike = alike / tl.maximum(tl.sqrt(left_length), 1e-12)[:, None] / tl.maximum(tl.sqrt(right_length), 1e-12)[None, :]
    alike = tl.where(is_b[None, :], alike, float("-inf"))
    best = tl.max(alike, axis=1)
    partner = tl.min(tl.where(alike == best[:, None], place[None, :], tokens - even - 1), axis=1)
    before = place[None, :] < place[:, None]
    ahead = (best[None, :] > best[:, None]) | ((best[None, :] == best[:, None]) & before)
    rank = tl.sum((ahead & is_a[None, :]).to(tl.int32), axis=1)
    stays = is_a & (rank >= removed)
    if SORTED:
        new = tl.sum((stays[None, :] & before).to(tl.int32), axis=1)
    else:
        new = rank - removed
    left_over = even - removed
    tl.store(group + a, tl.where(stays, new, left_over + partner).to(tl.int64), mask=is_a)
    tl.store(group + b, (left_over + place).to(tl.int64), mask=is_b)
