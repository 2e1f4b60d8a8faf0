"""timm's hybrids, as R + ViT and ViTamin: the patches are places of a convolutional network's feature map."""

from __future__ import annotations

import copy
from functools import cached_property

import timm
import torch
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..core.host import host
from .timm_vit import TimmVisionTransformer


@host("timm-hybrid")
class TimmHybrid(TimmVisionTransformer):
    """timm's VisionTransformer over the feature map of a convolutional network, whose grid is the patches'."""

    family = "timm hybrid"
    supported = "timm's VisionTransformer of plain Blocks over a HybridEmbed (vit_*_r*_*, vitamin_*, vit_base_mci_224)"
    embedding = HybridEmbed
    modules = ("vision_transformer_hybrid", "vitamin")

    @staticmethod
    def recognises(model: object) -> bool:
        """A VisionTransformer that makes its patches with a HybridEmbed."""
        return type(model) is VisionTransformer and type(model.patch_embed) is HybridEmbed

    @staticmethod
    def example() -> nn.Module:
        """Four blocks of 32 channels over 8 x 8 places of a small stem."""
        small: nn.Module = timm.create_model(
            "vit_tiny_r_s16_p8_224", img_size=64, patch_size=2, embed_dim=32, depth=4, num_heads=2, num_classes=10
        )
        return small

    def _image(self) -> tuple[int, int, int]:
        return (self._embeds.in_chans, *self._embeds.img_size)

    @cached_property
    def _embedding(self) -> float:
        """Multiply-adds of the network and the projection, as torch counts them without computing anything."""
        nowhere = copy.deepcopy(self.model.patch_embed).to("meta").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            nowhere(torch.empty(1, *self.image, device="meta", dtype=next(nowhere.parameters()).dtype))
        return counter.get_total_flops() / 2
