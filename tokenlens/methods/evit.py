"""EViT: keep the most attended patches and fuse the rest into one token.

Liang et al., 2022, arXiv:2202.07800. Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
The fused token is a sum weighted by class attention, not a mean, and at later stages an ordinary token, as published.
Departs: nothing to do where as many tokens are asked for as there are (the published code fails there).
"""

import torch
from torch.nn import functional

from ..core.plan import Plan, select
from ..core.reducer import Look, Reducer
from ..core.view import View
from .registry import register


@register("evit")
class EViT(Reducer):
    """Keep the best by class attention; one more token is the attention-weighted sum of the others."""

    drops = False
    portable = True
    needs = ("class token",)
    paper = "arXiv:2202.07800"
    look = Look("EViT", "#1f6cb0", "s")

    def forward(self, view: View) -> Plan:
        score = view.from_class.mean(1)
        plan = select(view, score.topk(view.keep).indices)
        kept = functional.pad(plan.kept, (0, 1), value=-1)
        share = torch.where(plan.group < 0, score, 1.0)
        return Plan(kept, plan.group.masked_fill(plan.group < 0, view.keep), share)
