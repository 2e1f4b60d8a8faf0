"""Agglomerative clustering on accelerators.

On CUDA nothing goes through the host. Up to 256 tokens each image is one program of a Triton kernel from features to
labels (`triton_kernels`), the same as what stands here in steps; for more, distances and cut are left to torch, and all
processors merge (`triton_rounds`), under single linkage one program an image. Where Triton is missing, for more tokens
than the kernels take, and on other devices (MPS) plain torch merges (`rounds`). The kernels are tested in Triton's
interpreter, the rounds on the CPU.

Shapes: B images, N tokens, D channels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..kernels import TRITON
from . import rounds
from .tree import cut

MOST_TOKENS = 8192  # of the Triton kernels, which hold a row of distances in registers
MOST_IN_ONE = 256  # with distances and cut in the same kernel


def cluster(x: Tensor, merges: Tensor, linkage: str, precomputed: bool) -> Tensor:
    """Labels (B, N) of x (B, N, D) float32 or float64, finite, on their device; merges (B,) int64, from 0 to N - 1."""
    if not x.is_cuda or x.shape[1] > MOST_TOKENS or not TRITON:
        return cut(rounds.tree(distances(x, linkage, precomputed), linkage), merges)
    from . import triton_kernels, triton_rounds

    few = x.shape[1] <= MOST_IN_ONE
    if not few or not (precomputed or x.dtype == torch.float32):
        x, precomputed = distances(x, linkage, precomputed), True
    if few:
        return triton_kernels.labels(x, merges, linkage, precomputed)
    return cut(triton_rounds.tree(x.contiguous(), merges, linkage), merges)


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
