"""A small U-Net of diffusers with decided opinions, and latents for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")


@pytest.fixture(scope="session")
def unet() -> Any:
    """Three grids, 64, 16 and 4 tokens of square latents of 8 x 8; three blocks at full resolution, of seven."""
    torch.manual_seed(0)
    made = diffusers.UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=12,
        attention_head_dim=2,
    )
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return made.eval()


@pytest.fixture(scope="session")
def call(unet: Any) -> Callable[..., Tensor]:
    """One call of it, of latents (B, 4, H, W) or the same two latents each time."""
    context = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(2))

    @torch.no_grad()
    def made(latents: Tensor | None = None) -> Tensor:
        given = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)) if latents is None else latents
        result: Tensor = unet(given, 500, encoder_hidden_states=context.expand(len(given), -1, -1)).sample
        return result

    return made
