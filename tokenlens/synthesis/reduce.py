"""Put a method into a diffusers pipeline: what is asked for, checked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..errors import BadInput
from ..methods import Method
from ..methods import method as method_named
from .denoiser import denoiser_of
from .reduced import ReducedDenoiser
from .tome_sd import TOME_SD


def method_of(name: str) -> Method:
    """A registered method, or ToMe-SD.

    Raises:
        BadInput: it cannot decide in a denoiser.
    """
    chosen = TOME_SD if name == TOME_SD.name else method_named(name)
    if chosen.reducer.trained:
        raise BadInput(f"{name} has parameters of its own, which nobody trained in a denoiser; take one without")
    if chosen.reducer.adaptive:
        raise BadInput(
            f"{name} leaves another number of tokens in every image, which a denoiser's attention cannot know"
        )
    return chosen


def reduce_denoiser(
    model: Any,
    method: str = "atc-average",
    *,
    ratio: float = 0.5,
    max_downsample: int = 1,
    attention: bool = True,
    cross_attention: bool = False,
    mlp: bool = False,
    seed: int = 0,
    record_steps: Collection[int] | None = (),
    **options: Any,
) -> ReducedDenoiser:
    """Put a token reduction method into a diffusers pipeline or its denoiser, until it is removed.

    Args:
        model: a pipeline, or its U-Net (`UNet2DConditionModel`: SD 1.x, 2.x, SDXL) or transformer of the same blocks
            (DiT, PixArt); its weights and classes stay as they are.
        method: a registered name without parameters of its own, or tome-sd.
        ratio: share of a block's tokens that is removed, from 0 to below 1: N - int(N ratio) stay.
        max_downsample: reduce in blocks whose grid is at most so many times coarser than the finest; 1: those of full
            resolution.
        attention: around self-attention.
        cross_attention: around cross-attention too.
        mlp: around the MLP too.
        seed: of whatever is drawn at random.
        record_steps: calls of the denoiser, from 0 on, whose patterns are kept for `take`; None: all.
        **options: of the method.

    Raises:
        BadInput: a model that is not understood or is reduced already, an unknown method or option, a ratio that
            cannot be.
    """
    denoiser = denoiser_of(model)
    if not isinstance(ratio, int | float) or not 0 <= ratio < 1:
        raise BadInput(
            f"the ratio is {ratio!r}; it is the share of tokens that is removed, from 0 to below 1, as in 0.5"
        )
    if max_downsample < 1:
        raise BadInput(f"max_downsample is {max_downsample}; 1 reduces at full resolution, 2 one level below too")
    if any(
        getattr(hook, "__self__", None).__class__ is ReducedDenoiser for hook in denoiser._forward_pre_hooks.values()
    ):
        raise BadInput(f"this {type(denoiser).__name__} is reduced already; remove that first, or use `with`")
    layers = [name for name, on in (("attn1", attention), ("attn2", cross_attention), ("ff", mlp)) if on]
    if not layers:
        raise BadInput("there is no layer to merge around; leave attention on, or say cross_attention or mlp")
    chosen = method_of(method)
    settings = chosen.options(options)
    if chosen.reducer.family == "none":
        ratio = 0.0
    return ReducedDenoiser(denoiser, chosen, settings, ratio, max_downsample, layers, seed, record_steps)
