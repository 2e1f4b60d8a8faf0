"""DiffRate with learned counts: how many tokens are pruned and how many merge is learned for each stage.

Chen et al., 2023, arXiv:2305.17997. Written from the paper; its walk is that of `diffrate`, its training held against
no code.
Each count is the mean of all counts under a softmax, rounded up. In training no token leaves: whether a token does is a
step at the count, with the gradient of the probability that more stay than are ranked before it. The loss holds the
operations of the whole walk to those of the rate asked for, so that stages may share them out as they like.
Departs: before it is trained it leaves about as many as were asked for.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.plan import Plan, positions
from ..core.reducer import Look, Stage
from ..core.view import View
from .diffrate import DiffRate
from .ltmp import straight
from .registry import register


@register("diffrate-learned")
class LearnedDiffRate(DiffRate):
    """Two learned counts: of the tokens that are not pruned, and of those that do not merge either."""

    trained = True
    adaptive = True
    policy = True
    budget = "operations"
    look = Look("DiffRate (learned)")

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        patches, rate = stage.patches, stage.keep / stage.patches
        before = rate ** (stage.index / (stage.index + 1))  # under one rate
        far = torch.arange(1.0, patches + 1).expand(2, -1) - patches * torch.tensor([[(before + rate) / 2], [rate]])
        self.logits = nn.Parameter(-(far / (patches / 16)).square())
        self.register_load_state_dict_post_hook(_settle)
        self.settle()

    def settle(self) -> None:
        """Read the counts off, which a walk must not do: it asks a GPU nothing."""
        self.unpruned, self.unmerged = self.counts().tolist()

    def counts(self) -> Tensor:
        """(2,) int64: how many are not pruned, and how many do not merge either."""
        chance = self.logits.detach().double().softmax(-1)
        mean = chance @ torch.arange(1, chance.shape[1] + 1, dtype=chance.dtype, device=chance.device)
        return (mean - 1e-6).ceil().long().cummin(0).values

    def train(self, mode: bool = True) -> Self:
        self.settle()
        return super().train(mode)

    def forward(self, view: View) -> Plan:
        if self.training:
            return self.softly(view)
        there, scale = view.patch.shape[1], math.prod(view.grid) / self.stage.patches
        unpruned, keep = (min(max(int(count * scale), 1), there) for count in (self.unpruned, self.unmerged))
        return self.compress(view, keep, unpruned - keep)

    def softly(self, view: View) -> Plan:
        """A plan of N tokens, whose masses say who is there, with gradients to the counts."""
        batch, count = view.patch.shape
        everyone = positions(batch, count, view.x.device)
        size = torch.ones_like(view.tokens[..., 0]) if view.mass is None else view.mass
        there = torch.ones_like(size) if view.memory is None else view.memory
        score = view.from_class.mean(1).masked_fill(there < 0.5, -1)
        rank = score.argsort(descending=True).argsort().clamp(max=self.stage.patches - 1)
        more = self.logits.softmax(-1).flip(-1).cumsum(-1).flip(-1)  # the chance that more than so many stay
        first, then = (straight(rank < n, chance[rank]) for n, chance in zip(self.counts(), more, strict=True))
        unpruned = there * first
        stays, goes = unpruned * then, unpruned * (1 - then)
        tokens = functional.normalize(view.tokens, dim=-1)
        likeness = (tokens @ tokens.transpose(1, 2)).masked_fill(stays.unsqueeze(1) < 0.5, -math.inf)
        alike, partner = likeness.max(-1)
        whole = torch.diag_embed(torch.ones_like(size)).scatter_add(1, partner.unsqueeze(1), goes.unsqueeze(1))
        mass = (size + torch.zeros_like(size).scatter_add(1, partner, goes * size * alike.clamp(min=0))) * stays
        here = everyone.masked_fill(stays < 0.5, -1)
        mixed = whole / whole.sum(-1, keepdim=True)
        return Plan(here, here, mass=mass, weights=mixed, source=everyone, stays=stays, memory=stays)


def _settle(reducer: nn.Module, _: object) -> None:
    """After loading. (A function of the module, which can be pickled and copied with it.)"""
    assert isinstance(reducer, LearnedDiffRate)
    reducer.settle()
