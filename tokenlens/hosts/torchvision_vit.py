"""torchvision's VisionTransformer, which SWAG's published weights are for (arXiv:2201.08371).

Shapes: B images, T tokens with the prefix, C channels.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.vision_transformer import EncoderBlock, VisionTransformer

from ..core.host import Tokens, host, name_of
from ..errors import BadInput, UnknownName
from .multihead import MultiheadViT, SplitBlock, configuration
from .state_dicts import State


class SplitEncoderBlock(SplitBlock, EncoderBlock):
    """torchvision's EncoderBlock."""

    attended, after = "self_attention", ("dropout", None)


@host("torchvision-vit")
class TorchvisionViT(MultiheadViT):
    """torchvision's VisionTransformer with a plain patch embedding."""

    family = "torchvision ViT"
    supported = "torchvision's VisionTransformer (torchvision:vit_b_16 ..., with ImageNet's or SWAG's weights)"
    library = "torchvision"
    split = SplitEncoderBlock

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, name_of(model)
        if not isinstance(model.conv_proj, nn.Conv2d):
            raise BadInput(
                f"{self.name} makes its patches with a stem of several convolutions, not with one; supported: "
                f"{self.supported}"
            )
        self.layers, self.width, self.classes = model.encoder.layers, model.hidden_dim, model.num_classes
        side = model.image_size // model.patch_size
        self.grid, self.image = (side, side), (3, model.image_size, model.image_size)

    @staticmethod
    def recognises(model: object) -> bool:
        """Torchvision's class itself; subclasses run their blocks otherwise."""
        return type(model) is VisionTransformer

    @classmethod
    def names(cls) -> list[str]:
        """As torchvision lists them."""
        return [f"{cls.library}:{name}" for name in list_models(include="vit_*")]

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 patches."""
        return VisionTransformer(64, 8, num_layers=4, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10)

    @staticmethod
    def open(name: str, pretrained: bool, classes: int = 1000) -> nn.Module:
        """A model by torchvision's name, with its weights' tag after a dot: `vit_b_16.swag_e2e_v1`.

        Args:
            name: of torchvision; without a tag it has torchvision's default weights.
            pretrained: with the weights that torchvision publishes.
            classes: of a model without.

        Raises:
            UnknownName: no such model, or no such weights of it.
        """
        bare, _, tag = name.partition(".")
        names = list_models(include="vit_*")
        if bare not in names:
            raise UnknownName("model", f"torchvision:{name}", [f"torchvision:{known}" for known in names])
        weights = get_model_weights(bare)
        tags = {one.name.lower().removeprefix("imagenet1k_"): one for one in weights}
        if tag and tag not in tags:
            raise UnknownName("weights", f"torchvision:{name}", [f"torchvision:{bare}.{known}" for known in tags])
        chosen: Any = tags[tag] if tag else weights.DEFAULT  # type: ignore[attr-defined]
        seen = chosen.transforms()
        (size,), (resized,) = seen.crop_size, seen.resize_size
        model: Any = (
            get_model(bare, weights=chosen) if pretrained else get_model(bare, image_size=size, num_classes=classes)
        )
        model.pretrained_cfg = configuration(
            f"torchvision:{name}", (size, size), seen.mean, seen.std,
            interpolation=seen.interpolation.value, crop_pct=size / resized,
        )  # fmt: skip
        return model

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens; the size is the model's own."""
        model = self.model
        x = model._process_input(images)
        x = torch.cat([model.class_token.expand(len(x), -1, -1), x], 1)
        return Tokens(model.encoder.dropout(x + model.encoder.pos_embedding), self.grid)

    def finish(self, x: Tensor, mass: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C) after the last norm; only the class token is read on."""
        out: Tensor = self.model.encoder.ln(x)
        return out

    def head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, T, C) -> (B, classes)."""
        logits: Tensor = features[:, 0] if pre_logits else self.model.heads(features[:, 0])
        return logits

    def grid_of(self, size: Any) -> tuple[int, int]:
        """Rows and columns of patches of images of (height, width)."""
        return size[0] // self.model.patch_size, size[1] // self.model.patch_size


def from_swag(state: State, heads: int) -> nn.Module:
    """Torchvision's model with weights as SWAG's own code saves them, whose shapes say all but the heads.

    Args:
        state: `class_token`, `conv_proj.*`, `encoder.*` and `head.layers.head.*`, positions (T, 1, C).
        heads: of an attention.

    Examples:
        >>> state = torch.load("vit_B16_in1k.torch", weights_only=True)  # doctest: +SKIP
        >>> model = from_swag(state, heads=12)  # doctest: +SKIP
    """
    width, _, patch, _ = state["conv_proj.weight"].shape
    blocks = [int(found[1]) for name in state if (found := re.match(r"encoder\.layers\.layer_(\d+)\.", name))]
    side = round((len(state["encoder.pos_embedding"]) - 1) ** 0.5)
    model = VisionTransformer(
        side * patch,
        patch,
        num_layers=1 + max(blocks),
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=len(state["encoder.layers.layer_0.mlp.linear_1.bias"]),
        num_classes=len(state["head.layers.head.bias"]),
    )
    theirs = {"layers.layer_": "layers.encoder_layer_", "linear_1": "0", "linear_2": "3", "head.layers": "heads"}
    ours = {}
    for name, value in state.items():
        for word, other in theirs.items():
            name = name.replace(word, other)
        ours[name] = value.transpose(0, 1) if name == "encoder.pos_embedding" else value
    model.load_state_dict(ours)
    return model.eval()
