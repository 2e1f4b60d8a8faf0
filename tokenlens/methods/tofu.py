"""ToFu: match as ToMe does; in the first half drop what is alike, in the second fuse it and keep its length.

Kim et al., 2024, arXiv:2312.01026. Written from the paper; held against the port in
hchautran/PiToMe@550b5de (CC BY-NC).
A fused token is the plain mean of its members, stretched by how much longer the longest of them is than the partner;
nobody counts how many they are.
Departs: nothing.
"""

import torch

from ..core.plan import Plan, merge, positions, select
from ..core.reducer import Look
from ..core.view import View
from ..kernels.match import matched
from .registry import register
from .tome import ToMe


@register("tofu")
class ToFu(ToMe):
    """Bipartite matching on keys; up to the middle block the sources vanish, later on they are fused."""

    drops = True
    paper = "arXiv:2312.01026"
    look = Look("ToFu")

    def forward(self, view: View) -> Plan:
        batch, count = view.patch.shape
        removed = min(count - view.keep, count // 2)
        group = matched(self.metric(view), view.prefix, removed)
        left, even = count - removed, slice(view.prefix % 2, None, 2)
        place = group.clone()  # those that went into another write into a column that is cut off
        place[:, even] = torch.where(group[:, even] >= group[:, even].shape[1] - removed, left, group[:, even])
        index = torch.empty(batch, left + 1, dtype=torch.int64, device=group.device)
        index = index.scatter(1, place, positions(batch, count, group.device))[:, :-1]
        if self.stage.block <= self.stage.depth // 2:
            return select(view, index)
        plan = merge(view, group, left, sizes=False)
        length = view.tokens.norm(dim=-1)
        longest = length.new_zeros(batch, left).scatter_reduce(1, group, length, "amax")
        own = length.gather(1, index)
        plan.share = plan.share * (longest / own).gather(1, group)
        return plan
