"""ToMe-SD: in every cell of the grid one token is a destination, and the most similar others are averaged into theirs.

Bolya & Hoffman, 2023, arXiv:2303.17604. Written from the paper; held against dbolya/tomesd@27a14a3.
At most all others are merged: with cells of 2 x 2 a quarter of the tokens remains, whatever ratio is asked for.
Departs: destinations are drawn for each picture from its latents; the published code draws one grid for the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..core.plan import Plan, gather, merge, positions
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from ..errors import BadInput
from ..methods import Method


class ToMeSD(Reducer):
    """Bipartite soft matching on a grid of destinations."""

    family = "merging"
    paper = "arXiv:2303.17604"

    def __init__(self, stage: Stage, sx: int = 2, sy: int = 2, rand: bool = True) -> None:
        """`sx` columns and `sy` rows make a cell; without `rand` its first token is the destination."""
        super().__init__(stage)
        demand(sx >= 1, "sx", sx, "1 or more")
        demand(sy >= 1, "sy", sy, "1 or more")
        self.sx, self.sy, self.rand = sx, sy, rand
        self.generator: torch.Generator | None = None
        """what the published code draws one grid for all from; None: see `Departs`"""

    def forward(self, view: View) -> Plan:
        batch, count = view.patch.shape
        chosen = self.destinations(view)
        at = torch.zeros_like(view.patch, dtype=torch.bool).scatter(1, chosen, True)
        many = chosen.shape[1]
        source, into = at.to(torch.uint8).argsort(dim=1, stable=True).split([count - many, many], 1)
        metric = functional.normalize(view.tokens, dim=-1)
        best, partner = (gather(metric, source) @ gather(metric, into).transpose(1, 2)).max(-1)
        removed = min(count - view.keep, count - many)
        stays = count - many - removed
        order = best.argsort(descending=True)
        rank = torch.empty_like(order).scatter(1, order, positions(len(order), order.shape[1], order.device))
        # those not merged come first, by falling similarity, then the destinations
        group = torch.empty_like(view.patch).scatter(
            1, source, torch.where(rank < removed, stays + partner, rank - removed)
        )
        group = group.scatter(1, into, stays + positions(batch, many, into.device))
        return merge(view, group, stays + many, sizes=False)

    def destinations(self, view: View) -> Tensor:
        """(B, cells) int64: a token of each whole cell; tokens beyond the last whole one are never destinations."""
        rows, columns = view.grid
        down, right = rows // self.sy, columns // self.sx
        if not down * right:
            raise BadInput(
                f"a grid of {rows} x {columns} tokens has no cell of {self.sy} x {self.sx}; give smaller sx and sy"
            )
        place = torch.arange(rows * columns, device=view.patch.device).view(rows, columns)
        place = place[: down * self.sy, : right * self.sx].reshape(down, self.sy, right, self.sx)
        cells = place.transpose(1, 2).reshape(down * right, -1)
        batch = len(view.patch)
        if not self.rand:
            which = torch.zeros_like(cells[:, 0]).expand(batch, -1)
        elif self.generator is not None:
            drawn = torch.randint(
                cells.shape[1], (down, right, 1), generator=self.generator, device=self.generator.device
            )
            which = drawn.to(cells.device).flatten().expand(batch, -1)
        else:
            which = view.draw()[:, cells].argmax(-1)
        return cells.expand(batch, -1, -1).gather(2, which.unsqueeze(-1)).squeeze(-1)


TOME_SD = Method("tome-sd", ToMeSD, look=Look("ToMe-SD", "#a05a2c", "v"))
"""The one method that needs a grid at every stage, which a ViT does not have after its first"""
