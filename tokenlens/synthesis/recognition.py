"""What the embedded ViT `nano` makes of pictures of the embedded set: classes, and features to compare sets of them by.

Shapes: B pictures.
"""

from __future__ import annotations

from functools import cache

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ..weights import ARCHITECTURE, NANO, nano_path

SIDE: int = NANO["img_size"]


@cache
def _judge(device: torch.device) -> nn.Module:
    vit = timm.create_model(ARCHITECTURE, **NANO)
    vit.load_state_dict(load_file(nano_path()))
    return vit.eval().to(device)


@torch.inference_mode()
def recognise(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Look at pictures of any size, (B, 3, H, W) uint8.

    Returns:
        Features (B, 64) float32, the pooled tokens before the head, and the classes (B,) int64 that it tells.
    """
    judge = _judge(pictures.device)
    resized = functional.interpolate(pictures.float(), (SIDE, SIDE), mode="bicubic", antialias=True)
    tokens = judge.forward_features(resized.clamp(0, 255) / 127.5 - 1)  # type: ignore[operator]
    features = judge.forward_head(tokens, pre_logits=True)  # type: ignore[operator]
    return features, judge.head(features).argmax(-1)  # type: ignore[operator]
