"""DynamicViT: a small learned predictor scores the patches; the best stay.

Rao et al., 2021, arXiv:2106.02034. Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
In training no token leaves: a straight-through Gumbel softmax draws who stays, and those who do not have mass 0.
The published 1e-6 is added to the mean of the global features, not to its denominator.
Departs: nothing.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ..core.plan import Plan, positions, select
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from .registry import register


@register("dynamicvit")
class DynamicViT(Reducer):
    """Keep the best by the predictor's first logit."""

    site = "before_block"
    trained = True
    policy = True
    portable = True
    paper = "arXiv:2106.02034"
    look = Look("DynamicViT", "#5aa5dc", "^")

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        dim = stage.dim  # the parameters carry the published names
        self.in_conv = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )

    def predict(self, tokens: Tensor, mass: Tensor | None) -> Tensor:
        """(B, N, C) -> (B, N, 2): log-probabilities of staying and of leaving."""
        local, shared = self.in_conv(tokens).chunk(2, dim=-1)
        if mass is None:
            mean = shared.mean(1, keepdim=True) + 1e-6
        else:
            stays = mass.unsqueeze(-1)
            mean = (shared * stays).sum(1, keepdim=True) / stays.sum(1, keepdim=True).clamp(min=1e-6) + 1e-6
        layers: list[Any] = [*self.out_conv]
        first, *others = layers
        own, common = first.weight.chunk(2, dim=1)  # the mean is the same for all tokens, so its product is made once
        hidden = functional.linear(local, own) + functional.linear(mean, common, first.bias)
        for layer in others:
            hidden = layer(hidden)
        return hidden.log_softmax(-1)

    def forward(self, view: View) -> Plan:
        scores = self.predict(view.tokens, view.mass)
        if not self.training:
            return select(view, scores[..., 0].topk(view.keep).indices)
        policy = functional.gumbel_softmax(scores, hard=True)[..., 0]
        policy = policy if view.mass is None else policy * view.mass
        everyone = positions(len(policy), policy.shape[1], policy.device)
        here = everyone.masked_fill(policy == 0, -1)
        return Plan(here, here, mass=policy, source=everyone)
