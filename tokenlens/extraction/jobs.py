"""Several runs in one call: every method at every rate, on one model and one data set, in one pass over its images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from ..core.reduced_vit import ReducedViT
from ..data import ImageSet, identity_of, left_out, open_data
from ..data.loading import Loading
from ..data.remote import refuse_remote
from ..errors import BadInput
from ..hosts.header import finetuned
from ..hosts.loading import input_of
from ..methods import method
from ..records.place import place
from ..records.run import Run
from ..records.store import check_out
from .batch import run_of
from .feed import Extracted, comparable
from .one_pass import Extraction
from .passes import graph_on
from .pretrained import Pretrained
from .reduced_models import Models, device_of, precision_on
from .shard import Shard

EMBEDDED_LIMIT = 1000  # of an endless set; a folder is read whole
MOST_WORKERS = 8
# settings in which all processes of one job have to agree
SHARED = (
    *("methods", "keep_rates", "keep", "remove", "decreasing", "blocks", "options", "model", "weights", "img_size"),
    *("seed", "data", "split", "limit", "features", "soft", "attention", "precision", "batch_size"),
)


class Opened(NamedTuple):
    """What all runs of a job have in common."""

    shard: Shard
    device: torch.device
    precision: str
    graph: str
    data: ImageSet
    host: Pretrained
    loading: Loading


@dataclass
class Job(Models):
    """What `tokenlens extract` was asked for; the fields are its options.

    What is None is as a checkpoint of ours in `weights` was trained, or else a default.
    """

    data: str | None = None
    split: str = "val"
    limit: int | None = None
    skip_bad: bool = False
    allow_remote: bool = False
    """fetch data that only the header of `weights` names"""
    batch_size: int = 32
    precision: str = "auto"
    graph: str = "auto"
    """let batches of one shape go by CUDA graphs: auto (on a GPU), yes or no"""
    workers: int | None = None
    """processes that read images; None: beside a GPU as many as there are cores, at most MOST_WORKERS, else none"""
    features: str | None = None
    """float32 or float16; None: without"""
    soft: bool = False
    attention: bool = False
    shard: str | None = None
    """NUMBER/OF: which of several processes this is; None: as torch's launchers say, or the only one"""
    out: Path = Path("runs")
    """a folder of this machine, or a place on a store, also as text: "s3://bucket/runs" """
    progress: bool = True

    def run(self) -> Iterator[str]:
        """Do it; yields a line for each run that is complete. Everything is checked before the first image is read."""
        for result in self.results():
            yield describe(*result)

    def results(self) -> Iterator[tuple[Run, Extracted]]:
        """Do it, in one pass over the images; yields each run and what it amounts to."""
        yield from self.completed()._results()

    def completed(self) -> Self:
        """Without gaps."""
        trained = finetuned(self.weights) or {}
        data = self.data or trained.get("data", "embedded:shapes")
        if self.data is None:
            refuse_remote(data, f"the header of {self.weights}", self.allow_remote)
        return replace(super().completed(), data=data, out=place(self.out))

    def _results(self) -> Iterator[tuple[Run, Extracted]]:
        planned = self.planned()
        shard, device, precision, graph, data, host, loading = self._opened()
        runs: dict[str, tuple[Run, ReducedViT]] = {}
        for _, _, model in self.built(host, planned):
            run = self._identity(host, data, model, precision)
            runs.setdefault(run.name, (run, model))  # the un-reduced model is the same at every rate
        shows, settings = self.progress and shard.shows, self._settings([*runs])
        asked = [*runs.values()]
        yield from Extraction(
            asked, data, self.out, loading, device, shard, settings, graph, shows, self.tell
        ).results()

    def _opened(self) -> Opened:
        """What all runs have in common; says what is noticed about it."""
        assert self.data is not None
        shard = Shard.parse(self.shard)
        device = shard.device(device_of(self.device))
        if device.type == "cuda":
            torch.cuda.set_device(device)  # where a process launches what names no device
        precision, graph = precision_on(device, self.precision), graph_on(device, self.graph)
        check_out(self.out)
        limit = EMBEDDED_LIMIT if self.limit is None and self.data.startswith("embedded:") else self.limit
        data = open_data(self.data, self.split, limit, self.skip_bad)
        if line := left_out(data):
            self.tell(line)
        host = self.host(len(data.classes) or 1000)
        self._check_classes(host, data)
        loading = Loading.of(input_of(host.vit), data, self.batch_size, self._workers(device))
        host.vit.to(device)
        return Opened(shard, device, precision, graph, data, host, loading)

    def _identity(self, host: Pretrained, data: ImageSet, model: ReducedViT, precision: str) -> Run:
        return run_of(
            model,
            **identity_of(data),
            model=host.model,
            weights=host.digest,
            precision=precision,
            features=self.features or False,
            soft=self.soft,
            attention=self.attention,
        )

    def _settings(self, runs: list[str]) -> dict[str, Any]:
        """What all processes of one job have to have in common."""
        asked = {name: getattr(self, name) for name in SHARED}
        versions = {name: version(name) for name in ("tokenlens-vit", "torch", "timm")}
        return {**asked, "versions": versions, "runs": runs}

    def _workers(self, device: torch.device) -> int:
        if self.workers is not None:
            return self.workers
        return min(os.cpu_count() or 1, MOST_WORKERS) if device.type == "cuda" else 0

    def _check_classes(self, host: Pretrained, data: ImageSet) -> None:
        """Refuse weights of other classes than an embedded set's; say of others that there will be no accuracy."""
        classes = host.vit.num_classes
        if comparable(data, host.vit):
            return
        if data.name.startswith("embedded:") and classes:
            raise BadInput(
                f"{host.source} tells {classes} classes apart and {data.name} has {len(data.classes)}; "
                "give other weights, or --weights random, or other data"
            )
        own = classes or "none"
        self.tell(f"{data.name} has {len(data.classes)} classes and the model {own}: no accuracy is given")


def describe(run: Run, result: Extracted) -> str:
    """One line on a run: accuracy, tokens left, GFLOPs saved, speed, place."""
    amount = f" at {run.keep_rate:g}" if run.keep_rate is not None else ""
    accuracy = "".join(f"{name} {value:.1f} %, " for name, value in result.metrics.items())
    left = " ".join(f"{count:.0f}" if count == int(count) else f"{count:.1f}" for count in result.tokens_left)
    rate = result.images_per_second
    speed = "already there" if rate is None else f"{rate:.0f} images/s" if rate >= 10 else f"{rate:.2g} images/s"
    fewest = ""
    more = any(there > asked + 1 for there, asked in zip(result.tokens_left, run.keep, strict=True))
    if more and method(run.method).reducer.halves:  # one more is rounding
        fewest = f" (of {' '.join(map(str, run.keep))} asked: a stage of {run.method} removes half at most)"
    return (
        f"{run.method}{amount}: {accuracy}tokens left {left}{fewest}, {result.gflops:.2f} GFLOPs "
        f"({100 * result.gflops_saved:.0f} % saved), {speed} -> {result.folder}"
    )
