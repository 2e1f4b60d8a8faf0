"""Speed of reduced models beside the un-reduced one: measured in turns, so that a drifting machine hits all alike.

Each model as it runs, compiled and as one CUDA graph, and beside them the host's own blocks at as many tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from ..extraction.passes import graph_on
from ..extraction.pretrained import Pretrained
from ..extraction.reduced_models import Models, device_of, precision_on
from ..hosts.loading import input_of
from ..records import tables as table
from .ideal import Ideal
from .rows import lines, rows
from .timing import machine_note, taking_turns
from .ways import Call, Pass, Side, Way, failures, passes_of

IMAGES = 128  # of a data set; adaptive methods are averaged over them
SETTING = ("model", "batch_size", "precision", "device", "threads", "data", "machine")
KEY = (*SETTING, *Way._fields, "method", "keep_rate", "tokens_left")


@dataclass
class Bench(Models):
    """What `tokenlens bench` was asked for; the fields are its options."""

    batch_sizes: Sequence[int] = (1, 32)
    precisions: Sequence[str] = ("auto",)
    compiled: Sequence[bool] = (False,)
    graph: str = "auto"
    """one CUDA graph a forward pass, beside the others: auto (on a GPU), yes or no"""
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
        ways = [Way(compiled) for compiled in self.compiled]
        ways += [Way(graph=True)] * (graph_on(device, self.graph) != "no")
        table.check_out(self.out)
        if table.exists(self.out, "bench"):
            table.read(self.out, "bench")
        host, most = self.host(), max(self.batch_sizes)
        with failures("looking at images", most):
            images = self.images(host)
        with _threads(self.threads):
            same = {"model": host.model, "device": device.type, "threads": torch.get_num_threads()}
            same |= {"data": self.data or "synthetic", "machine": machine_note(device)}
            for precision in precisions:
                with failures("counting tokens", most):
                    pool = images.to(device, getattr(torch, precision))
                    sides = self.sides(replace(host, vit=host.vit.to(device, pool.dtype)), planned, pool)
                for size in dict.fromkeys(self.batch_sizes):
                    yield self.measure(sides, ways, pool, {**same, "precision": precision, "batch_size": size})

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
        ideals: dict[tuple[Any, ...], Ideal] = {}
        for name, _, model in self.built(host, [one for one in planned if one[0] != "none"]):
            left = tokens_left(model, pool.split(max(self.batch_sizes)))
            stages = zip(model.blocks, left.mean(0), strict=True)
            told = " ".join(f"{block}:{round(float(mean), 1):g}" for block, mean in stages)
            label, rate = " ".join([name, *self.options]), model.schedule.rate
            ideal = Ideal(model, [round(float(mean)) for mean in left.mean(0)])
            ideal = ideals.setdefault((ideal.site, *ideal.left.items()), ideal)
            found.append(Side(label, np.nan if rate is None else rate, model, mean_gflops(model, left), told, ideal))
        return found

    @torch.inference_mode()
    def measure(
        self, sides: Sequence[Side], ways: Sequence[Way], pool: Tensor, setting: dict[str, Any]
    ) -> pd.DataFrame:
        """All sides in all ways in turns, into the table; when it is stopped, the rounds that are complete."""
        size, taken = setting["batch_size"], list[list[float]]()
        inputs = [pool[i : i + size] for i in range(0, len(pool) - size + 1, size)]
        passes, ideals = list[Pass](), list[Call]()
        label, steps = f"batch {size}, {setting['precision']}", len(sides) * len(ways) + self.repeats
        with tqdm(total=steps, desc=label, unit="round", disable=not self.progress, leave=False) as bar, _limits():
            for made, ideal in passes_of(sides, ways, inputs[0], self.warmup, self.graph == "yes"):
                passes += [made] if made is not None else []
                ideals += [ideal] if ideal is not None else []
                bar.update()
            try:
                calls = [*(one.call for one in passes), *ideals]
                for row in taking_turns(calls, inputs, self.repeats, pool.device):
                    taken.append(row)
                    bar.update()
            finally:
                if taken:
                    frame = rows(passes, np.array(taken), setting)
                    table.merge(frame, self.out, "bench", KEY, self.csv)
        return frame


def tokens_left(model: ReducedViT, parts: Sequence[Tensor]) -> NDArray[Any]:
    """(images, stages): patch tokens after each stage; of one image, where all have the same."""
    adaptive = any(reducer.adaptive for reducer in model.reducers.values())
    return np.concatenate([model.trace(p)[1].tokens_left.cpu() for p in (parts if adaptive else [parts[0][:1]])])


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
