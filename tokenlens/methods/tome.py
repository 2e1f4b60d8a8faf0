"""ToMe: match every other token with its most similar partner and average the most similar pairs.

Bolya et al., 2023, arXiv:2210.09461. Written from the paper; held against JoakimHaurum/TokenReduction@88fe07e (MIT)
and, in hosts without a class token, against the numbers of JoakimHaurum/ATC@227c94b (MIT).
A stage removes as many tokens as were planned, at most half of those present, so low rates are not reached.
Without proportional attention sizes are forgotten after each block; off the shelf (MAE) they are remembered for
averages: `proportional=False, remember=True`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..core.plan import Plan, merge, positions
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from .registry import register


@register("tome")
class ToMe(Reducer):
    """Bipartite soft matching on keys; sizes weigh the averages and, unless told otherwise, all later attention."""

    family = "merging"
    halves = True
    portable = True
    needs = ("attention", "keys")
    paper = "arXiv:2210.09461"
    look = Look("ToMe", "#6b2500", "v")

    def __init__(self, stage: Stage, proportional: bool = True, remember: bool = False) -> None:
        super().__init__(stage)
        self.proportional, self.sizes = proportional, proportional or remember

    def forward(self, view: View) -> Plan:
        removed = min(max(view.planned - view.keep, 0), view.patch.shape[1] // 2)  # a plan may rise again
        group, _ = self.match(view, removed)
        return merge(view, group, group.shape[1] - removed, sizes=self.sizes, proportional=self.proportional)

    def metric(self, view: View) -> Tensor:
        """(B, N, D): what tokens are compared by."""
        return view.mean_keys

    def match(self, view: View, removed: int) -> tuple[Tensor, Tensor]:
        """The new token (B, N) int64 that each old one goes into, and which (B, N) bool go into another one's."""
        batch, count = view.patch.shape
        keys = functional.normalize(self.metric(view), dim=-1)
        # prefix tokens count in the alternation but are never merged
        first = view.prefix % 2
        even, odd = slice(first, None, 2), slice(1 - first, None, 2)
        best, partner = (keys[:, even] @ keys[:, odd].transpose(1, 2)).max(-1)
        order = best.argsort(descending=True)
        stays = order[:, removed:]  # first those not merged, in their order where there is a prefix, then the partners
        stays = stays.sort().values if view.prefix else stays
        group = torch.empty(batch, count, dtype=torch.int64, device=keys.device)
        group[:, odd] = stays.shape[1] + positions(batch, count - best.shape[1], keys.device)
        into = stays.shape[1] + partner
        into = into.scatter(1, stays, positions(batch, stays.shape[1], keys.device))
        group[:, even] = into
        source = torch.zeros(batch, count, dtype=torch.bool, device=keys.device)
        source[:, even] = torch.zeros_like(best).scatter(1, order[:, :removed], 1.0) > 0
        return group, source
