"""ToMe: match every other token with its most similar partner and average the most similar pairs.

Bolya et al., 2023, arXiv:2210.09461. Written from the paper; held against JoakimHaurum/TokenReduction@88fe07e (MIT)
and, in hosts without a class token, against the numbers of JoakimHaurum/ATC@227c94b (MIT).
A stage removes as many tokens as were planned, at most half of those present, so low rates are not reached.
Without proportional attention sizes are forgotten after each block; off the shelf (MAE) they are remembered for
averages: `proportional=False, remember=True`.
"""

from torch import Tensor

from ..core.plan import Plan, merge
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from ..kernels.match import matched
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
        removed = min(max(view.planned - view.keep, 0), view.x.shape[1] // 2)  # a plan may rise again
        group = matched(self.metric(view), view.prefix, removed)
        return merge(view, group, group.shape[1] - removed, sizes=self.sizes, proportional=self.proportional)

    def metric(self, view: View) -> Tensor:
        """What tokens are compared by: (B, N, D), or (B, H, N, D) whose mean over heads it is."""
        return view.compared if view.x.is_cuda else view.mean_keys
