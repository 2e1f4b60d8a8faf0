"""Which diffusion models are understood, and where in them tokens can be reduced."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadInput, needed

SUPPORTED = ("UNet2DConditionModel", "DiTTransformer2DModel", "PixArtTransformer2DModel")
ORDER = ("down_blocks", "mid_block", "up_blocks")  # in which a U-Net runs its parts


def is_diffusers(given: object) -> bool:
    """Is it a model or a pipeline of diffusers, or of a class made from one?"""
    return any(kind.__module__.partition(".")[0] == "diffusers" for kind in type(given).__mro__)


def denoiser_of(given: Any) -> nn.Module:
    """What a pipeline calls at every step, or the model itself.

    Raises:
        BadInput: it has no part that is understood; it is refused by name.
    """
    diffusers = needed("diffusers", "synthesis", "merging inside a diffusion model")
    parts = [given, getattr(given, "unet", None), getattr(given, "transformer", None)]
    kinds = tuple(getattr(diffusers, name) for name in SUPPORTED)
    for part in parts:
        if isinstance(part, kinds):
            return part  # type: ignore[no-any-return]
    named = [type(part).__name__ for part in parts if isinstance(part, nn.Module)]
    raise BadInput(
        f"{type(given).__name__} denoises with {', '.join(named) or 'no network that is known here'}, whose blocks "
        f"tokenlens does not understand; supported: {', '.join(SUPPORTED)} and pipelines of these"
    )


def blocks_of(denoiser: nn.Module) -> dict[str, nn.Module]:
    """The transformer blocks by name, in the order in which they run.

    Raises:
        BadInput: there are none.
    """
    kind = needed("diffusers.models.attention", "synthesis", "a transformer block").BasicTransformerBlock
    found = {name: module for name, module in denoiser.named_modules() if isinstance(module, kind)}
    if not found:
        raise BadInput(
            f"this {type(denoiser).__name__} has no transformer blocks, so no tokens to reduce; give a model with "
            "attention, such as Stable Diffusion's"
        )

    def part(name: str) -> int:
        first = name.partition(".")[0]
        return ORDER.index(first) if first in ORDER else 0

    return {name: found[name] for name in sorted(found, key=part)}  # a stable sort: inside a part modules lie in order


def finest_grid(denoiser: nn.Module, sample: Tensor) -> tuple[int, int]:
    """Rows and columns of tokens at full resolution, of latents (B, C, H, W)."""
    side = getattr(denoiser.config, "patch_size", None) or 1  # type: ignore[union-attr]
    return sample.shape[-2] // side, sample.shape[-1] // side  # type: ignore[operator]


def coarsened(finest: tuple[int, int], tokens: int) -> tuple[int, tuple[int, int]]:
    """How many times coarser than the finest grid a block's is that has so many tokens, and its rows and columns.

    Raises:
        BadInput: no such grid has so many tokens.
    """
    rows, columns = finest
    factor = math.ceil(math.sqrt(rows * columns // tokens))
    grid = math.ceil(rows / factor), math.ceil(columns / factor)
    if grid[0] * grid[1] != tokens:
        raise BadInput(
            f"a block has {tokens} tokens, which is no coarser grid of {rows} x {columns} latents; "
            "give sides that can be halved as often as the model halves them"
        )
    return factor, grid


def on_finest(values: Tensor, factor: int, finest: tuple[int, int]) -> Tensor:
    """(B, N) of a coarser grid -> (B, P): each patch has what the token over it has; (B,) as they are."""
    if values.dim() == 1 or factor == 1:
        return values
    rows, columns = (torch.arange(side, device=values.device) // factor for side in finest)
    wide = -(-finest[1] // factor)
    return values[:, (rows[:, None] * wide + columns).flatten()]
