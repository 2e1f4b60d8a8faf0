"""What a reduction could give at best in practice: the host's own blocks, at the tokens that were left.

GFLOPs promise more than a machine gives: small matrices, norms and softmaxes do not shrink with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.plan import Plan, positions
from ..core.reduced_vit import ReducedViT


class Ideal(nn.Module):
    """A reduced model whose reducers cost nothing: the first tokens stay, by a slice.

    Examples:
        >>> import timm, torch, tokenlens
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=4, img_size=64).eval()
        >>> Ideal(tokenlens.reduce(vit, "tome", 0.5, (1, 2)), [8, 4])(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 1000])
    """

    def __init__(self, model: ReducedViT, left: Sequence[int]) -> None:
        """`left`: patch tokens after each stage of the model."""
        super().__init__()
        self.host = model.host
        self.left = dict(zip(model.blocks, left, strict=True))
        self.site = model.reducer(model.blocks[0]).site
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes): of no meaning, but for the time that it takes."""
        host, tokens = self.host, self.host.embed(images)
        x, places = tokens.x, tokens.positions
        for i in range(host.blocks):
            stays, before = self.left.get(i, x.shape[1] - host.prefix), places

            def cut(x: Tensor, stays: int = stays) -> Tensor:
                return x[:, : host.prefix + stays]

            if places is not None and stays < x.shape[1] - host.prefix:
                places = places.carried(_first(x.shape[0], x.shape[1] - host.prefix, stays, x.device), x, "auto")
            if i not in self.left:
                x = host.block(i, x, None, before)
            elif self.site == "after_attention":
                x = host.block(i, x, None, before, between=cut)
            elif self.site == "after_block":
                x = cut(host.block(i, x, None, before))
            else:
                x = host.block(i, cut(x), None, places)
        return host.head(host.finish(x, None))


def _first(batch: int, there: int, stays: int, device: torch.device) -> Plan:
    """The plan by which the first tokens stay."""
    everyone = positions(batch, there, device)
    return Plan(everyone[:, :stays], everyone.where(everyone < stays, -1))
