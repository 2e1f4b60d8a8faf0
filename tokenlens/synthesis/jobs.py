"""Synthesis: prompts in, pictures and what was merged to make them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import BadInput, needed
from ..extraction.reduced_models import device_of
from ..records.out import check_folder
from .pipelines import NANO, open_pipeline
from .prompts import prompts_of
from .reduce import method_of, reduce_denoiser
from .task import Synthesized, Task, describe


@dataclass
class Synthesis:
    """What `tokenlens synthesize` was asked for; the fields are its options."""

    pipeline: str = NANO
    methods: Sequence[str] = ("atc-average",)
    ratios: Sequence[float] = (0.5,)
    options: Sequence[str] = ()
    max_downsample: int = 1
    cross_attention: bool = False
    mlp: bool = False
    prompts: str | None = None
    """None: those of the study; shapes for nano, imagenet for others"""
    per_class: int = 2
    limit: int | None = None
    steps: int | None = None
    """None: the pipeline's own default, as with guidance"""
    guidance: float | None = None
    seed: int = 0
    batch_size: int = 1
    record_steps: Sequence[int] | None = None
    """calls of the denoiser whose patterns are recorded; None: all; empty: none"""
    device: str = "auto"
    precision: str = "auto"
    out: Path = Path("images")
    progress: bool = True

    def run(self) -> Iterator[str]:
        """Do it; yields a line for each method and ratio as it ends."""
        for result in self.results():
            yield describe(result)

    def results(self) -> Iterator[Synthesized]:
        """Do it; yields what each method and ratio amounts to. Everything is checked before the first picture."""
        check_folder(self.out, "pictures")
        needed("diffusers", "synthesis", "image synthesis").utils.logging.set_verbosity_error()
        device = device_of(self.device)
        half = self.precision == "float16" or (self.precision == "auto" and device.type == "cuda")
        planned = plan_methods(self.methods, self.ratios)
        prompts = prompts_of(self.prompts or ("shapes" if self.pipeline.partition(":")[0] == NANO else "imagenet"))
        pictures = prompts.pictures(self.per_class, self.limit)
        opened = open_pipeline(self.pipeline, device, torch.float16 if half else torch.float32)
        for name, ratio in planned:
            options = method_of(name).parse(self.options)
            with reduce_denoiser(
                opened.pipe, name, ratio=ratio, max_downsample=self.max_downsample,
                cross_attention=self.cross_attention, mlp=self.mlp, seed=self.seed, record_steps=(0,), **options,
            ) as reduced:  # fmt: skip
                yield Task(self, opened, reduced, prompts, pictures, device, "float16" if half else "float32").run()


def plan_methods(methods: Sequence[str], ratios: Sequence[float]) -> list[tuple[str, float]]:
    """Each method with each ratio; the un-reduced model once, at 0.

    Raises:
        BadInput: there are none, a method that cannot decide in a denoiser, or a ratio that cannot be.
    """
    if not methods or not ratios:
        raise BadInput("no method or no ratio is given; for example --method atc-average --ratio 0.5")
    if bad := [ratio for ratio in ratios if not 0 <= ratio < 1]:
        raise BadInput(f"the ratio is {bad[0]:g}; it is the share of tokens removed, from 0 to below 1, as in 0.5")
    pairs = [(name, 0.0 if method_of(name).reducer.family == "none" else r) for name in methods for r in ratios]
    return list(dict.fromkeys(pairs))
