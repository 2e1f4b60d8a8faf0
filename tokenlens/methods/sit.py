"""SiT: a small network gives every new token a softmax mixture of the old ones.

Zong et al., 2022, arXiv:2111.11739 (self-slimmed). Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
Departs: nothing.
"""

import torch
from torch import nn

from ..core.plan import Plan, mix
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from .registry import register


@register("sit")
class SiT(Reducer):
    """Mix by a two-layer network on each token, with a learned scale."""

    site = "before_block"
    family = "soft"
    trained = True
    portable = True
    paper = "arXiv:2111.11739"
    look = Look("SiT", "#85196f", "P")

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        dim = stage.dim
        self.weight = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, stage.keep)
        )
        self.scale = nn.Parameter(torch.ones(1, 1, 1))

    def forward(self, view: View) -> Plan:
        logits = self.weight(view.tokens).transpose(1, 2) * self.scale
        return mix(logits.softmax(-1), view.tokens)
