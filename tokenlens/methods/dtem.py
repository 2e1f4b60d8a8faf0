"""DTEM: match as ToMe does, by an embedding that is learned for it alone.

Lee and Hong, 2024, arXiv:2412.10569. Written from the paper; held against movinghoon/DTEM@13f2046 (no licence), without
training.
The embedding is one linear layer of what the attention projects, from which no gradient flows back into the model.
In training no token leaves: who merges is drawn softly (successive softmaxes of the similarity to the nearest partner,
as many as tokens are to go), a merged token gives its size to its most similar partners in soft shares.
Departs: nothing.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.plan import Plan, positions
from ..core.reducer import Look, Stage, demand
from ..core.view import View
from .registry import register
from .tome import ToMe

HEAT = 0.1  # of both softmaxes, as published
PARTNERS = 3  # that a token gives itself to in training, as published


@register("dtem")
class DTEM(ToMe):
    """Bipartite soft matching on a learned embedding."""

    trained = True
    paper = "arXiv:2412.10569"
    look = Look("DTEM")

    def __init__(self, stage: Stage, width: int = 0) -> None:
        """`width` is the number of channels of the embedding; 0: 64, and 128 in models of 1,024 or more."""
        super().__init__(stage)
        demand(width >= 0, "width", width, "0 or more")
        self.metric_layer = nn.Linear(stage.dim, width or (64 if stage.dim < 1024 else 128))

    def metric(self, view: View) -> Tensor:
        embedded: Tensor = self.metric_layer(view.normed.detach())
        return embedded

    def forward(self, view: View) -> Plan:
        return self.softly(view) if self.training else super().forward(view)

    def softly(self, view: View) -> Plan:
        """A plan of N tokens, whose masses say who has merged, with gradients to the embedding."""
        batch, count = view.patch.shape
        removed = min(max(view.planned - view.keep, 0), count // 2)
        keys = functional.normalize(self.metric(view), dim=-1)
        even, odd = slice(view.prefix % 2, None, 2), slice(1 - view.prefix % 2, None, 2)
        similar = keys[:, even] @ keys[:, odd].transpose(1, 2) / HEAT
        near, partner = similar.topk(min(PARTNERS, similar.shape[2]), dim=-1)
        size = torch.ones_like(keys[..., 0]) if view.mass is None else view.mass
        given = goes(near[..., 0], removed) * size[:, even]
        moved = torch.zeros_like(similar).scatter(2, partner, near.softmax(-1) * given.unsqueeze(2))
        flow = torch.zeros(batch, count, count, device=keys.device, dtype=keys.dtype)  # from its columns to its rows
        flow[:, odd, even] = moved.transpose(1, 2)
        new = (size - flow.sum(1)).clamp(min=0) + flow.sum(2)
        whole = flow + torch.diag_embed(size.clamp(min=1e-6))  # of what has gone nothing is left to share out
        everyone = positions(batch, count, keys.device)
        return Plan(everyone, everyone, mass=new, weights=whole / whole.sum(-1, keepdim=True))


def goes(score: Tensor, count: int) -> Tensor:
    """(B, N) -> (B, N) in [0, 1]: a soft choice of the `count` best, each softmax discouraged from earlier choices."""
    chosen = torch.zeros_like(score)
    for _ in range(count):
        one = score.softmax(-1)
        chosen = chosen + one
        score = score + torch.log((1 - one).clamp(min=1e-6))
    return chosen.clamp(max=1)
