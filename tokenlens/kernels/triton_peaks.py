"""Density peaks by two kernels, with a program for each token: its row of distances lies in registers.

Shapes: as in `peaks`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


def neighbourhoods(tokens: Tensor, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `peaks.neighbourhoods`, with the largest distance of each token: (B, N)."""
    images, count, channels = tokens.shape
    distance = tokens @ tokens.transpose(1, 2)  # overwritten, row by row
    square = distance.diagonal(dim1=1, dim2=2).contiguous()
    near, far = torch.empty_like(square), torch.empty_like(square)
    if square.numel():
        _neighbourhood[(images * count,)](
            distance, square, near, far, count, neighbours, channels**-0.5, **_launch(count)
        )
    return distance, near, far


def separation(distance: Tensor, density: Tensor, far: Tensor) -> Tensor:
    """As `peaks.separation`."""
    distance, density, far = distance.contiguous(), density.contiguous(), far.contiguous()
    images, count = density.shape
    out = torch.empty_like(density)
    if out.numel():
        _separate[(images * count,)](distance, density, far, out, count, **_launch(count))
    return out


def _launch(count: int) -> dict[str, Any]:
    return {"TOKENS": triton.next_power_of_2(count), "num_warps": 1 if count <= 256 else 4}


@triton.jit(do_not_specialize=["tokens", "neighbours"])  # type: ignore[untyped-decorator, unused-ignore]
def _neighbourhood(distance, square, near, far, tokens, neighbours, scale, TOKENS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    token = tl.arange(0, TOKENS)
    there = token < tokens
    distance += row * tokens + token
    both = tl.load(square + row) + tl.load(square + row // tokens * tokens + token, mask=there, other=0.0)
    apart = tl.sqrt(tl.maximum(both - 2 * tl.load(distance, mask=there, other=0.0), 0.0)) * scale
    tl.store(distance, apart, mask=there)
    tl.store(far + row, tl.max(tl.where(there, apart, 0.0), axis=0))
    left = tl.where(there, apart, float("inf"))
    total = 0.0
    for _ in range(0, neighbours):
        least = tl.min(left, axis=0)
        total += least * least
        place = tl.min(tl.where(left == least, token, TOKENS), axis=0)  # one of those that are as near
        left = tl.where(token == place, float("inf"), left)
    tl.store(near + row, total / neighbours)


@triton.jit(do_not_specialize=["tokens"])  # type: ignore[untyped-decorator, unused-ignore]
def _separate(distance, density, far, out, tokens, TOKENS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    image = row // tokens
    token = tl.arange(0, TOKENS)
    there = token < tokens
    denser = tl.load(density + image * tokens + token, mask=there, other=float("-inf")) > tl.load(density + row)
    apart = tl.load(distance + row * tokens + token, mask=there, other=float("inf"))
    none = tl.load(far + image)
    tl.store(out + row, tl.min(tl.where(denser, apart, none), axis=0))
