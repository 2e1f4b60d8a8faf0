"""Leaving patches out at random while a backbone learns, which is several times cheaper and costs little accuracy.

Source: Liu et al., PatchDropout, 2022, arXiv:2208.07220; Li et al., 2023, arXiv:2212.00794. timm's module does it.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers.patch_dropout import PatchDropout

from ..core.reduced_vit import ReducedViT
from ..errors import BadInput


class Dropping:
    """How many patches are left out at every step: a function of the step alone, as is the learning rate."""

    def __init__(self, model: ReducedViT, shares: Sequence[float], steps: int) -> None:
        """`shares` of the patches, each for an equal span of `steps`; none: nothing is ever left out."""
        patches = model.patches
        if shares and min(model.schedule.keep(patches), default=patches) < patches:
            raise BadInput(
                "patches can be left out at random only where no method chooses among them; "
                "train with --method none, or set augment.patch_drop=[]"
            )
        self.shares, self.steps = shares, steps
        self.module = PatchDropout(0.0, model.host.prefix)
        if shares:
            model.vit.patch_drop = self.module

    def set(self, step: int) -> None:
        """Set the share of a step."""
        if self.shares:
            self.module.prob = self.shares[len(self.shares) * step // self.steps]
