"""Evo-ViT: the patches that the class attends to go on, the others wait and come back at the next stage.

Xu et al., 2022, arXiv:2108.01390. Held against YifanXu74/Evo-ViT@4c5d9b3 (see its licence file).
At the first stage the attention of the block before counts; later what was known before and each block since, in equal
parts, for the tokens that went on, and what was known before for those that waited. Nothing is lost: at the next stage,
and at the end, those who waited stand behind the others, unchanged.
Departs: before the first block, where no attention was paid yet, the first patches go on (the published code fails).
"""

import torch
from torch import Tensor

from ..core.attention import Attended
from ..core.plan import Plan, select
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register


@register("evovit")
class EvoViT(Reducer):
    """Let the best by global class attention go on, and the others wait."""

    site = "before_block"
    drops = False
    waits = True
    watches = True
    needs = ("class token",)
    paper = "arXiv:2108.01390"
    look = Look("Evo-ViT")

    def __init__(self, stage: Stage, tradeoff: float = 0.5) -> None:
        """`tradeoff` is how much a new block counts against what was known before."""
        super().__init__(stage)
        demand(0 <= tradeoff <= 1, "tradeoff", tradeoff, "a share from 0 to 1")
        self.tradeoff = tradeoff

    def forward(self, view: View) -> Plan:
        score = view.memory
        if score is None:
            score = view.received if view.attended is None else view.from_class.sum(1)
        order = score.argsort(dim=1, descending=True, stable=True)
        plan = select(view, order[:, : view.keep])
        plan.waiting = order[:, view.keep :]
        plan.group = plan.group.masked_fill(plan.group < 0, -2)
        plan.memory = score.gather(1, order)
        return plan

    def watch(self, attended: Attended, memory: Tensor | None) -> Tensor:
        seen = attended.rows(slice(0, 1))[:, :, 0, attended.prefix :].sum(1)
        if memory is None:
            return seen
        went = seen.shape[1]
        known = (1 - self.tradeoff) * memory[:, :went] + self.tradeoff * seen
        return torch.cat([known, memory[:, went:]], 1)
