"""Density peaks: how near the nearest tokens are, and how far away the nearest that is denser.

In plain torch distances are written and read a dozen times for it; the kernels read a row once each.

Shapes: B images, N tokens, C channels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import TRITON

MOST = 1024  # tokens: a row of distances in one program


def neighbourhoods(tokens: Tensor, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    """Distances between the tokens, divided by sqrt(C), and how near the nearest of each are.

    Args:
        tokens: (B, N, C) float32 or float64; gradients stop here.
        neighbours: how many, each token among its own.

    Returns:
        (B, N, N); (B, N) the mean square of the least distances of each; and (B,) the largest distance of all. On CUDA
        they come of one product and a kernel, where Triton is there, for up to 1,024 tokens; else `plain`, which is the
        same but for rounding.
    """
    tokens, neighbours = tokens.detach(), min(neighbours, tokens.shape[1])
    if _fits(tokens):
        distance, near, far = _neighbourhoods(tokens, neighbours)
        return distance, near, far.amax(1)
    return plain(tokens, neighbours)


def plain(tokens: Tensor, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    """`neighbourhoods` in plain torch."""
    distance = torch.cdist(tokens, tokens) / tokens.shape[-1] ** 0.5
    near = distance.topk(neighbours, largest=False).values
    return distance, near.square().mean(-1), distance.flatten(1).amax(1)


def separation(distance: Tensor, density: Tensor, far: Tensor) -> Tensor:
    """(B, N): the distance to the nearest denser token; `far` (B,) where none is denser."""
    return _separation(distance, density, far) if _fits(distance) else plain_separation(distance, density, far)


def plain_separation(distance: Tensor, density: Tensor, far: Tensor) -> Tensor:
    """`separation` in plain torch."""
    denser = density.unsqueeze(1) > density.unsqueeze(2)  # [b, i, j]: j is denser than i
    return torch.where(denser, distance, far[:, None, None]).amin(-1)


def _fits(x: Tensor) -> bool:
    return x.is_cuda and TRITON and x.dtype == torch.float32 and x.shape[1] <= MOST


@torch.library.custom_op("tokenlens::neighbourhoods", mutates_args=())
def _neighbourhoods(tokens: Tensor, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    from . import triton_peaks

    with torch.cuda.device_of(tokens):
        return triton_peaks.neighbourhoods(tokens, neighbours)


@_neighbourhoods.register_fake
def _(tokens: Tensor, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    row = tokens.new_empty(tokens.shape[:2])
    return tokens.new_empty(tokens.shape[0], tokens.shape[1], tokens.shape[1]), row, torch.empty_like(row)


@register_flop_formula(torch.ops.tokenlens.neighbourhoods)  # type: ignore[untyped-decorator]
def _(tokens: tuple[int, int, int], *_: Any, **__: Any) -> int:
    images, count, channels = tokens
    return 2 * images * count**2 * channels


@torch.library.custom_op("tokenlens::separation", mutates_args=())
def _separation(distance: Tensor, density: Tensor, far: Tensor) -> Tensor:
    from . import triton_peaks

    with torch.cuda.device_of(distance):
        return triton_peaks.separation(distance, density, far)


@_separation.register_fake
def _(distance: Tensor, density: Tensor, far: Tensor) -> Tensor:
    return torch.empty_like(density)
