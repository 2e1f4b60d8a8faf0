"""Top-K: keep the patches that the class token attends to most.

Haurum et al., 2023, arXiv:2308.04657 (the score is EViT's). Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
Departs: nothing to do where as many tokens are asked for as there are (the published code fails there).
"""

from ..core.plan import Plan, select
from ..core.reducer import Look, Reducer
from ..core.view import View
from .registry import register


@register("topk")
class TopK(Reducer):
    """Keep the best by class attention, in descending order."""

    portable = True
    needs = ("class token",)
    paper = "arXiv:2308.04657"
    look = Look("Top-K", "#08306b", "o")

    def forward(self, view: View) -> Plan:
        return select(view, view.from_class.mean(1).topk(view.keep).indices)
