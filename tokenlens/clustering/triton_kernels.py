"""Agglomerative clustering on CUDA: one program per image, in SciPy's order of merges.

Prim for single linkage, the nearest-neighbour chain for complete and average, as in `linkage`. A program walks alone
through its image; the images of a batch run side by side.

Memory: the distances lie in global memory, N² entries an image (154 kB for 196 tokens in float32, twice that for means,
which are float64), and are overwritten. A batch of 256 such images is 39 MB, within the second-level cache of a Hopper.
They would fit its shared memory as well, but Triton cannot address shared memory by computed indices; so each step
costs a row from the cache. In registers are one row, the flags of the living and the sizes; the chain's path, whose
length only the data know, is in global memory, and a barrier stands between what is written there and read again.

Shapes: B images, N tokens, BLOCK the next power of two.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tree import Tree


def tree(dist: Tensor, linkage: str) -> Tree:
    """The merges of dist (B, N, N) contiguous, symmetric and infinite on the diagonal; it is overwritten."""
    images, tokens, _ = dist.shape
    dist = dist.contiguous()
    into = torch.arange(tokens, device=dist.device).repeat(images, 1)
    height, found = torch.full_like(dist[:, 0], torch.inf), torch.full_like(into, tokens)
    block = triton.next_power_of_2(tokens)
    # the fewer warps, the less they wait for each other; no fused multiply-add, which SciPy does not use either
    launch: dict[str, Any] = {"BLOCK": block, "num_warps": max(1, min(8, block // 256)), "enable_fp_fusion": False}
    if tokens < 2 or images == 0:
        return Tree(into, height, found)
    if linkage == "single":
        _prim[(images,)](dist, into, height, found, tokens, **launch)
    else:
        path = torch.empty_like(into)
        _chain[(images,)](dist, into, height, found, path, tokens, AVERAGE=linkage == "average", **launch)
    return Tree(into, height, found)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _prim(dist, into, height, found, tokens, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    image = tl.program_id(0).to(tl.int64)
    dist += image * tokens * tokens
    into, height, found = into + image * tokens, height + image * tokens, found + image * tokens
    token = tl.arange(0, BLOCK)
    far = float("inf")
    outside = token < tokens
    reach = tl.load(dist + token, mask=outside, other=far)
    x = 0
    for step in range(0, tokens - 1):
        outside = outside & (token != x)
        reach = tl.where(outside, tl.minimum(reach, tl.load(dist + x * tokens + token, mask=outside, other=far)), far)
        least = tl.min(reach, axis=0)
        y = tl.min(tl.where(reach == least, token, BLOCK), axis=0)
        tl.store(into + x, y.to(tl.int64))
        tl.store(height + x, least)
        tl.store(found + x, step)
        x = y


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _chain(dist, into, height, found, path, tokens, BLOCK: tl.constexpr, AVERAGE: tl.constexpr):  # type: ignore[no-untyped-def]
    image = tl.program_id(0).to(tl.int64)
    dist += image * tokens * tokens
    into, height, found = into + image * tokens, height + image * tokens, found + image * tokens
    path += image * tokens
    token = tl.arange(0, BLOCK)
    far = float("inf")
    alive = token < tokens
    size = tl.where(alive, 1.0, 0.0).to(dist.dtype.element_ty)
    length = 0
    step = 0
    while step < tokens - 1:
        if length == 0:
            tl.store(path, tl.min(tl.where(alive, token, BLOCK), axis=0).to(tl.int64))
            tl.debug_barrier()
            length = 1
        x = tl.load(path + length - 1).to(tl.int32)
        before = tl.load(path + length - 2, mask=length > 1, other=-1).to(tl.int32)
        row = tl.load(dist + x * tokens + token, mask=alive, other=far)
        least = tl.min(row, axis=0)
        if tl.min(tl.where(token == before, row, far), axis=0) == least:
            low = tl.minimum(x, before)
            high = tl.maximum(x, before)
            there = tl.load(dist + low * tokens + token, mask=alive, other=far)
            here = tl.load(dist + high * tokens + token, mask=alive, other=far)
            if AVERAGE:
                few = tl.sum(tl.where(token == low, size, 0.0), axis=0)
                more = tl.sum(tl.where(token == high, size, 0.0), axis=0)
                both = (few * there + more * here) / (few + more)
            else:
                both = tl.maximum(there, here)
            alive = alive & (token != low)
            both = tl.where(token == high, far, both)
            tl.debug_barrier()
            tl.store(dist + high * tokens + token, both, mask=alive)
            tl.store(dist + token * tokens + high, both, mask=alive)
            size = tl.where(token == high, size + tl.sum(tl.where(token == low, size, 0.0), axis=0), size)
            tl.store(into + low, high.to(tl.int64))
            tl.store(height + low, least)
            tl.store(found + low, step)
            step += 1
            length -= 2
        else:
            tl.store(path + length, tl.min(tl.where(row == least, token, BLOCK), axis=0).to(tl.int64))
            length += 1
        tl.debug_barrier()
