"""TPS: the tokens that leave are squeezed into the kept tokens that they are most like.

Wei et al., 2023, arXiv:2304.10716. Held against megvii-research/TPS-CVPR2023@4ff58ef (Apache-2.0).
dTPS scores as DynamicViT does, and eTPS as EViT. A token that leaves weighs exp(cosine) in the one it goes to, which
weighs e itself.
Departs: nothing.
"""

import math

import torch
from torch.nn import functional

from ..core.plan import Plan
from ..core.reducer import Look
from ..core.view import View
from .dynamicvit import DynamicViT
from .registry import register
from .topk import TopK


def squeeze(view: View, plan: Plan) -> Plan:
    """Let what a plan drops go into what it keeps."""
    tokens = functional.normalize(view.tokens, dim=-1)
    alike, nearest = (tokens @ plan.carry(tokens).transpose(1, 2)).max(-1)
    gone = plan.group < 0
    weight = torch.where(gone, alike, 1.0).exp()
    plan.group = torch.where(gone, nearest, plan.group)
    total = weight.new_zeros(plan.kept.shape).scatter_add(1, plan.group, weight)
    plan.share = weight / total.gather(1, plan.group)
    return plan


@register("dtps")
class DTPS(DynamicViT):
    """Keep the best by DynamicViT's predictor, squeeze the others into them."""

    family = "merging"
    keeps = True
    paper = "arXiv:2304.10716"
    look = Look("dTPS")

    def forward(self, view: View) -> Plan:
        plan = super().forward(view)
        if not self.training:
            return squeeze(view, plan)
        # nobody leaves, but those who will have gone are squeezed already; gradients reach the policy through them
        assert plan.mass is not None, "in training DynamicViT's plan says by mass who stays"
        stays, before = plan.mass, torch.ones_like(plan.mass) if view.mass is None else view.mass
        tokens = functional.normalize(view.tokens, dim=-1)
        alike = (tokens @ tokens.transpose(1, 2)).masked_fill(stays.unsqueeze(1) == 0, -math.inf)
        nearest = alike.argmax(-1)
        weight = alike.gather(2, nearest.unsqueeze(2)).squeeze(2).exp() * (1 - stays) * before
        whole = torch.diag_embed(torch.full_like(weight, math.e))
        whole = whole.scatter_add(1, nearest.unsqueeze(1), weight.unsqueeze(1))
        plan.weights = whole / whole.sum(-1, keepdim=True)
        return plan


@register("etps")
class ETPS(TopK):
    """Keep the best by class attention, squeeze the others into them."""

    family = "merging"
    keeps = True
    paper = "arXiv:2304.10716"
    look = Look("eTPS")

    def forward(self, view: View) -> Plan:
        return squeeze(view, super().forward(view))
