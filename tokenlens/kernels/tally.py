"""What becomes of the groups of a merge: who has how large a share, how large they are, and who is alone in one.

Fifteen launches in plain torch, all of them of a few numbers an image; the kernel is one.

Shapes: B images, N old tokens, K new ones.
"""

import torch
from torch import Tensor

from . import TRITON

MOST = 1024  # tokens, whose groups a program holds at once


def tallied(
    group: Tensor, count: int, weight: Tensor | None, size: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Shares, those that are still themselves, and sizes.

    Args:
        group: (B, N) int64 in [0, count), no group is empty.
        count: K.
        weight: (B, N) float, how much each counts in its group; None: as its size, or else alike.
        size: (B, N) float, what is summed; None: nothing.
        eps: added to each sum of weights.

    Returns:
        (B, N) the share of each old token in its new one; (B, K) int64, the old token that is alone in each, else -1;
        and (B, K) the sizes, None where there are none to sum. On CUDA it is one kernel, where Triton is there and no
        gradient is asked for; else `plain`, which is the same but for rounding.
    """
    numbers = [part for part in (weight, size) if part is not None]
    learning = torch.is_grad_enabled() and any(part.requires_grad for part in numbers)
    narrow = all(part.dtype == torch.float32 for part in numbers)
    if group.is_cuda and TRITON and not learning and narrow and max(group.shape[1], count) <= MOST:
        share, kept, summed = _on_cuda(group, count, weight, size, eps)
        return share, kept, None if size is None else summed
    return plain(group, count, weight, size, eps)


def plain(
    group: Tensor, count: int, weight: Tensor | None, size: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The same in plain torch."""
    batch, old = group.shape
    one = torch.ones(batch, old, device=group.device)
    weight = (one if size is None else size) if weight is None else weight
    total = weight.new_zeros(batch, count).scatter_add(1, group, weight)
    share = weight / (total + eps).gather(1, group)
    members = group.new_zeros(batch, count).scatter_add(1, group, torch.ones_like(group))
    place = torch.arange(old, device=group.device).expand(batch, old)
    kept = torch.zeros_like(members).scatter(1, group, place).masked_fill(members != 1, -1)
    new = None if size is None else torch.zeros_like(total, dtype=size.dtype).scatter_add(1, group, size)
    return share, kept, new


@torch.library.custom_op("tokenlens::tallied", mutates_args=())
def _on_cuda(
    group: Tensor, count: int, weight: Tensor | None, size: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    from . import triton_tally

    with torch.cuda.device_of(group):
        return triton_tally.tallied(group, count, weight, size, eps)


@_on_cuda.register_fake
def _(
    group: Tensor, count: int, weight: Tensor | None, size: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    share = group.new_empty(group.shape, dtype=torch.float32)
    kept = group.new_empty(group.shape[0], count)
    return share, kept, share.new_empty(kept.shape)
