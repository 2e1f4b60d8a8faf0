"""Euclidean distances between the tokens of many images: compiled on the CPU, one product in torch elsewhere.

Shapes: B images, N tokens, C channels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import host


@torch.library.custom_op("tokenlens::euclidean", mutates_args=())
def euclidean(tokens: Tensor) -> Tensor:
    """(B, N, C) -> (B, N, N) of their type, not differentiable; `torch.compile` calls it and does not look into it."""
    if tokens.device.type == "cpu" and tokens.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(host.distances(tokens.contiguous().numpy()))
    return from_product(tokens)


@euclidean.register_fake
def _(tokens: Tensor) -> Tensor:
    return tokens.new_empty(tokens.shape[0], tokens.shape[1], tokens.shape[1])


@register_flop_formula(torch.ops.tokenlens.euclidean)  # type: ignore[untyped-decorator]
def _(tokens: tuple[int, int, int], *_: Any, **__: Any) -> int:
    """Counted in full, as torch counts a product, though one half of it is the other's mirror image."""
    images, count, channels = tokens
    return 2 * images * count**2 * channels


def from_product(tokens: Tensor) -> Tensor:
    """The same in plain torch, on any device; as torch.cdist, which copies more."""
    with torch.autocast(tokens.device.type, enabled=False):  # distances of half precision are full of ties
        product = tokens @ tokens.transpose(1, 2)
        square = product.diagonal(dim1=1, dim2=2).clone()
        return product.mul_(-2).add_(square.unsqueeze(1)).add_(square.unsqueeze(2)).clamp_(min=0).sqrt_()
