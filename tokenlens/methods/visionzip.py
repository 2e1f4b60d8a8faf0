"""VisionZip: keep the most attended patches, and gather the others in a few contextual tokens.

Yang et al., 2025, arXiv:2412.04467. Held against dvlab-research/VisionZip@3151f6d (Apache-2.0).
Contextual tokens start from every n-th of the others, in raster order; each other one goes to the start whose key is
most similar, and the contextual token is the start plus the mean of those.
Departs: published at the exit of a tower, it stands after any attention; without a class token it goes by the attention
that patches receive, as its authors say for such towers.
"""

import torch
from torch.nn import functional

from ..core.plan import Plan, gather, positions
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register


@register("visionzip")
class VisionZip(Reducer):
    """Dominant tokens by class attention, contextual ones by keys."""

    family = "merging"
    keeps = True
    portable = True
    needs = ("attention",)
    paper = "arXiv:2412.04467"
    look = Look("VisionZip")

    def __init__(self, stage: Stage, contextual: float = 30 / 220) -> None:
        """`contextual` is the share of the tokens left that gathers the others."""
        super().__init__(stage)
        demand(0 < contextual < 1, "contextual", contextual, "a share between 0 and 1")
        self.contextual = contextual

    def forward(self, view: View) -> Plan:
        batch = view.patch.shape[0]  # len would be a number, and fixed in an exported graph
        starts = max(round(view.keep * self.contextual), 1)
        score = view.from_class.sum(1) if view.has_class else view.received
        dominant = score.topk(view.keep - starts).indices
        places = positions(batch, score.shape[1], score.device)
        order = (places + score.shape[1]).scatter(1, dominant, dominant).argsort(dim=1)  # both parts in raster order
        dominant, rest = order[:, : view.keep - starts], order[:, view.keep - starts :]
        step = rest.shape[1] // starts
        start = positions(batch, starts, score.device) * step
        keys = functional.normalize(gather(view.mean_keys, rest), dim=-1)
        into = (keys @ gather(keys, start).transpose(1, 2)).argmax(-1)
        into = into.scatter(1, start, positions(batch, starts, score.device))
        members = keys.new_full((batch, starts), -1.0).scatter_add(1, into, torch.ones_like(keys[..., 0]))
        share = (1 / members.clamp(min=1)).gather(1, into).scatter(1, start, 1.0)
        first = torch.where(members == 0, rest.gather(1, start), -1)
        group = torch.cat([places[:, : dominant.shape[1]], dominant.shape[1] + into], 1)
        shares = torch.cat([torch.ones_like(dominant, dtype=share.dtype), share], 1)
        back = order.argsort(dim=1)
        return Plan(torch.cat([dominant, first], 1), group.gather(1, back), shares.gather(1, back))
