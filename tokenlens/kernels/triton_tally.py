"""The tally of a merge in one kernel: a program for some tokens of an image, old and new, looks through its groups.

Shapes: as in `tally`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 32  # tokens of a program


def tallied(
    group: Tensor, count: int, weight: Tensor | None, size: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `tally.tallied`; sizes of no meaning where there are none to sum."""
    group = group.contiguous()
    images, tokens = group.shape
    weight = size if weight is None else weight
    parts = [group if part is None else part.contiguous() for part in (weight, size)]  # one that nobody reads
    share = torch.empty(images, tokens, dtype=torch.float32, device=group.device)
    kept = torch.empty(images, count, dtype=torch.int64, device=group.device)
    summed = torch.empty(images, count, dtype=torch.float32, device=group.device)
    if share.numel() == 0:
        return share, kept, summed
    launch: dict[str, Any] = {"WEIGHED": weight is not None, "SIZED": size is not None, "ROWS": ROWS,
                              "TOKENS": triton.next_power_of_2(tokens), "num_warps": 4}  # fmt: skip
    grid = images, triton.cdiv(max(tokens, count), ROWS)
    _tally[grid](group, *parts, share, kept, summed, tokens, count, eps, **launch)
    return share, kept, summed


@triton.jit(do_not_specialize=["tokens", "count"])  # type: ignore[untyped-decorator, unused-ignore]
def _tally(group, weight, size, share, kept, summed, tokens, count, eps,  # type: ignore[no-untyped-def]
           WEIGHED: tl.constexpr, SIZED: tl.constexpr, ROWS: tl.constexpr, TOKENS: tl.constexpr):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    token = tl.arange(0, TOKENS)
    there = token < tokens
    group, share = group + image * tokens, share + image * tokens
    kept, summed = kept + image * count, summed + image * count
    into = tl.load(group + token, mask=there, other=-1)
    old = row < tokens
    if WEIGHED:
        heavy = tl.load(weight + image * tokens + token, mask=there, other=0.0)
        own = tl.load(weight + image * tokens + row, mask=old, other=0.0)
    else:
        heavy = there.to(tl.float32)
        own = old.to(tl.float32)
    beside = tl.load(group + row, mask=old, other=-2)[:, None] == into[None, :]
    total = tl.sum(tl.where(beside, heavy[None, :], 0.0), axis=1)
    tl.store(share + row, own / (total + eps), mask=old)
    mine = row.to(tl.int64)[:, None] == into[None, :]
    members = tl.sum(mine.to(tl.int32), axis=1)
    first = tl.min(tl.where(mine, token[None, :], TOKENS), axis=1)
    new = row < count
    tl.store(kept + row, tl.where(members == 1, first, -1).to(tl.int64), mask=new)
    if SIZED:
        each = tl.load(size + image * tokens + token, mask=there, other=0.0)
        tl.store(summed + row, tl.sum(tl.where(mine, each[None, :], 0.0), axis=1), mask=new)
