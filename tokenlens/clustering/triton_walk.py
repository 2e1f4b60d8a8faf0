"""Merges of more than 256 tokens on CUDA, in SciPy's order: one program walks alone through an image.

All merges under single linkage; else those that are left when all processors have merged what they can at once, and all
of an image in which that leaves a doubt (`triton_rounds`).

Shapes: B images, N tokens, BLOCK the next power of two of N.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import rounds
from .triton_kernels import EXACT, _chain, _prim


class State(NamedTuple):
    """A tree that kernels grow: what is merged, and what lives still."""

    into: Tensor
    height: Tensor
    found: Tensor
    """as in `Tree`"""
    mate: Tensor
    """(B, N) int32, -1 for a cluster that died; else itself, or what died into it in the last round"""
    size: Tensor
    """(B, N) float32, how many tokens it has"""
    slack: Tensor
    """(B,) as the distances; no further apart they may be equal (`rounds.slack`)"""
    doubt: Tensor
    """(B,) int32, 1 where the tree is not known"""


def begin(dist: Tensor, linkage: str) -> State:
    """Nothing is merged, and all is in doubt."""
    images, tokens, _ = dist.shape
    into = torch.arange(tokens, device=dist.device).repeat(images, 1)
    height, found = torch.full_like(dist[:, 0], torch.inf), torch.full_like(into, tokens)
    size, doubt = torch.ones_like(into, dtype=torch.float32), torch.ones_like(into[:, 0], dtype=torch.int32)
    return State(into, height, found, into.int(), size, rounds.slack(dist, linkage), doubt)


def walk(dist: Tensor, linkage: str, state: State, *, rest: bool = False) -> None:
    """Write the merges of dist (B, N, N) into the state's tree, where the state is in doubt; dist is overwritten.

    With rest, those of the clusters that are left, in every image. Where SciPy's choice between two neighbours hangs on
    how its means were rounded, in another order of merges than the state's, the state comes into doubt.
    """
    images, tokens, _ = dist.shape
    block = triton.next_power_of_2(tokens)
    path = torch.empty(images, tokens, dtype=torch.int32, device=dist.device)
    _walk[(images,)](
        dist, *state, path, tokens, BLOCK=block, SINGLE=linkage == "single", AVERAGE=linkage == "average", REST=rest,
        num_warps=warps(block), **EXACT,
    )  # fmt: skip


def warps(block: int) -> int:
    """Of a program that holds rows of so many distances in registers."""
    return max(1, min(16, block // 256))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _walk(dist, into, height, found, mate, size, slack, doubt, path, tokens,  # type: ignore[no-untyped-def]
          BLOCK: tl.constexpr, SINGLE: tl.constexpr, AVERAGE: tl.constexpr, REST: tl.constexpr):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    dist += image * tokens * tokens
    into, height = into + image * tokens, height + image * tokens
    found, path = found + image * tokens, path + image * tokens
    token = tl.arange(0, BLOCK)
    if REST:
        alive = tl.load(mate + image * tokens + token, mask=token < tokens, other=-1) >= 0
        members = tl.load(size + image * tokens + token, mask=alive, other=0.0).to(dist.dtype.element_ty)
        _chain(dist, alive, members, into, height, found, path, tl.load(slack + image), doubt + image, tokens, BLOCK,
               AVERAGE, AVERAGE)  # fmt: skip
    elif tl.load(doubt + image) != 0:
        alive = token < tokens
        if SINGLE:
            _prim(dist, into, height, found, tokens, BLOCK)
        else:
            members = tl.where(alive, 1.0, 0.0).to(dist.dtype.element_ty)
            _chain(dist, alive, members, into, height, found, path, 0.0, doubt, tokens, BLOCK, AVERAGE, False)
