"""Agglomerative clustering on accelerators: distances and cut in torch, the merges in one kernel or in rounds.

On CUDA each image is one program of a Triton kernel (`triton_kernels`); nothing goes through the host. Where Triton
is missing, for more tokens than the kernel takes, and on other devices (MPS) plain torch merges (`rounds`).
The kernel is tested in Triton's interpreter and has run on an H100, the rounds are tested on the CPU.

Shapes: B images, N tokens, D channels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..kernels import TRITON
from . import rounds
from .tree import cut

MOST_TOKENS = 4096  # of the Triton kernel, which holds a row of distances in registers


def cluster(x: Tensor, merges: Tensor, linkage: str, precomputed: bool) -> Tensor:
    """Labels (B, N) of x (B, N, D) float32 or float64, finite, on their device; merges (B,) int64, from 0 to N - 1."""
    dist = distances(x, linkage, precomputed)
    if x.is_cuda and x.shape[1] <= MOST_TOKENS and TRITON:
        from . import triton_kernels

        tree = triton_kernels.tree(dist, linkage)
    else:
        tree = rounds.tree(dist, linkage)
    return cut(tree, merges)


def distances(x: Tensor, linkage: str, precomputed: bool) -> Tensor:
    """(B, N, N), symmetric, infinite on the diagonal; float64 for means where the device has it, as in SciPy."""
    with torch.autocast(x.device.type, enabled=False):  # similarities of half precision are full of ties
        if not precomputed:
            x = functional.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)
            x = 1 - x @ x.transpose(1, 2)
        upper = torch.ones(x.shape[1:], dtype=torch.bool, device=x.device).triu(1)
        x = torch.where(upper, x, x.transpose(1, 2))  # a product's two halves need not be equal to the last bit
        x = x.double() if linkage == "average" and x.device.type != "mps" else x
        return x.masked_fill(torch.eye(x.shape[1], dtype=torch.bool, device=x.device), torch.inf)
