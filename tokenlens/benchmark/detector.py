"""Speed of a detector whose tokens are merged, beside the un-reduced one; in turns, as `bench` does of ViTs.

Images are drawn scenes, stretched to the largest that the detector sees: 4,200 patches of the published ones.
"""

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

from ..data import open_data
from ..detection.checkpoints import UNTUNED, load_detector, name_of, tuned_for, untrained
from ..detection.mask_rcnn import MaskRCNN
from ..detection.preparing import batched
from ..detection.reducing import reduced_detector
from ..extraction.reduced_models import Reductions, device_of
from ..records import tables as table
from .timing import Stopwatch, machine_note, measured

TABLE = "bench_detector"
SETTING = ("model", "weights", "patches", "batch_size", "device", "threads", "machine")
KEY = (*SETTING, "method", "keep_rate")


@dataclass
class DetectorBench(Reductions):
    """What `tokenlens bench --detector` was asked for; the fields are its options."""

    detector: str = "nano"
    """as in `tokenlens detect`, or vit-adapter-tiny, -small or -base: with random weights, which find nothing"""
    heads: int | None = None
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

        What is not said is as the detector was fine-tuned, or else a default.

        Raises:
            BadInput: a detector, method, option or rate that cannot be.
        """
        yield from self.filled(tuned_for(self.detector) or UNTUNED)._frames()

    def _frames(self) -> Iterator[pd.DataFrame]:
        device = device_of(self.device)
        found = untrained(self.detector)
        whole = load_detector(self.detector, self.heads) if found is None else found
        asked = [(name, rate) for name in self.methods or () if name != "none" for rate in self.keep_rates]
        models = [
            reduced_detector(whole, name, rate, self.blocks or (), self.options, self.seed).to(device)
            for name, rate in [("none", 1.0), *asked]
        ]
        table.check_out(self.out)
        if self.threads:
            torch.set_num_threads(self.threads)
        planned = [("none", 1.0), *((name, float(np.mean(rate))) for name, rate in asked)]
        for size in dict.fromkeys(self.batch_sizes):
            setting = {
                "model": name_of(whole.config), "weights": "random" if found else self.detector, "batch_size": size,
                "device": device.type, "threads": torch.get_num_threads(), "machine": machine_note(device),
            }  # fmt: skip
            yield self.measure(models, planned, device, setting)

    def measure(
        self, models: Sequence[MaskRCNN], planned: Sequence[tuple[str, float]], device: torch.device,
        setting: dict[str, Any],
    ) -> pd.DataFrame:  # fmt: skip
        """All models in turns, into the table; when it is stopped, the rounds that are complete."""
        config, size = models[0].config, setting["batch_size"]
        scenes = open_data("embedded:scenes", limit=self.repeats * size)
        watches = [Stopwatch(model.backbone.reducers.values(), device) for model in models]
        patches = set()

        def detect(which: int, turn: int) -> float:
            drawn = [scenes.image(turn * size + one).resize((config.long, config.short)) for one in range(size)]
            images, frames = batched(drawn, config)
            patches.add(images.shape[2] * images.shape[3] // config.backbone.patch**2)
            watches[which].seconds = 0.0
            models[which](images.to(device), frames)
            return watches[which].seconds

        calls = [partial(detect, which) for which in range(len(models))]

        def keep(taken: NDArray[Any], spent: NDArray[Any]) -> pd.DataFrame:
            frame = rows(planned, taken, spent, {**setting, "patches": patches.pop()})
            table.merge(frame, self.out, TABLE, KEY, self.csv)
            return frame

        return measured(calls, self.repeats, self.warmup, device, self.progress, keep)


def rows(
    planned: Sequence[tuple[str, float]], taken: NDArray[Any], deciding: NDArray[Any], setting: dict[str, Any]
) -> pd.DataFrame:
    """The rows of one setting; taken and deciding (repeats, models) are in seconds, the first un-reduced."""
    low, middle, high = np.quantile(setting["batch_size"] / taken, [0.25, 0.5, 0.75], axis=0)
    return pd.DataFrame({
        **setting, "method": [name for name, _ in planned], "keep_rate": [rate for _, rate in planned],
        "repeats": len(taken), "images_per_second": middle, "low": low, "high": high,
        "deciding": np.median(deciding / taken, axis=0), "speedup": np.median(taken[:, :1] / taken, axis=0),
    })  # fmt: skip


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """One setting for a person to read."""
    one = frame.iloc[0]
    yield (
        f"{one['model']}, weights {one['weights']}, {one['patches']} patches, batch {one['batch_size']}, "
        f"{one['device']}, {one['threads']} thread(s), {one['machine']}; median of {one['repeats']}, quartiles in "
        "brackets; deciding: what goes into which tokens are kept or merged, clustering included"
    )
    yield f"{'method':16}{'keep rate':>10}{'images/s':>28}{'deciding':>10}{'speed-up':>10}"
    for row in frame.to_dict("records"):
        spread = f"{row['images_per_second']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
        share = "-" if row["method"] == "none" else f"{100 * row['deciding']:.1f} %"
        yield f"{row['method']:16}{row['keep_rate']:>10.3g}{spread:>28}{share:>10}{row['speedup']:>10.2f}"
