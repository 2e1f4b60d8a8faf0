"""ATC: bottom-up hierarchical clustering of the patches; each cluster becomes its mean.

Haurum et al., 2024, arXiv:2409.11923. Held against JoakimHaurum/ATC@227c94b (MIT).
Without proportional attention the sizes are forgotten after each block, so later merges weigh all tokens alike; off
the shelf (MAE) they are remembered for averages: `proportional=False, remember=True`.
Departs: off the shelf the published code removes one token fewer than asked; `compat=True` does the same.
"""

from typing import cast, get_args

import torch
from torch import Tensor
from torch.nn import functional

from ..clustering import Linkage, agglomerative
from ..core.plan import Plan, merge
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from ..errors import BadInput
from .registry import register

LINKAGES = get_args(Linkage)


@torch.library.custom_op("tokenlens::clusters", mutates_args=())
def clusters(keys: Tensor, count: int, linkage: str) -> Tensor:
    """(B, N, D) -> (B, N) int64; the one step that `torch.compile` calls and does not look into."""
    return agglomerative(keys, count, cast(Linkage, linkage), check=False)


@clusters.register_fake
def _(keys: Tensor, count: int, linkage: str) -> Tensor:
    return keys.new_empty(keys.shape[:2], dtype=torch.int64)


@register("atc-average", linkage="average", look=Look("ATC average", "#ecca45", "d"))
@register("atc-complete", linkage="complete", look=Look("ATC complete", "#d3a800", ">"))
@register("atc-single", linkage="single", look=Look("ATC single", "#998f28", "<"))
@register("atc", look=Look("ATC", "#5d5700", "8"))  # decorators apply from the last to the first
class ATC(Reducer):
    """Agglomerative clustering of the mean keys by cosine distance, down to the tokens asked for."""

    family = "merging"
    needs = ("attention", "keys")
    paper = "arXiv:2409.11923"

    def __init__(
        self,
        stage: Stage,
        linkage: Linkage = "average",
        proportional: bool = True,
        compat: bool = False,
        remember: bool = False,
    ) -> None:
        super().__init__(stage)
        if linkage not in LINKAGES:
            raise BadInput(f"atc has no linkage {linkage!r}; it has {', '.join(LINKAGES)}")
        self.linkage, self.proportional, self.compat = linkage, proportional, compat
        self.sizes = proportional or remember

    def forward(self, view: View) -> Plan:
        count = view.tokens.shape[1]
        keep = count - (view.planned - view.keep) + 1 if self.compat and view.prefix else view.keep
        # what is not a number has no place in a tree; the logits tell of it, and name the image
        keys = functional.normalize(view.mean_keys, dim=-1).nan_to_num()
        group = clusters(keys.detach(), min(keep, count), self.linkage)
        return merge(view, group, min(keep, count), sizes=self.sizes, proportional=self.proportional)
