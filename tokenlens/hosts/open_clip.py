"""open_clip's vision tower, `visual` of its CLIP models, where it is its own VisionTransformer.

The towers that open_clip takes from timm are timm's: `visual.trunk`.

Shapes: B images, T tokens with the prefix, C channels.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn

from ..core.host import Tokens, host, name_of
from ..errors import BadInput, UnknownName
from .multihead import MultiheadViT, SplitBlock, configuration

EXTRA = "open_clip is not installed, which open_clip:{} needs; install it with: pip install 'tokenlens-vit[hosts]'"


@cache
def split_block() -> type[SplitBlock]:
    """open_clip's ResidualAttentionBlock, which is imported when one is there."""
    from open_clip.transformer import ResidualAttentionBlock

    return type(
        "SplitResidualBlock", (SplitBlock, ResidualAttentionBlock), {"attended": "attn", "after": ("ls_1", "ls_2")}
    )


@host("open-clip")
class OpenClip(MultiheadViT):
    """open_clip's VisionTransformer of plain pre-norm blocks; it gives the image's embedding."""

    family = "open_clip tower"
    supported = (
        "open_clip's VisionTransformer, `visual` of its CLIP models (open_clip:ViT-B-16, with :TAG of its weights)"
    )
    library = "open_clip"
    classes = 0

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, name_of(model)
        self.split = split_block()
        self.layers, self.width = model.transformer.resblocks, model.conv1.out_channels
        self.grid, self.image = model.grid_size, (3, *model.image_size)
        plain = {self.split, *self.split.__bases__}
        for i, block in enumerate(self.layers):
            if type(block) not in plain or not block.attn.batch_first:
                raise BadInput(
                    f"block {i} of {self.name} is a {type(block).__name__}, not the plain ResidualAttentionBlock with "
                    f"the batch first; supported: {self.supported}"
                )
        if not isinstance(model.patch_dropout, nn.Identity):
            raise BadInput(f"{self.name} drops random patches; create it with force_patch_dropout=0")
        if model.output_tokens:
            raise BadInput(f"{self.name} gives all tokens beside its embedding; set its output_tokens to False")

    @staticmethod
    def recognises(model: object) -> bool:
        """open_clip's class itself."""
        return f"{type(model).__module__}.{type(model).__name__}" == "open_clip.transformer.VisionTransformer"

    @classmethod
    def names(cls) -> list[str]:
        """None: open_clip lists its models itself, and which of them are its own towers shows when they are made."""
        return []

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 patches."""
        from open_clip.transformer import VisionTransformer

        made: nn.Module = VisionTransformer(64, 8, width=32, layers=4, heads=2, mlp_ratio=2.0, output_dim=10)
        return made

    @staticmethod
    def open(name: str, pretrained: bool, classes: int = 0) -> nn.Module:
        """The vision tower of a model by open_clip's name, with the tag of its weights after a colon.

        Args:
            name: as in `ViT-B-16:laion2b_s34b_b88k`; without a tag the first that open_clip lists.
            pretrained: with those weights.
            classes: it has none.

        Raises:
            UnknownName: no such model, or no such weights of it.
            BadInput: the extra is missing, or its tower is another, such as a convolutional one.
        """
        try:
            import open_clip
        except ImportError as error:
            raise BadInput(EXTRA.format(name)) from error
        bare, _, tag = name.partition(":")
        if bare not in open_clip.list_models():
            raise UnknownName("model", f"open_clip:{name}", [f"open_clip:{one}" for one in open_clip.list_models()])
        tags = open_clip.list_pretrained_tags_by_model(bare)
        if tag and tag not in tags:
            raise UnknownName("weights", f"open_clip:{name}", [f"open_clip:{bare}:{one}" for one in tags])
        if pretrained and not tags:
            raise BadInput(f"open_clip publishes no weights of {bare}; give --weights random, or another model")
        clip = open_clip.create_model(
            bare, pretrained=(tag or tags[0]) if pretrained else None, load_weights=pretrained, pretrained_text=False
        )
        seen, model = clip.visual.preprocess_cfg, clip.visual
        if not OpenClip.recognises(model):
            trunk = getattr(model, "trunk", None)
            kind = f"a {type(model).__name__}" if trunk is None else f"timm's {type(trunk).__name__}"
            way = "take one of its ViTs" if trunk is None else "give its visual.trunk to tokenlens.reduce"
            raise BadInput(
                f"open_clip:{bare} looks at images with {kind}, not with open_clip's own VisionTransformer; {way}"
            )
        model.pretrained_cfg = configuration(
            f"open_clip:{name}", model.image_size, seen["mean"], seen["std"],
            interpolation=seen["interpolation"], crop_mode="squash" if seen["resize_mode"] == "squash" else "center",
        )  # fmt: skip
        model.num_classes = 0
        return model

    def _recomputes(self) -> bool:
        return bool(self.model.transformer.grad_checkpointing)

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens; the size is the model's own."""
        return Tokens(self.model._embeds(images), self.grid)

    def finish(self, x: Tensor, mass: Tensor | None) -> Tensor:
        """(B, T, C) as they are: open_clip norms before or after its pool, as it pools."""
        if mass is not None and self.model.pool_type != "tok" and bool((mass == 0).any()):
            raise BadInput(f"{self.name} pools all tokens, which would see padding; use a method that does not pad")
        return x

    def head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, T, C) -> (B, embedding): pooled and projected."""
        pooled: Tensor = self.model._pool(features)[0]
        return pooled if pre_logits or self.model.proj is None else pooled @ self.model.proj

    def grid_of(self, size: Any) -> tuple[int, int]:
        """Rows and columns of patches of images of (height, width)."""
        return size[0] // self.model.patch_size[0], size[1] // self.model.patch_size[1]

    def flops_around(self) -> float:
        """Multiply-adds of patch embedding and projection."""
        return super().flops_around() + (0 if self.model.proj is None else self.model.proj.numel())
