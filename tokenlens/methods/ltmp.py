"""LTMP: merge what is more alike than one learned threshold, then drop what is attended to less than another.

Bonnaerens and Dambre, 2023, arXiv:2307.10780. Written from the paper; held against Mxbonn/ltmp@1a9c055 (no licence).
Pairs are ToMe's; importance is the mean attention received, over heads and queries, of a merged token that of its most
important member. How many remain differs from image to image. In training no token leaves: both decisions are steps
with the gradient of a sigmoid, and the loss holds the operations of the whole walk to those of the rate asked for.
Departs: the most important token always stays.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.plan import Plan, positions
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from .registry import register

HEAT = 0.1  # of the sigmoids


@register("ltmp")
class LTMP(Reducer):
    """Two thresholds: of the cosine of keys, and of the attention received."""

    family = "merging"
    drops = True
    trained = True
    adaptive = True
    policy = True
    budget = "operations"
    needs = ("attention",)
    paper = "arXiv:2307.10780"
    look = Look("LTMP")

    def __init__(self, stage: Stage) -> None:
        """Before it is trained nothing merges, and what goes has less than a share of the mean importance.

        The threshold of importance is counted in such shares (the published one times the patches), so that both
        learn at one rate.
        """
        super().__init__(stage)
        self.merge_threshold = nn.Parameter(torch.ones(1))
        self.prune_share = nn.Parameter(torch.full((1,), 1 - stage.keep / stage.patches))

    def forward(self, view: View) -> Plan:
        batch, count = view.patch.shape
        size = torch.ones_like(view.tokens[..., 0]) if view.mass is None else view.mass
        here = size > 0.5  # in training a step is 0 or 1 but for rounding
        alike, partner = self.pairs(view, here)
        important = self.importance(view, here)
        merges = alike > self.merge_threshold
        home = torch.where(merges, partner, positions(batch, count, size.device))
        most = important.scatter_reduce(1, home, important, "amax")
        stays = here & ~merges & ((most * self.stage.patches > self.prune_share) | (most == most.amax(1, keepdim=True)))
        if self.training:
            return self.softly(size, alike, partner, most, merges, stays)
        total = torch.zeros_like(size).scatter_add(1, home, size)
        # sources that stay come first, then partners, then padding
        odd = positions(batch, count, size.device) % 2 != view.prefix % 2
        order = torch.where(stays, odd.int(), 2).argsort(dim=1, stable=True)
        left = int(stays.sum(1).max()) if stays.is_cpu else count  # asked where asking costs nothing
        place = torch.where(stays, order.argsort(dim=1), -1)
        alone = total == size
        kept = torch.where(stays & alone, positions(batch, count, size.device), -1).gather(1, order)[:, :left]
        mass = total.masked_fill(~stays, 0).gather(1, order)[:, :left]
        return Plan(kept, place.gather(1, home), size / total.gather(1, home).clamp(min=1e-12), mass)

    def pairs(self, view: View, here: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N): the cosine to the most similar partner, -inf for partners and padding, and its place."""
        keys = functional.normalize(view.mean_keys, dim=-1)
        even, odd = slice(view.prefix % 2, None, 2), slice(1 - view.prefix % 2, None, 2)
        both = here[:, even].unsqueeze(2) & here[:, odd].unsqueeze(1)
        similar = (keys[:, even] @ keys[:, odd].transpose(1, 2)).masked_fill(~both, -math.inf)
        best, partner = similar.max(-1)
        places = positions(here.shape[0], here.shape[1], here.device)
        alike, into = torch.full_like(keys[..., 0], -math.inf), places.clone()
        alike[:, even], into[:, even] = best, places[:, odd].gather(1, partner)
        return alike, into

    def importance(self, view: View, here: Tensor) -> Tensor:
        """(B, N): the mean attention received; padding neither pays nor receives any."""
        asks = functional.pad(here, (view.prefix, 0), value=True).to(torch.float32)
        paid = view.attention.mean(1) * asks.unsqueeze(2)
        return (paid.sum(1) / asks.sum(1, keepdim=True))[:, view.prefix :]

    def softly(self, size: Tensor, alike: Tensor, partner: Tensor, most: Tensor, merges: Tensor, stays: Tensor) -> Plan:
        """A plan of N tokens, whose masses say who is there, with gradients to the thresholds."""
        goes = straight(merges, ((alike - self.merge_threshold) / HEAT).sigmoid())
        moved = goes * size
        flow = torch.zeros(*size.shape, size.shape[1], device=size.device, dtype=size.dtype)
        flow = flow.scatter(1, partner.unsqueeze(1), moved.unsqueeze(1))
        flow = flow * ~torch.eye(size.shape[1], dtype=torch.bool, device=size.device)
        whole = flow + torch.diag_embed(size.detach().clamp(min=1e-6))
        above = most * self.stage.patches - self.prune_share
        remains = straight(stays | merges, (above / HEAT).sigmoid()) * (1 - goes)
        there = remains * (size > 0.5)
        mass = (size + flow.sum(2)) * there
        everyone = positions(size.shape[0], size.shape[1], size.device)
        here = everyone.masked_fill(~stays, -1)
        return Plan(here, here, mass=mass, weights=whole / whole.sum(-1, keepdim=True), source=everyone, stays=there)


def straight(hard: Tensor, soft: Tensor) -> Tensor:
    """The decision, with the gradient of the soft one."""
    return hard.to(soft.dtype) + soft - soft.detach()
