"""Speed of a diffusion model whose tokens are merged, beside the un-reduced one; in turns, as `bench` does of ViTs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..errors import needed
from ..extraction.reduced_models import device_of
from ..records import tables as table
from ..synthesis.jobs import plan_methods
from ..synthesis.pipelines import NANO, Opened, open_pipeline
from ..synthesis.prompts import prompts_of
from ..synthesis.reduce import method_of, reduce_denoiser
from .timing import machine_note, measured

TABLE = "bench_pipeline"
SETTING = ("model", "steps", "guidance", "batch_size", "precision", "device", "threads", "machine")
KEY = (*SETTING, "method", "ratio")


@dataclass
class PipelineBench:
    """What `tokenlens bench --pipeline` was asked for; the fields are its options."""

    pipeline: str = NANO
    methods: Sequence[str] = ("atc-average",)
    ratios: Sequence[float] = (0.5,)
    options: Sequence[str] = ()
    steps: int = 4
    """of the scheduler, in each turn: the first are as dear as the last"""
    batch_sizes: Sequence[int] = (1,)
    threads: int | None = None
    repeats: int = 10
    warmup: int = 1
    device: str = "auto"
    seed: int = 0
    out: Path = Path("results")
    csv: bool = False
    progress: bool = True

    def run(self) -> Iterator[str]:
        """Do it; yields lines on each batch size, whose rows are then in the table; see `frames`."""
        for frame in self.frames():
            yield from lines(frame)

    def frames(self) -> Iterator[pd.DataFrame]:
        """Do it; yields the rows of each batch size, which are then in the table. All is checked before it begins.

        Raises:
            BadInput: a pipeline, method, option or ratio that cannot be.
        """
        needed("diffusers", "synthesis", "image synthesis").utils.logging.set_verbosity_error()
        device = device_of(self.device)
        planned = [("none", 0.0), *(one for one in plan_methods(self.methods, self.ratios) if one[0] != "none")]
        for name, _ in planned[1:]:
            method_of(name).parse(self.options)
        table.check_out(self.out)
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        opened = open_pipeline(self.pipeline, device, dtype)
        if self.threads:
            torch.set_num_threads(self.threads)
        for size in dict.fromkeys(self.batch_sizes):
            setting = {
                "model": opened.name, "steps": self.steps, "guidance": opened.guidance, "batch_size": size,
                "precision": str(dtype).removeprefix("torch."), "device": device.type,
                "threads": torch.get_num_threads(), "machine": machine_note(device),
            }  # fmt: skip
            yield self.measure(opened, planned, device, setting)

    def measure(
        self, opened: Opened, planned: Sequence[tuple[str, float]], device: torch.device, setting: dict[str, Any]
    ) -> pd.DataFrame:
        """All methods in turns, into the table; when it is stopped, the rounds that are complete."""
        texts = prompts_of("shapes" if opened.name == NANO else "imagenet").texts

        def draw(which: int, seed: int) -> float:
            name, ratio = planned[which]
            options = method_of(name).parse(self.options) if which else {}
            prompts = [texts[(seed + one) % len(texts)] for one in range(setting["batch_size"])]
            with reduce_denoiser(opened.pipe, name, ratio=ratio, seed=self.seed, **options) as reduced:
                opened.pipe(
                    prompt=prompts, num_inference_steps=self.steps, output_type="latent",
                    generator=torch.Generator().manual_seed(self.seed + seed),
                )  # fmt: skip
            return reduced.seconds

        calls = [partial(draw, which) for which in range(len(planned))]

        def keep(taken: NDArray[Any], spent: NDArray[Any]) -> pd.DataFrame:
            frame = rows(planned, taken, spent, setting)
            table.merge(frame, self.out, TABLE, KEY, self.csv)
            return frame

        return measured(calls, self.repeats, self.warmup, device, self.progress, keep)


def rows(
    planned: Sequence[tuple[str, float]], taken: NDArray[Any], deciding: NDArray[Any], setting: dict[str, Any]
) -> pd.DataFrame:
    """The rows of one setting; taken and deciding (repeats, methods) are in seconds, the first un-reduced."""
    low, middle, high = np.quantile(setting["steps"] * setting["batch_size"] / taken, [0.25, 0.5, 0.75], axis=0)
    return pd.DataFrame({
        **setting, "method": [name for name, _ in planned], "ratio": [ratio for _, ratio in planned],
        "repeats": len(taken), "steps_per_second": middle, "low": low, "high": high,
        "deciding": np.median(deciding / taken, axis=0), "speedup": np.median(taken[:, :1] / taken, axis=0),
    })  # fmt: skip


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """One setting for a person to read."""
    one = frame.iloc[0]
    yield (
        f"{one['model']}, {one['steps']} steps, guidance {one['guidance']:g}, batch {one['batch_size']}, "
        f"{one['precision']}, {one['device']}, {one['threads']} thread(s), {one['machine']}; median of "
        f"{one['repeats']}, quartiles in brackets; deciding: what of a step goes into what to merge"
    )
    yield f"{'method':16}{'ratio':>6}{'steps/s':>28}{'deciding':>10}{'speed-up':>10}"
    for row in frame.to_dict("records"):
        spread = f"{row['steps_per_second']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        share = f"{100 * row['deciding']:.0f} %" if row["ratio"] else "-"
        yield f"{row['method']:16}{row['ratio']:>6g}{spread:>28}{share:>10}{row['speedup']:>10.2f}"
