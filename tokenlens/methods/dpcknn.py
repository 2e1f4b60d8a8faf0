"""DPC-KNN: centres are patches in dense places far from denser ones; each group becomes a learned weighted mean.

Zeng et al., 2022, arXiv:2204.08680 (density peaks: Du et al., 2016).
Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
A token counts among its own neighbours, distances are divided by sqrt(C), as published.
Departs: the 1e-6 noise that breaks ties is drawn for each image and stage, so that the batch size changes nothing.
"""

import torch
from torch import Tensor, nn

from ..core.plan import Plan, merge, positions
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register


def density_peaks(distance: Tensor, count: int, neighbours: int, noise: Tensor) -> Tensor:
    """(B, N, N) -> (B, K): tokens in descending order of density x distance to the nearest denser token."""
    near = distance.topk(min(neighbours, distance.shape[-1]), largest=False).values
    density = (-near.square().mean(-1)).exp() + 1e-6 * noise
    denser = density.unsqueeze(1) > density.unsqueeze(2)  # [b, i, j]: j is denser than i
    farthest = distance.flatten(1).amax(1)[:, None, None]
    separation = torch.where(denser, distance, farthest).amin(-1)
    return (separation * density).topk(count).indices


@register("dpcknn")
class DPCKNN(Reducer):
    """Merge each token into its nearest density peak, weighted by the exponential of a learned score."""

    site = "before_block"
    family = "merging"
    keeps = True
    trained = True
    paper = "arXiv:2204.08680"
    look = Look("DPC-KNN", "#ff8c40", "h")

    def __init__(self, stage: Stage, equal_weight: bool = False, neighbours: int = 5) -> None:
        super().__init__(stage)
        demand(neighbours >= 1, "neighbours", neighbours, "1 or more")
        self.equal_weight, self.neighbours = equal_weight, neighbours
        if not equal_weight:
            self.score = nn.Linear(stage.dim, 1)

    def forward(self, view: View) -> Plan:
        tokens = view.tokens
        distance = torch.cdist(tokens, tokens) / tokens.shape[-1] ** 0.5
        centres = density_peaks(distance.detach(), view.keep, self.neighbours, view.draw())
        group = distance.gather(2, centres.unsqueeze(1).expand(-1, tokens.shape[1], -1)).argmin(-1)
        group = group.scatter(1, centres, positions(len(centres), view.keep, tokens.device))  # a centre is its own
        weight = torch.ones_like(tokens[..., 0])
        if not self.equal_weight:
            weight = self.score(tokens)[..., 0].clamp(max=80).exp()  # from about 88 on, infinite
        plan = merge(view, group, view.keep, weight, sizes=False, eps=1e-6)
        plan.kept = centres
        return plan
