"""Speed of reduced models beside the un-reduced one: measured in turns, so that a drifting machine hits all alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..core.reduced_vit import ReducedViT
from ..data import open_data
from ..data.loading import Loading, batches
from ..errors import BadInput, check_memory
from ..extraction.flops import gflops, mean_gflops
from ..extraction.pretrained import Pretrained
from ..extraction.reduced_models import Models, device_of, precision_on
from ..hosts.loading import input_of
from ..records import tables as table
from .timing import machine_note, peak_megabytes, taking_turns

IMAGES = 128  # of a data set; adaptive methods are averaged over them
SETTING = ("model", "batch_size", "precision", "compiled", "device", "threads", "data", "machine")
KEY = (*SETTING, "method", "keep_rate", "tokens_left")


@dataclass
class Side:
    """One of the models that take turns."""

    method: str
    keep_rate: float
    model: Callable[[Tensor], Tensor]
    gflops: float
    tokens_left: str
    """<block>:<tokens> for each stage, mean over images"""


@dataclass
class Bench(Models):
    """What `tokenlens bench` was asked for; the fields are its options."""

    batch_sizes: Sequence[int] = (1, 32)
    precisions: Sequence[str] = ("auto",)
    compiled: Sequence[bool] = (False,)
    data: str | None = None
    """None: noise"""
    split: str = "val"
    limit: int | None = None
    skip_bad: bool = False
    threads: int | None = None
    repeats: int = 10
    warmup: int = 3
    out: Path = Path("results")
    csv: bool = False
    progress: bool = True

    def run(self) -> Iterator[str]:
        """Do it; yields lines on each setting, whose rows are then in the table. All is checked before it begins."""
        for frame in self.frames():
            yield from lines(frame)

    def frames(self) -> Iterator[pd.DataFrame]:
        """The same, as the rows of each setting."""
        yield from self.completed()._frames()

    def _frames(self) -> Iterator[pd.DataFrame]:
        device, planned = device_of(self.device), self.planned()
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise BadInput(f"batch sizes {list(self.batch_sizes)} are not all 1 or more; for example 1,32")
        precisions = dict.fromkeys(precision_on(device, name) for name in self.precisions)
        table.check_out(self.out)
        if table.exists(self.out, "bench"):
            table.read(self.out, "bench")
        host = self.host()
        most = {"batch_size": max(self.batch_sizes), "compiled": False}
        with _failures("looking at images", most):
            images = self.images(host)
        with _threads(self.threads):
            same = {"model": host.model, "device": device.type, "threads": torch.get_num_threads()}
            same |= {"data": self.data or "synthetic", "machine": machine_note(device)}
            for precision in precisions:
                with _failures("counting tokens", most):
                    pool = images.to(device, getattr(torch, precision))
                    sides = self.sides(replace(host, vit=host.vit.to(device, pool.dtype)), planned, pool)
                for compiled, size in itertools.product(self.compiled, dict.fromkeys(self.batch_sizes)):
                    setting = {**same, "precision": precision, "compiled": compiled, "batch_size": size}
                    yield self.measure(sides, pool, setting)

    def images(self, host: Pretrained) -> Tensor:
        """(images, 3, H, W) float32: enough for the biggest batch."""
        most, config = max(self.batch_sizes), input_of(host.vit)
        size = 4 * math.prod(config["input_size"])
        check_memory(f"batches of {most} images", most * size, "give a smaller --batch-size")
        if self.data is None:
            return torch.randn(most, *config["input_size"], generator=torch.Generator().manual_seed(self.seed))
        data = open_data(self.data, self.split, self.limit or max(IMAGES, most), self.skip_bad)
        if len(data) < most:
            raise BadInput(f"{self.data} has {len(data)} images and a batch {most}; give a smaller --batch-size")
        return torch.cat([batch[0] for batch in batches(data, Loading.of(config, data, most, 0))])

    @torch.no_grad()
    def sides(self, host: Pretrained, planned: list[tuple[str, dict[str, Any]]], pool: Tensor) -> list[Side]:
        """The un-reduced model first, as timm has it, then all that was asked for."""
        found = [Side("none", 1.0, host.vit, gflops(host.vit, {}), "")]
        for name, _, model in self.built(host, [one for one in planned if one[0] != "none"]):
            left = tokens_left(model, pool.split(max(self.batch_sizes)))
            stages = zip(model.blocks, left.mean(0), strict=True)
            told = " ".join(f"{block}:{round(float(mean), 1):g}" for block, mean in stages)
            label, rate = " ".join([name, *self.options]), model.schedule.rate
            found.append(Side(label, np.nan if rate is None else rate, model, mean_gflops(model, left), told))
        return found

    @torch.inference_mode()
    def measure(self, sides: list[Side], pool: Tensor, setting: dict[str, Any]) -> pd.DataFrame:
        """All sides in turns, into the table; when it is stopped, the rounds that are complete."""
        size, peaks, taken = setting["batch_size"], list[float](), list[list[float]]()
        inputs = [pool[i : i + size] for i in range(0, len(pool) - size + 1, size)]
        calls = [_compiled(side.model) if setting["compiled"] else side.model for side in sides]
        label = f"batch {size}, {setting['precision']}{', compiled' if setting['compiled'] else ''}"
        steps = len(sides) + self.repeats
        with tqdm(total=steps, desc=label, unit="round", disable=not self.progress, leave=False) as bar, _limits():
            for side, call in zip(sides, calls, strict=True):
                with _failures(side.method, setting):
                    for _ in range(self.warmup):
                        call(inputs[0])
                    peaks.append(peak_megabytes(partial(call, inputs[0]), pool.device))
                bar.update()
            try:
                for row in taking_turns(calls, inputs, self.repeats, pool.device):
                    taken.append(row)
                    bar.update()
            finally:
                if taken:
                    frame = rows(sides, np.array(taken), peaks, setting)
                    table.merge(frame, self.out, "bench", KEY, self.csv)
        return frame


def tokens_left(model: ReducedViT, parts: Sequence[Tensor]) -> NDArray[Any]:
    """(images, stages): patch tokens after each stage; of one image, where all have the same."""
    adaptive = any(reducer.adaptive for reducer in model.reducers.values())
    return np.concatenate([model.trace(p)[1].tokens_left.cpu() for p in (parts if adaptive else [parts[0][:1]])])


def rows(sides: list[Side], taken: NDArray[Any], peaks: list[float], setting: dict[str, Any]) -> pd.DataFrame:
    """The rows of one setting; taken (repeats, sides) is in seconds, and the first side is the un-reduced model."""
    low, middle, high = np.quantile(setting["batch_size"] / taken, [0.25, 0.5, 0.75], axis=0)
    return pd.DataFrame({
        **setting,
        "method": [side.method for side in sides], "keep_rate": [side.keep_rate for side in sides],
        "repeats": len(taken), "images_per_second": middle, "low": low, "high": high,
        "latency_ms": 1000 * np.median(taken, axis=0), "peak_mb": peaks, "gflops": [side.gflops for side in sides],
        "speedup": np.median(taken[:, :1] / taken, axis=0),
        "ideal_speedup": [sides[0].gflops / side.gflops for side in sides],
        "tokens_left": [side.tokens_left for side in sides],
    })  # fmt: skip


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """One setting for a person to read."""
    one, end = frame.iloc[0], f"{'ms':>10}{'MB':>9}{'GFLOPs':>9}{'speed-up':>10}{'ideal':>7}  tokens left"
    how = f"{one['precision']}{', compiled' if one['compiled'] else ''}, {one['device']}, {one['threads']} thread(s)"
    yield (
        f"{one['model']}, batch {one['batch_size']}, {how}, {one['data']} images, {one['machine']}; "
        f"median of {one['repeats']}, quartiles in brackets"
    )
    yield f"{'method':16}{'rate':>6}{'images/s':>28}{end}"
    for row in frame.to_dict("records"):
        rate = "-" if np.isnan(row["keep_rate"]) else f"{row['keep_rate']:g}"
        spread = f"{row['images_per_second']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
        yield (
            f"{row['method']:16}{rate:>6}{spread:>28}{row['latency_ms']:>10.2f}{row['peak_mb']:>9.1f}"
            f"{row['gflops']:>9.3f}{row['speedup']:>10.2f}{row['ideal_speedup']:>7.2f}  {row['tokens_left']}"
        )


def _compiled(model: Any) -> Callable[[Tensor], Tensor]:
    return torch.compile(model, dynamic=False)  # type: ignore[no-any-return]


def _limits() -> Any:
    """All sides share one forward, and beyond a few compilations of it torch would quietly go on uncompiled."""
    return torch._dynamo.config.patch(cache_size_limit=10_000, accumulated_cache_size_limit=10_000)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _failures(method: str, setting: dict[str, Any]) -> Iterator[None]:
    """Tell what a machine cannot do in one sentence."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            size = setting["batch_size"]
            raise BadInput(
                f"{method} with a batch of {size} does not fit into memory; give a smaller --batch-size, "
                "what was measured before is in the table"
            ) from error
        if not setting["compiled"]:
            raise
        reason = str(error).split("\n")[0]
        raise BadInput(f"torch.compile fails for {method} ({reason}); measure it with --compile no") from error
