"""timm's NaFlexVit: patches of pictures of any shape, of which a batch may hold several (SigLIP 2, RADIO).

A plain batch of images goes as through any host. A batch of timm's NaFlex loader holds pictures of several grids,
padded to one length. Padding is no token: the pictures of each grid are walked apart and without it, so that no reducer
meets it, keep rates are of a picture's own patches, and patterns do not depend on what else is in the batch. timm's own
forward over the padded batch gives the same but for rounding.

What is relied on inside timm, and guarded by the identity test over every registered name: `_forward_embeds` of the
model, and of its `embeds` the projection of whole patches, row by row.

Shapes: B images, N patches with padding, T tokens with the prefix, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from timm.models.naflexvit import NaFlexEmbeds, NaFlexVit
from torch import Tensor, nn

from ..core.beginning import Beginning
from ..core.host import Tokens, host
from ..core.reduced_vit import ReducedViT
from ..core.trace import Part, RaggedTrace
from ..errors import BadInput
from .timm_vit import TimmVisionTransformer

PARTS = ("patches", "patch_coord", "patch_valid")


class ReducedNaFlex(ReducedViT):
    """A reduced NaFlexVit, which takes images or the batches of timm's NaFlex loader.

    Examples:
        model = tokenlens.reduce(timm.create_model("naflexvit_base_patch16_siglip"), "tome")
        for batch, labels in timm.data.create_naflex_loader(...):
            logits, trace = model.trace(batch)  # trace.kept on the largest grid, trace.valid: (B, P) bool
    """

    def forward(self, images: Tensor | Mapping[str, Tensor]) -> Tensor:
        """(B, 3, H, W), or a mapping of `patches`, `patch_coord` and `patch_valid` -> (B, classes)."""
        if isinstance(images, Tensor):
            return super().forward(images)
        walked = [(rows, super(ReducedNaFlex, self).forward(same)) for rows, same in self._apart(images)]
        return _in_order([rows for rows, _ in walked], [logits for _, logits in walked])

    def trace(  # type: ignore[override]
        self,
        images: Tensor | Mapping[str, Tensor],
        features: bool = False,
        soft: bool = False,
        begin: Beginning | None = None,
        attention: bool = False,
    ) -> tuple[Tensor, Any]:
        """As `ReducedViT.trace`; of a ragged batch with a `RaggedTrace`, and without a `begin`."""
        if isinstance(images, Tensor):
            return super().trace(images, features, soft, begin, attention)
        if soft or attention:
            what = "soft maps" if soft else "attention"
            raise BadInput(
                f"{what} of pictures of several shapes would have several sizes; ask for it of one shape each"
            )
        apart = self._apart(images)
        walked = [super(ReducedNaFlex, self).trace(same, features) for _, same in apart]
        parts = [
            Part(rows, self.host.grid_of(same.shape[-2:]), trace)
            for (rows, same), (_, trace) in zip(apart, walked, strict=True)
        ]
        return _in_order([rows for rows, _ in apart], [logits for logits, _ in walked]), RaggedTrace(parts)

    def _apart(self, batch: Mapping[str, Tensor]) -> list[tuple[list[int], Tensor]]:
        return pictures(batch, self.vit.embeds)


def _in_order(rows: list[list[int]], values: list[Tensor]) -> Tensor:
    first = torch.tensor([row for some in rows for row in some], device=values[0].device)
    return torch.cat(values)[first.argsort()]


def pictures(batch: Mapping[str, Tensor], embeds: Any) -> list[tuple[list[int], Tensor]]:
    """The pictures that a batch was cut from, those of one grid together.

    Args:
        batch: `patches` (B, N, patch values) or (B, N, rows, columns, channels), `patch_coord` (B, N, 2) whole numbers,
            row and column, and `patch_valid` (B, N) bool, as timm's NaFlex loader gives them.
        embeds: the model's, which says how patches are laid out.

    Returns:
        Which of the batch they are, and (b, channels, height, width).

    Raises:
        BadInput: parts are missing or of other shapes, or patches are no whole grid.
    """
    if missing := [part for part in PARTS if part not in batch]:
        raise BadInput(f"the batch lacks {', '.join(missing)}; give {', '.join(PARTS)}, as timm's NaFlex loader does")
    if batch.get("attn_mask") is not None:
        raise BadInput("the batch brings an attn_mask of its own, which would not follow the tokens; leave it out")
    patches, coord, valid = (batch[part] for part in PARTS)
    height, width = embeds.patch_size
    values = height * width * embeds.in_chans
    if patches.dim() not in (3, 5) or patches[0, 0].numel() != values:
        raise BadInput(
            f"patches are {tuple(patches.shape)}, and this model takes {height} x {width} pixels of {embeds.in_chans} "
            "channels each; give patches of its own size"
        )
    found: dict[tuple[int, int], tuple[list[int], list[Tensor]]] = {}
    for row, there in enumerate(valid.bool()):
        where = coord[row, there].long()
        grid = tuple((where.amax(0) + 1).tolist()) if len(where) else (0, 0)
        place = where[:, 0] * grid[1] + where[:, 1]
        every = torch.arange(grid[0] * grid[1], device=place.device)
        if not len(where) or not torch.equal(place.sort().values, every):
            raise BadInput(
                f"the {len(where)} patches of image {row} are no whole grid, as after dropping some of them; give all "
                "patches of a picture"
            )
        rows, cut = found.setdefault((grid[0], grid[1]), ([], []))
        rows.append(row)
        cut.append(patches[row, there][place.argsort()].flatten(1))
    return [(rows, _joined(torch.stack(cut), grid, embeds)) for grid, (rows, cut) in found.items()]


def _joined(patches: Tensor, grid: tuple[int, int], embeds: Any) -> Tensor:
    """(b, patches, values) -> (b, channels, height, width)."""
    height, width = embeds.patch_size
    if embeds.channels_last:
        parts = patches.unflatten(2, (height, width, -1)).unflatten(1, grid).permute(0, 5, 1, 3, 2, 4)
    else:
        parts = patches.unflatten(2, (-1, height, width)).unflatten(1, grid).permute(0, 3, 1, 4, 2, 5)
    return parts.flatten(4).flatten(2, 3)


@host("timm-naflex")
class TimmNaFlex(TimmVisionTransformer):
    """timm's NaFlexVit of plain blocks, on images or on ragged batches."""

    family = "timm NaFlex"
    supported = "timm's NaFlexVit made of plain pre-norm Blocks, without rotary positions (naflexvit_*)"
    modules = ("naflexvit",)
    embedding = NaFlexEmbeds
    reduced: Callable[..., ReducedViT] = ReducedNaFlex

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.has_class_token = model.has_class_token

    @staticmethod
    def recognises(model: object) -> bool:
        """A NaFlexVit itself."""
        return type(model) is NaFlexVit

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 patches."""
        small: nn.Module = timm.create_model(
            "naflexvit_base_patch16_gap", patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=10,
            pos_embed_grid_size=(8, 8), pretrained_cfg_overlay={"input_size": (3, 64, 64)},
        )  # fmt: skip
        return small

    @property
    def _embeds(self) -> Any:
        return self.model.embeds

    def _image(self) -> tuple[int, int, int]:
        """It takes images of any size; its own is what it was trained on, or as many patches as it has positions."""
        said = (getattr(self.model, "pretrained_cfg", None) or {}).get("input_size")
        grid, patch = self._embeds.pos_embed_grid_size or (16, 16), self._embeds.patch_size
        height, width = said[1:] if said else (grid[0] * patch[0], grid[1] * patch[1])
        return self._embeds.in_chans, height, width

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> tokens."""
        x = self.model._forward_embeds(images, None, None, None)["patches"]
        return Tokens(x, self.grid_of(images.shape[-2:]))

    def pooling(self, tokens: Any) -> Any:
        """Multiply-adds of a pool by attention, which leaves the prefix out."""
        return super().pooling(tokens if self.model.pool_include_prefix else tokens - self.prefix)
