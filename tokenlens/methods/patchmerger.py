"""PatchMerger: learned queries attend to the normalised tokens; their mixtures go on.

Renggli et al., 2022, arXiv:2202.12015. Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
Departs: nothing. (The products are not scaled, as published.)
"""

import torch
from torch import nn

from ..core.plan import Plan, mix
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from .registry import register


@register("patchmerger")
class PatchMerger(Reducer):
    """Mix the layer-normalised tokens by softmax over their products with learned queries."""

    site = "before_block"
    family = "soft"
    trained = True
    portable = True
    paper = "arXiv:2202.12015"
    look = Look("PatchMerger", "#b0569f", "X")

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.norm = nn.LayerNorm(stage.dim)
        self.queries = nn.Parameter(torch.randn(stage.keep, stage.dim) * stage.dim**-0.5)

    def forward(self, view: View) -> Plan:
        tokens = self.norm(view.tokens)
        return mix((self.queries @ tokens.transpose(1, 2)).softmax(-1), tokens)
