"""Random draws that belong to an image and not to its batch: seeded by its pixels.

The two steps are NumPy's and zlib's, so `torch.compile` calls them as they are and does not look into them.

Shapes: B images, N tokens.
"""

import zlib

import numpy as np
import torch
from torch import Tensor


@torch.library.custom_op("tokenlens::content_hashes", mutates_args=())
def content_hashes(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B,) int64 on the CPU: one number for each image, from its pixels."""
    pixels = images.detach().float().cpu().contiguous().numpy()
    return torch.tensor([zlib.crc32(image.tobytes()) for image in pixels])


@torch.library.custom_op("tokenlens::uniform", mutates_args=())
def uniform(seeds: Tensor, count: int) -> Tensor:
    """(B, S) int64 on the CPU, the seed of each image -> (B, count) float32, uniform in [0, 1)."""
    rows = [np.random.default_rng(seed).random(count, dtype=np.float32) for seed in seeds.tolist()]
    return torch.from_numpy(np.stack(rows))


@content_hashes.register_fake
def _(images: Tensor) -> Tensor:
    return torch.empty(images.shape[0], dtype=torch.int64)


@uniform.register_fake
def _(seeds: Tensor, count: int) -> Tensor:
    return torch.empty(seeds.shape[0], count)
