"""K-Medoids: cluster the patches around some of themselves and keep those.

Marin et al., 2021, arXiv:2110.03860. Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
A candidate's cost is its weight times its distances to *all* tokens, as published: a constant, computed once. An empty
cluster falls back to token 0, as published.
Departs: before the first block, where no attention was paid yet, all tokens weigh the same (the published code fails).
"""

import torch
from torch import Tensor

from ..clustering import euclidean
from ..core.plan import Plan, positions, select
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register


@register("kmedoids")
class KMedoids(Reducer):
    """Weighted by the attention received in the previous block, or with equal weights from a random first medoid."""

    site = "before_block"
    family = "merging"
    keeps = True
    needs = ("attention",)
    paper = "arXiv:2110.03860"
    look = Look("K-Medoids", "#cc4d12", "p")

    def __init__(self, stage: Stage, equal_weight: bool = False, iterations: int = 3) -> None:
        super().__init__(stage)
        demand(iterations >= 0, "iterations", iterations, "0 or more")
        self.equal_weight, self.iterations = equal_weight, iterations
        self.first: int | None = None
        """equal weights: the token to start from in every image; None draws one for each"""

    def forward(self, view: View) -> Plan:
        distance = euclidean(view.tokens.detach())
        cost = distance.sum(-1)
        if self.equal_weight:
            medoids = self.farthest(view, distance)
        else:
            weight = view.received
            medoids, cost = weight.topk(view.keep).indices, cost * weight
        order = cost.argsort(dim=1, stable=True)  # costs are constants: they are ranked once
        for _ in range(self.iterations):
            medoids = cheapest(order, nearest(distance, medoids), view.keep)
        plan = select(view, medoids)
        plan.group = nearest(distance, medoids)
        return plan

    def farthest(self, view: View, distance: Tensor) -> Tensor:
        """(B, K): from one token on, always add the one, not yet chosen, that is farthest from any of those chosen."""
        first = view.draw().argmax(1) if self.first is None else torch.full_like(view.patch[:, 0], self.first)
        chosen = [first]
        reach = torch.zeros_like(distance[:, 0])
        free = torch.ones_like(reach, dtype=torch.bool)
        for _ in range(view.keep - 1):
            reach = torch.maximum(reach, take_row(distance, chosen[-1]))
            free.scatter_(1, chosen[-1].unsqueeze(1), False)
            chosen.append(torch.where(free, reach, -1.0).argmax(1))
        return torch.stack(chosen, 1)


def take_row(distance: Tensor, index: Tensor) -> Tensor:
    """(B, N, N) by (B,) -> (B, N)."""
    return distance[torch.arange(len(index), device=index.device), index]


def nearest(distance: Tensor, medoids: Tensor) -> Tensor:
    """(B, N): the medoid, by its place among the K, that each token is nearest to."""
    batch, old, _ = distance.shape
    place = medoids + old * torch.arange(batch, device=medoids.device).unsqueeze(1)
    rows = distance.flatten(0, 1).index_select(0, place.flatten())  # whole rows, which gather would copy one by one
    return rows.view(batch, -1, old).min(1).indices


def cheapest(order: Tensor, group: Tensor, count: int) -> Tensor:
    """(B, K): of each group the member that comes first in an order of the tokens (B, N), token 0 for an empty one."""
    batch, old = order.shape
    place = torch.empty_like(order).scatter(1, order, positions(batch, old, order.device))
    best = torch.full((batch, count), old, device=order.device).scatter_reduce(1, group, place, "amin")
    return torch.where(best < old, order.gather(1, best.clamp(max=old - 1)), 0)
