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
from ..kernels.peaks import neighbourhoods, separation
from .registry import register


def density_peaks(tokens: Tensor, count: int, neighbours: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K), tokens in descending order of density x distance to the nearest denser token; and (B, N, N) distances."""
    distance, near, far = neighbourhoods(tokens, neighbours)
    density = (-near).exp() + 1e-6 * noise
    return (separation(distance, density, far) * density).topk(count).indices, distance


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
        centres, distance = density_peaks(tokens, view.keep, self.neighbours, view.draw())
        group = distance.gather(2, centres.unsqueeze(1).expand(-1, tokens.shape[1], -1)).argmin(-1)
        group = group.scatter(1, centres, positions(len(centres), view.keep, tokens.device))  # a centre is its own
        weight = torch.ones_like(tokens[..., 0])
        if not self.equal_weight:
            weight = self.score(tokens)[..., 0].clamp(max=80).exp()  # from about 88 on, infinite
        plan = merge(view, group, view.keep, weight, sizes=False, eps=1e-6)
        plan.kept = centres
        return plan
