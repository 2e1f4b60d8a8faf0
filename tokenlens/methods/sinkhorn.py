"""Sinkhorn: entropic optimal transport between the tokens and learned centres; its plan mixes the tokens.

Haurum et al., 2023, arXiv:2308.04657 (transport: Cuturi, 2013, arXiv:1306.0895). Held against
JoakimHaurum/TokenReduction@88fe07e (MIT). What is mixed are the normalised tokens, as published.
Departs: the centres are normalised when used and never overwritten; the result is the same.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.plan import Plan, mix
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register

SAFE_EPS = 0.05  # similarities are at most 1, and exp(1 / 0.05) is far from float32's limits


def transport(similarity: Tensor, eps: float, iterations: int) -> Tensor:
    """(B, K, N) cosine similarities -> (B, K, N): the transport plan between uniform marginals, times K + N."""
    rows, columns = similarity.shape[-2:]
    share = 1 / (rows + columns)
    if eps < SAFE_EPS:
        return _log_transport(similarity / eps, math.log(share), iterations)
    kernel = (similarity / eps).exp()
    u, v = torch.ones_like(kernel[..., :1]), torch.ones_like(kernel[..., :1, :])
    for _ in range(iterations):
        u = share / (kernel * v).sum(-1, keepdim=True)
        v = share / (kernel * u).sum(-2, keepdim=True)
    return kernel * u * v / share


def _log_transport(logits: Tensor, share: float, iterations: int) -> Tensor:
    """The same where the exponentials would overflow; two to four times slower."""
    u, v = torch.zeros_like(logits[..., :1]), torch.zeros_like(logits[..., :1, :])
    for _ in range(iterations):
        u = share - (logits + v).logsumexp(-1, keepdim=True)
        v = share - (logits + u).logsumexp(-2, keepdim=True)
    return (logits + u + v - share).exp()


@register("sinkhorn")
class Sinkhorn(Reducer):
    """Mix the L2-normalised tokens by their transport to L2-normalised centres."""

    site = "before_block"
    family = "soft"
    trained = True
    portable = True
    paper = "arXiv:2308.04657"
    look = Look("Sinkhorn", "#e0a3cf", "H")

    def __init__(self, stage: Stage, eps: float = 1.0, iterations: int = 3) -> None:
        super().__init__(stage)
        demand(0 < eps < math.inf, "eps", eps, "a number above 0")
        demand(iterations >= 1, "iterations", iterations, "1 or more")
        self.eps, self.iterations = eps, iterations
        self.v = nn.Parameter(torch.randn(stage.keep, stage.dim))  # the centres, under their published name

    def forward(self, view: View) -> Plan:
        tokens = functional.normalize(view.tokens, dim=-1)
        centres = functional.normalize(self.v, dim=-1)
        return mix(transport(centres @ tokens.transpose(1, 2), self.eps, self.iterations), tokens)
