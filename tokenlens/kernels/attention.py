"""What reducers read of an attention without the whole of it: the first query's row, and what each token receives.

In plain torch keys of all heads are copied to float32 for it, and products of all pairs written and read again; the
kernels read keys as they lie. Products of half-precision numbers, summed in float32, are those of their wide copies.

Shapes: B images, H heads, T tokens with the prefix, D channels a head.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import TRITON

MOST = 512  # tokens, whose keys a program holds at once; and a quarter as many channels a head


def fits(queries: Tensor, keys: Tensor) -> bool:
    """Whether `first_row` and `received` take these: on CUDA, in half precision, few enough, without gradients."""
    learning = torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad)
    half = queries.dtype == keys.dtype and keys.dtype in (torch.float16, torch.bfloat16)
    return keys.is_cuda and TRITON and half and not learning and keys.shape[2] <= MOST and keys.shape[3] <= MOST // 4


def plain_first_row(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    """As `first_row`, in plain torch."""
    return _softmax(queries[:, :, :1], keys, mass, scale)[:, :, 0]


def plain_received(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    """As `received`, in plain torch."""
    return _softmax(queries, keys, mass, scale).sum(2)


def _softmax(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    scores = queries.float() * scale @ keys.float().transpose(-2, -1)
    if mass is not None:
        ahead = keys.shape[2] - mass.shape[1]
        scores = scores + torch.nn.functional.pad(mass.log(), (ahead, 0))[:, None, None]
    return scores.softmax(-1)


@torch.library.custom_op("tokenlens::first_row", mutates_args=())
def first_row(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    """(B, H, T) float32: the softmax row of the first query.

    Args:
        queries: (B, H, T, D).
        keys: (B, H, T, D).
        mass: (B, N) float32, how much the last N keys weigh; None: all 1.
        scale: that the products are multiplied by.
    """
    from . import triton_attention

    with torch.cuda.device_of(keys):
        return triton_attention.first_row(queries, keys, mass, scale)


@torch.library.custom_op("tokenlens::received", mutates_args=())
def received(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    """(B, H, T) float32: the attention that each token gets, summed over all queries; as `first_row`."""
    from . import triton_attention

    with torch.cuda.device_of(keys):
        return triton_attention.received(queries, keys, mass, scale)


@first_row.register_fake
@received.register_fake
def _(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    return keys.new_empty(keys.shape[:3], dtype=torch.float32)


@register_flop_formula(torch.ops.tokenlens.first_row)  # type: ignore[untyped-decorator]
def _(_queries: tuple[int, ...], keys: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 2 * math.prod(keys)


@register_flop_formula(torch.ops.tokenlens.received)  # type: ignore[untyped-decorator]
def _(queries: tuple[int, ...], keys: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 2 * math.prod(keys) * queries[2]
