"""A reduced vision tower of transformers, as a module that is called as the library's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..core.reduced_vit import ReducedViT
from ..errors import BadInput

if TYPE_CHECKING:
    from .hf_vision import HfVision


class ReducedTower(ReducedViT):
    """A reduced model that is called as the library's own, and gives the library's own output class.

    Examples:
        model = tokenlens.reduce(Dinov2ForImageClassification.from_pretrained(...), "topk")
        logits = model(**processor(pictures, return_tensors="pt")).logits
    """

    host: HfVision  # type: ignore[assignment]

    def forward(  # type: ignore[override]
        self, pixel_values: Tensor, output_attentions: bool = False, output_hidden_states: bool = False, **named: Any
    ) -> Any:
        """(B, 3, H, W) -> what the library's forward returns; `named` are its other arguments, as labels."""
        if output_attentions:
            raise BadInput(
                f"{self.host.name} does not give attentions when it is reduced: SDPA never forms them, and eager "
                "attention, which does, takes T x T numbers for each head and layer; ask the un-reduced model"
            )
        if output_hidden_states:
            raise BadInput(
                f"{self.host.name} has layers of different lengths when it is reduced; hook on to its layers, or take "
                "class tokens by trace(images, features=True)"
            )
        return self.host.output(self.forward_features(pixel_values), **named)

    @property
    def num_classes(self) -> int:
        """Of the model; 0 for a tower without a classifier."""
        return self.host.classes

    @property
    def num_features(self) -> int:
        """Channels of a token."""
        return self.host.width
