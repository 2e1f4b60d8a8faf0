"""Agglomerative clustering on CUDA: one program per image, in SciPy's order of merges.

Prim for single linkage, the nearest-neighbour chain for complete and average, as in `linkage`. A program walks alone
through its image; the images of a batch run side by side. Up to 256 tokens it does all, from features to labels, and
nothing else is launched (`labels`); of more tokens it merges only (`triton_walk`).

Memory: the distances lie in global memory, N² entries an image (154 kB for 196 tokens in float32, twice that for means,
which are float64), and are overwritten. A batch of 256 such images is 39 MB, within the second-level cache of a Hopper.
They would fit its shared memory as well, but Triton cannot address shared memory by computed indices; so each step
costs a row from the cache. In registers are one row, the flags of the living and the sizes; the chain's path, whose
length only the data know, is in global memory, and a barrier stands between what is written there and read again.

Shapes: B images, N tokens, D channels, BLOCK the next power of two of N.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 32
"""rows and columns of distances that are computed at once: in registers, without spilling"""
CHUNK = 16
"""channels that are multiplied at once"""
EXACT: dict[str, Any] = {"enable_fp_fusion": False}  # no fused multiply-add in means, which SciPy does not use either


def labels(x: Tensor, merges: Tensor, linkage: str, precomputed: bool) -> Tensor:
    """(B, N) int64 of x (B, N, D) float32, or (B, N, N) distances; merges (B,). Launches one kernel."""
    x = x if x.stride(2) == 1 else x.contiguous()
    images, tokens, channels = x.shape
    out = torch.empty(images, tokens, dtype=torch.int64, device=x.device)
    if tokens < 2 or images == 0:
        return out.zero_()
    kind = torch.float64 if linkage == "average" else x.dtype
    dist = torch.empty(images, tokens, tokens, dtype=kind, device=x.device)
    height = torch.empty(images, tokens, dtype=kind, device=x.device)
    scale = torch.empty(images, tokens, dtype=torch.float32, device=x.device)
    scratch = torch.empty(images, 4, tokens, dtype=torch.int32, device=x.device)
    block = max(16, triton.next_power_of_2(tokens))
    _labels[(images,)](
        x, merges, out, dist, height, scratch, scale, x.stride(0), x.stride(1), tokens, channels,
        BLOCK=block, TILE=min(TILE, block), CHUNK=CHUNK, JUMPS=block.bit_length() - 1, GIVEN=precomputed,
        SINGLE=linkage == "single", AVERAGE=linkage == "average", num_warps=4, **EXACT,
    )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _labels(x, merges, out, dist, height, scratch, scale, image_stride, token_stride, tokens, channels,  # type: ignore[no-untyped-def]
            BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr, JUMPS: tl.constexpr, GIVEN: tl.constexpr,
            SINGLE: tl.constexpr, AVERAGE: tl.constexpr):  # fmt: skip
    """One image. scratch (4, N): the tree's two columns of integers, the chain, and what the cut looks up."""
    image = tl.program_id(0).to(tl.int64)
    x += image * image_stride
    dist += image * tokens * tokens
    height, scale, out = height + image * tokens, scale + image * tokens, out + image * tokens
    into = scratch + image * 4 * tokens
    found, path, root = into + tokens, into + 2 * tokens, into + 3 * tokens
    token = tl.arange(0, BLOCK)
    real = token < tokens
    tl.store(into + token, token, mask=real)
    tl.store(found + token, tokens, mask=real)
    tl.store(height + token, float("inf"), mask=real)
    if not GIVEN:
        _scales(x, scale, token_stride, tokens, channels, BLOCK, CHUNK)
    tl.debug_barrier()
    _distances(x, scale, dist, token_stride, tokens, channels, TILE, CHUNK, GIVEN)
    tl.debug_barrier()
    if SINGLE:
        _prim(dist, into, height, found, tokens, BLOCK)
    else:
        members = tl.where(real, 1.0, 0.0).to(dist.dtype.element_ty)
        _chain(dist, real, members, into, height, found, path, 0.0, found, tokens, BLOCK, AVERAGE, False)
    tl.debug_barrier()
    _cut(into, height, found, root, out, tl.load(merges + image), tokens, BLOCK, JUMPS)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _scales(x, scale, token_stride, tokens, channels, BLOCK: tl.constexpr, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """What makes tokens unit vectors; those of length 0 stay as they are."""
    token, square = tl.arange(0, BLOCK), tl.zeros([BLOCK], tl.float32)
    for first in range(0, channels, CHUNK):
        channel = first + tl.arange(0, CHUNK)
        there = (token < tokens)[:, None] & (channel < channels)[None, :]
        part = tl.load(x + token[:, None] * token_stride + channel[None, :], mask=there, other=0.0)
        square += tl.sum(part * part, axis=1)
    tl.store(scale + token, 1 / tl.maximum(tl.sqrt(square), 1.1754943508222875e-38), mask=token < tokens)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _distances(x, scale, dist, token_stride, tokens, channels,  # type: ignore[no-untyped-def]
               TILE: tl.constexpr, CHUNK: tl.constexpr, GIVEN: tl.constexpr):  # fmt: skip
    """Those above the diagonal, written to both halves: a product's need not be equal to the last bit."""
    for top in range(0, tokens, TILE):
        row = top + tl.arange(0, TILE)
        for left in range(top, tokens, TILE):
            column = left + tl.arange(0, TILE)
            above = (row[:, None] < column[None, :]) & (column < tokens)[None, :]
            if GIVEN:
                away = tl.load(x + row[:, None] * token_stride + column[None, :], mask=above, other=0.0)
            else:
                of_row = tl.load(scale + row, mask=row < tokens, other=0.0)
                of_column = tl.load(scale + column, mask=column < tokens, other=0.0)
                product = tl.zeros([TILE, TILE], tl.float32)
                for first in range(0, channels, CHUNK):
                    channel = first + tl.arange(0, CHUNK)
                    a = tl.load(x + row[:, None] * token_stride + channel[None, :],
                                mask=(row < tokens)[:, None] & (channel < channels)[None, :], other=0.0)  # fmt: skip
                    b = tl.load(x + column[None, :] * token_stride + channel[:, None],
                                mask=(column < tokens)[None, :] & (channel < channels)[:, None], other=0.0)  # fmt: skip
                    product = tl.dot(a * of_row[:, None], b * of_column[None, :], product, input_precision="ieee")
                away = 1 - product
            away = tl.where(above, away.to(dist.dtype.element_ty), float("inf"))
            here = (row[:, None] <= column[None, :]) & (column < tokens)[None, :]
            tl.store(dist + row[:, None] * tokens + column[None, :], away, mask=here)
            tl.store(dist + column[None, :] * tokens + row[:, None], away, mask=here)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _prim(dist, into, height, found, tokens, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    token = tl.arange(0, BLOCK)
    far = float("inf")
    outside = token < tokens
    reach = tl.load(dist + token, mask=outside, other=far)
    x = 0
    for step in range(0, tokens - 1):
        outside = outside & (token != x)
        reach = tl.where(outside, tl.minimum(reach, tl.load(dist + x * tokens + token, mask=outside, other=far)), far)
        least, y = tl.min(reach, axis=0, return_indices=True)  # of equal ones the first
        tl.store(into + x, y)
        tl.store(height + x, least)
        tl.store(found + x, step)
        x = y


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _chain(dist, alive, size, into, height, found, path, slack, doubt, tokens,  # type: ignore[no-untyped-def]
           BLOCK: tl.constexpr, AVERAGE: tl.constexpr, CHECK: tl.constexpr):  # fmt: skip
    """Of the clusters alive. The chain ends with x, at the distance `back` from the one before it; infinite if none.

    With CHECK it ends in doubt if means, which may have been rounded in another order, are no more than slack apart.
    """
    token = tl.arange(0, BLOCK)
    far = float("inf")
    step = tokens - tl.sum(alive.to(tl.int32), axis=0)
    x = tl.min(tl.where(alive, token, BLOCK), axis=0)
    before = x
    back = tl.load(dist + x * tokens + x)  # to itself
    length = 1
    tl.store(path, x)
    while step < tokens - 1:
        row = tl.load(dist + x * tokens + token, mask=alive, other=far)
        least, y = tl.min(row, axis=0, return_indices=True)  # of equal ones the first
        if CHECK:
            close = row <= least + slack
            largest = tl.max(tl.where(close | (token == x), size, 0.0), axis=0)
            if (tl.sum(close.to(tl.int32), axis=0) > 1) & (largest > 1):
                tl.store(doubt, 1)
                step = tokens
        if least == back:  # the one that it came from wins a tie
            both = tl.load(dist + before * tokens + token, mask=alive, other=far)
            low = tl.minimum(x, before)
            high = tl.maximum(x, before)
            if AVERAGE:
                its = tl.sum(tl.where(token == x, size, 0.0), axis=0)
                other = tl.sum(tl.where(token == before, size, 0.0), axis=0)
                total = its + other
                both = its * row + other * both
                if (total == 2) | (total == 4) | (total == 8):  # exact, and no division
                    both = both * (1 / total)
                else:
                    both = both / total
                size = tl.where(token == high, total, size)
            else:
                both = tl.maximum(row, both)
            alive = alive & (token != low)
            both = tl.where(token == high, far, both)
            tl.store(dist + high * tokens + token, both, mask=alive)
            tl.store(dist + token * tokens + high, both, mask=alive)
            tl.store(into + low, high)
            tl.store(height + low, least)
            tl.store(found + low, step)
            tl.debug_barrier()
            step += 1
            length -= 2
            if length == 0:
                x = tl.min(tl.where(alive, token, BLOCK), axis=0)
                tl.store(path, x)
                length = 1
            else:
                x = tl.load(path + length - 1)
            before = tl.load(path + length - 2, mask=length > 1, other=0)
            back = tl.load(dist + before * tokens + x, mask=length > 1, other=far)
        else:
            tl.store(path + length, y)
            length += 1
            before = x
            x = y
            back = least


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _cut(into, height, found, root, out, merges, tokens, BLOCK: tl.constexpr, JUMPS: tl.constexpr):  # type: ignore[no-untyped-def]
    """As `tree.cut`: places and numbers by counting, a few tokens at a time beside all."""
    token = tl.arange(0, BLOCK)
    real = token < tokens
    far = float("inf")
    high = tl.load(height + token, mask=real, other=far)
    late = tl.load(found + token, mask=real, other=tokens)
    place = tl.zeros([BLOCK], tl.int32)
    for first in range(0, tokens, 16):
        some = first + tl.arange(0, 16)
        high_too = tl.load(height + some, mask=some < tokens, other=far)[None, :]
        late_too = tl.load(found + some, mask=some < tokens, other=tokens)[None, :]
        less = (high_too < high[:, None]) | ((high_too == high[:, None]) & (late_too < late[:, None]))
        place += tl.sum(less.to(tl.int32), axis=1)
    up = tl.where(place < merges, tl.load(into + token, mask=real, other=0), token)
    for _ in tl.static_range(JUMPS):  # each look goes twice as far
        tl.store(root + token, up, mask=real)
        tl.debug_barrier()
        up = tl.load(root + up, mask=real, other=0)
        tl.debug_barrier()
    tl.store(root + token, up, mask=real)
    tl.debug_barrier()
    least = tl.full([BLOCK], BLOCK, tl.int32)  # the first member
    for first in range(0, tokens, 16):
        some = first + tl.arange(0, 16)
        same = tl.load(root + some, mask=some < tokens, other=-1)[None, :] == up[:, None]
        least = tl.minimum(least, tl.min(tl.where(same, some[None, :], BLOCK), axis=1))
    tl.debug_barrier()
    tl.store(root + token, least, mask=real)
    tl.debug_barrier()
    number = tl.zeros([BLOCK], tl.int32)
    for first in range(0, tokens, 16):
        some = first + tl.arange(0, 16)
        begins = tl.load(root + some, mask=some < tokens, other=-1) == some
        number += tl.sum((begins[None, :] & (some[None, :] < least[:, None])).to(tl.int32), axis=1)
    tl.store(out + token, number.to(tl.int64), mask=real)
