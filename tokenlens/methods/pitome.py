"""PiToMe: merge where tokens have many like them, and protect those that stand alone.

Tran et al., 2024, arXiv:2405.16148. Written from the paper; held against hchautran/PiToMe@550b5de (CC BY-NC).
The energy of a token is how alike the others are to it, above a margin that falls with depth. In the first half of the
blocks all tokens, by falling energy, alternate between sources and partners; later only twice as many as are to go.
Sizes weigh the averages and, as published for DeiT, no attention.
Departs: nothing.
"""

import torch
from torch.nn import functional

from ..core.plan import Plan, gather, merge, positions
from ..core.reducer import Look, Reducer
from ..core.view import View
from .registry import register

MARGIN = 0.75  # of the first block; it falls in a line, to 0 behind the last


@register("pitome")
class PiToMe(Reducer):
    """Bipartite matching on keys, ordered by energy."""

    family = "merging"
    halves = True
    portable = True
    needs = ("attention",)
    paper = "arXiv:2405.16148"
    look = Look("PiToMe")

    def forward(self, view: View) -> Plan:
        batch, count = view.patch.shape
        removed = min(count - view.keep, count // 2)
        keys = functional.normalize(view.mean_keys, dim=-1)
        similar = keys @ keys.transpose(1, 2)
        depth, block = self.stage.depth, self.stage.block
        energy = functional.elu(similar - MARGIN * (1 - block / depth)).mean(-1)
        order = energy.argsort(descending=True)
        pool = count if block < (depth + 1) // 2 else 2 * removed
        first, second = order[:, :pool:2], order[:, 1:pool:2]
        best, partner = (gather(keys, first) @ gather(keys, second).transpose(1, 2)).max(-1)
        rank = best.argsort(descending=True)
        source, stays = rank[:, :removed], rank[:, removed:].sort().values
        protected = torch.cat([first.gather(1, stays), order[:, pool:]], 1)
        ahead = protected.shape[1]
        group = torch.empty_like(order)
        group = group.scatter(1, protected, positions(batch, ahead, keys.device))
        group = group.scatter(1, second, ahead + positions(batch, second.shape[1], keys.device))
        group = group.scatter(1, first.gather(1, source), ahead + partner.gather(1, source))
        return merge(view, group, count - removed, proportional=False)
