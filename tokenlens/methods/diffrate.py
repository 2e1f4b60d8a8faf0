"""DiffRate: prune the tokens that the class attends to least, then merge the next ones into those that stay.

Chen et al., 2023, arXiv:2305.17997. Written from the paper; held against OpenGVLab/DiffRate@91ae3e3 (no licence).
A merged token goes to the most similar one that stays, by cosine of the tokens themselves. It counts for as much as it
is alike, so that sizes, which weigh in attention, are fractions; the average is a plain one.
Departs: how many are pruned is given, as `merged`, the share of those that go which merge (`diffrate-learned` learns
it). What is like none counts for nothing, where published sizes fall, even below 0, of which attention takes the
logarithm; `compat=True` lets them.
"""

import math

import torch
from torch.nn import functional

from ..core.plan import Plan, gather, select
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register


@register("diffrate")
class DiffRate(Reducer):
    """Rank by class attention; keep the first, merge the next, drop the last."""

    family = "merging"
    keeps = True
    drops = True
    portable = True
    needs = ("class token",)
    paper = "arXiv:2305.17997"
    look = Look("DiffRate")

    def __init__(self, stage: Stage, merged: float = 0.5, compat: bool = False) -> None:
        super().__init__(stage)
        demand(0 <= merged <= 1, "merged", merged, "a share from 0 to 1")
        self.merged, self.least = merged, -math.inf if compat else 0.0

    def forward(self, view: View) -> Plan:
        going = view.patch.shape[1] - view.keep
        return self.compress(view, view.keep, int(going * self.merged + 0.5))  # `round` takes no size of a traced walk

    def compress(self, view: View, keep: int, merging: int) -> Plan:
        """Keep so many, and merge so many of the next."""
        order = view.from_class.mean(1).argsort(descending=True)
        stays, rest = order[:, :keep], order[:, keep : keep + merging]
        tokens = functional.normalize(view.tokens, dim=-1)
        alike, partner = (gather(tokens, rest) @ gather(tokens, stays).transpose(1, 2)).max(-1)
        plan = select(view, stays)
        size = torch.ones_like(tokens[..., 0]) if view.mass is None else view.mass
        plan.mass = gather(size, stays).scatter_add(1, partner, gather(size, rest) * alike.clamp(min=self.least))
        plan.group = plan.group.scatter(1, rest, partner)
        members = torch.ones_like(plan.mass).scatter_add(1, partner, torch.ones_like(alike))
        plan.share = (1 / members).gather(1, plan.group.clamp(min=0))
        return plan
