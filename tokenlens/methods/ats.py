"""ATS: sample patches at fixed steps of the distribution of their significance; each image keeps its own number.

Fayyaz et al., 2022, arXiv:2111.15667. Held against JoakimHaurum/TokenReduction@88fe07e (MIT) with exact distances.
Departs: the step nearest to a token is found from |step - cdf| and not through a matrix product, which mis-picks near
ties. Attention with the sampled query rows equals selecting after attention, so it stands there.
"""

import torch
from torch import Tensor

from ..core.plan import Plan, select
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from .registry import register


def steps(count: int) -> Tensor:
    """The sampling points for `count` tokens: midpoints of K = count + 1 equal intervals, without the last one.

    For some K the published floating-point range holds the last one too, and so does this.
    """
    intervals = count + 1
    return torch.arange(1 / (2 * intervals), (2 * intervals - 1) / (2 * intervals), 1 / intervals)


@register("ats")
class ATS(Reducer):
    """Inverse-transform sampling by class attention x norm of the value; duplicates collapse, images are padded."""

    adaptive = True
    needs = ("class token",)
    paper = "arXiv:2111.15667"
    look = Look("ATS", "#9fcdf0", "D")

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.points: Tensor
        self.register_buffer("points", steps(stage.keep), persistent=False)

    def forward(self, view: View) -> Plan:
        score = (view.from_class * view.values.norm(dim=-1)).sum(1)
        cdf = (score / (score.sum(1, keepdim=True) + 1e-6)).cumsum(1)
        points = self.points if view.keep == self.stage.keep else steps(view.keep).to(cdf.device)
        nearest = (points.view(1, -1, 1) - cdf.unsqueeze(1)).abs().argmin(-1)
        picked = torch.zeros_like(cdf).scatter(1, nearest, 1.0) > 0
        # how many there are at most is asked where asking costs nothing; elsewhere padding makes up for it
        most = int(picked.sum(1).max()) if picked.is_cpu else min(len(points), picked.shape[1])
        places = torch.where(picked, 1, 0).argsort(dim=1, descending=True, stable=True)[:, :most]
        return select(view, places.masked_fill(~picked.gather(1, places), -1), padded=True)
