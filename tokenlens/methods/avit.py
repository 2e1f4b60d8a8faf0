"""A-ViT: a token's first channel says how much nearer it is to its end; it stops once that adds up to one.

Yin et al., 2022, arXiv:2112.07658. Written from the paper, and held against no code.
After each stage's block a token adds the sigmoid of its scaled and shifted first channel to what it has, and goes on
while the sum is below 1 - eps. How many remain differs from image to image. In training no token leaves: going on is a
step with the gradient of a sigmoid.
Departs: scale and shift are learned, a pair for each stage, and not given, so that a model that rests can stop tokens
too. The class is read off the last block's class token, not off the mean of all blocks' by their scores; and the loss
holds each stage to the tokens asked for, in the place of ponder cost and prior.
"""

import torch
from torch import nn

from ..core.plan import Plan, gather, positions, select
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .ltmp import HEAT, straight
from .registry import register


@register("avit")
class AViT(Reducer):
    """Halting: drop the tokens whose scores have added up to one."""

    site = "after_block"
    trained = True
    adaptive = True
    policy = True
    paper = "arXiv:2112.07658"
    look = Look("A-ViT")

    def __init__(self, stage: Stage, eps: float = 0.01) -> None:
        super().__init__(stage)
        demand(0 <= eps < 1, "eps", eps, "a share from 0 to below 1")
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, view: View) -> Plan:
        batch, count = view.patch.shape
        before = torch.zeros_like(view.tokens[..., 0]) if view.memory is None else view.memory
        total = before + torch.sigmoid(self.scale * view.tokens[..., 0] + self.shift)
        here = torch.ones_like(total) if view.mass is None else view.mass
        some = total == total.masked_fill(here < 0.5, torch.inf).amin(1, keepdim=True)  # somebody has to stay
        stays = (here > 0.5) & ((total < 1 - self.eps) | some)
        everyone = positions(batch, count, total.device)
        if self.training:
            mass = straight(stays, ((1 - self.eps - total) / HEAT).sigmoid()) * here
            kept = everyone.masked_fill(~stays, -1)
            return Plan(kept, kept, mass=mass, source=everyone, memory=total)
        order = torch.where(stays, everyone, count).sort(dim=1).values
        left = int(stays.sum(1).max()) if stays.is_cpu else count  # asked where asking costs nothing
        plan = select(view, torch.where(order < count, order, -1)[:, :left], padded=True)
        plan.memory = gather(total, plan.origin)
        return plan
