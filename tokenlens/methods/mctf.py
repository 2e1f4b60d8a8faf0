"""MCTF: merge pairs that are alike, little attended to and small; the attention formed before is reused after.

Lee et al., 2024, arXiv:2403.10030. Held against mlvlab/MCTF@2004da0 (MIT).
Half of the tokens that go merge into their best partner one way, the others back. The score of a pair is the product of
its three criteria, each to the power of one over its temperature; averages are weighted by attention received and size.
Departs: the published code always leaves ten tokens, the class token with them, as does `compat=True`; here as many
stay as are asked for.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..core.plan import Plan, gather, merge, positions
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.view import View
from .registry import register

SITES = {"reuse": "before_attention", "again": "ahead", "none": "after_block"}
LEAST = 10  # tokens that are left as published
POOLING = ("attention", "size", "mean")


@register("mctf")
class MCTF(Reducer):
    """Bidirectional bipartite matching by similarity, information and size."""

    site = "before_attention"
    family = "merging"
    halves = True
    portable = True
    needs = ("attention",)
    paper = "arXiv:2403.10030"
    look = Look("MCTF")

    def __init__(
        self, stage: Stage, similarity: float = 1.0, information: float = 20.0, size: float = 40.0,
        both_ways: bool = True, ahead: str = "reuse", pooling: str = "attention", compat: bool = False,
    ) -> None:  # fmt: skip
        """The three temperatures (0: the criterion does not count); `ahead`: whether this block's attention is reused,
        formed again on what is left, or the merging comes after the block; `pooling`: what weighs in averages.
        """
        super().__init__(stage)
        for name, value in (("similarity", similarity), ("information", information), ("size", size)):
            demand(value >= 0, name, value, "0 or more")
        demand(ahead in SITES, "ahead", ahead, ", ".join(SITES))
        demand(pooling in POOLING, "pooling", pooling, ", ".join(POOLING))
        self.powers = [1 / value if value else 0.0 for value in (similarity, information, size)]
        self.both_ways, self.pooling, self.site = both_ways, pooling, SITES[ahead]  # type: ignore[misc]
        self.least = LEAST if compat else 1

    def forward(self, view: View) -> Plan:
        batch, count = view.patch.shape
        removed = min(count - view.keep, count // 2, max(count + view.prefix - self.least, 0))
        forth = removed // 2 if self.both_ways else removed
        size = torch.ones_like(view.tokens[..., 0]) if view.mass is None else view.mass
        first = view.prefix % 2  # prefix tokens count in the alternation but are never merged
        even, odd = slice(first, None, 2), slice(1 - first, None, 2)
        score = self.score(view, size, even, odd).detach()
        best, partner = score.max(-1)
        order = best.argsort(descending=True)
        source, stays = order[:, :forth], order[:, forth:].sort().values
        places, ahead = positions(batch, count, size.device), stays.shape[1]
        into = torch.empty_like(places[:, odd])
        if self.both_ways:  # then back, to those that stayed
            best, home = gather(score, stays).transpose(1, 2).max(-1)
            order = best.argsort(descending=True)
            returns, rest = order[:, : removed - forth], order[:, removed - forth :]
            into = into.scatter(1, returns, home.gather(1, returns))
        else:
            rest = places[:, : into.shape[1]]
        into = into.scatter(1, rest, ahead + places[:, : rest.shape[1]])
        group = torch.empty_like(places)
        group[:, odd] = into
        group[:, even] = torch.empty_like(places[:, even]).scatter(1, stays, places[:, :ahead]).scatter(
            1, source, into.gather(1, partner.gather(1, source))
        )  # fmt: skip
        weight = {"attention": view.received * size, "size": size, "mean": torch.ones_like(size)}[self.pooling]
        return merge(view, group, count - removed, weight)

    def score(self, view: View, size: Tensor, even: slice, odd: slice) -> Tensor:
        """The logarithm of the score of each pair, but for what all pairs share."""
        similarity, information, smallness = self.powers
        tokens = functional.normalize(view.tokens, dim=-1)
        alike = (1 + tokens[:, even] @ tokens[:, odd].transpose(1, 2)).clamp(min=1e-12).log() * similarity
        own = -information * view.received.log() - smallness * size.log()
        return alike + own[:, even].unsqueeze(2) + own[:, odd].unsqueeze(1)
