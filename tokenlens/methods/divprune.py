"""DivPrune: keep tokens that are as far from each other as can be, whatever is attended to.

Alvar et al., 2025, arXiv:2503.02175. Written from the paper; held against ModelTC/LightCompress@9701d03 (Apache-2.0).
The first is the one whose nearest neighbour is farthest; then always the one that is farthest from all chosen.
Departs: published for the visual tokens of a language model, it stands before a block here.
"""

import torch
from torch.nn import functional

from ..core.plan import Plan, select
from ..core.reducer import Look, Reducer
from ..core.view import View
from .registry import register


@register("divprune")
class DivPrune(Reducer):
    """Farthest-point sampling by cosine distance of the tokens."""

    site = "before_block"
    portable = True
    paper = "arXiv:2503.02175"
    look = Look("DivPrune")

    def forward(self, view: View) -> Plan:
        tokens = functional.normalize(view.tokens.detach(), dim=-1)
        distance = 1 - tokens @ tokens.transpose(1, 2)
        reach = distance.topk(2, dim=1, largest=False).values[:, 1]  # the nearest is the token itself
        image = torch.arange(distance.shape[0], device=distance.device)
        chosen = [reach.argmax(1)]
        reach = distance[image, chosen[0]]
        for _ in range(view.keep - 1):
            chosen.append(reach.argmax(1))
            reach = torch.minimum(reach, distance[image, chosen[-1]])
        return select(view, torch.stack(chosen, 1))
