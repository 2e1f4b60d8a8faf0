"""One run on its way to the disk: its model, how far it is, and what it amounts to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor

from ..core.reduced_vit import ReducedViT
from ..data import ImageSet
from ..data.loading import Loading
from ..errors import BadInput
from ..hosts.timm_vit import TimmViT
from ..records.accuracy import summary
from ..records.leases import Leaseholder
from ..records.run import Run, capacity_of
from ..records.shared_writer import SharedWriter
from ..records.store import open_run
from .batch import attributes_of, layers_of, record
from .flops import gflops, mean_gflops
from .passes import Batch, Captured


@dataclass(frozen=True)
class Extracted:
    """What a run amounts to."""

    folder: Path
    metrics: dict[str, float]
    """in percent, where labels are known: top1 and top5, or mAP of a multi-label set"""
    tokens_left: list[float]
    """mean over images, for each stage"""
    gflops: float
    """mean over images; those that the reducers take are counted"""
    gflops_saved: float
    """share of the un-reduced model's, 0 to 1"""
    images_per_second: float | None
    """by the time of its model and its share of the reading; None where the run was there already"""


def comparable(data: ImageSet, vit: TimmViT) -> bool:
    """Whether the labels can be the model's classes: those of another number would make a meaningless accuracy."""
    return not data.classes or len(data.classes) == vit.num_classes


@dataclass
class Feed:
    """A run that is fed batches: its model, its place on disk, and what has become of it."""

    run: Run
    model: ReducedViT
    writer: SharedWriter
    scored: bool
    """whether the labels can be the model's classes"""
    waiting: list[dict[str, np.ndarray]] = field(default_factory=list)
    """of the chunk that is being made"""
    fed: int = 0
    """images that it got here"""
    seconds: float = 0.0
    failure: BadInput | None = None

    @property
    def label(self) -> str:
        """What it is called beside others."""
        return self.run.title

    @property
    def waits(self) -> bool:
        """Whether there is something left to do, and nothing against it."""
        return self.failure is None and not self.writer.complete

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Note what fails and how long it takes, so that other runs can go on."""
        began = time.perf_counter()
        try:
            yield
        except BadInput as error:
            self.failure = error
        finally:
            self.seconds += time.perf_counter() - began

    @classmethod
    def of(cls, run: Run, model: ReducedViT, data: ImageSet, out: Path, loading: Loading, chunk: int) -> Self:
        """What is there of a run in a folder, and the model to go on with; `chunk` images in a chunk, about."""
        attributes = {**attributes_of(model), **loading.attributes(), "capacity": capacity_of(run.model)}
        attributes["place"] = data.name
        if run.features:
            attributes["layers"] = layers_of(model)
        writer = SharedWriter(out, run, attributes, data.ids, loading.batch_size, chunk)
        return cls(run, model, writer, comparable(data, model.vit))

    def take(self, first: int) -> bool:
        """Take the chunk that begins with an image, to be fed it next; False where it is there, or somebody's."""
        taken = False
        if self.waits:
            with self.guarded():
                taken = self.writer.take(first)
        return taken

    def feed(self, batch: Batch | Captured, labels: Tensor, objects: Tensor | None, names: Sequence[str]) -> None:
        """Run the next images through the model, and write down what became of their patches."""
        run = self.run
        arrays = record(self.model, batch, labels, run.features, run.soft, run.precision, names, run.attention)
        if not self.scored:
            arrays["rank"][:] = -1
        if objects is not None and objects.shape[1] == arrays["kept"].shape[-1]:
            arrays["object"] = objects.numpy()
        self.waiting.append(arrays)
        self.fed += len(names)

    def put(self, first: int) -> None:
        """Write the chunk that it was fed; or give it back, where something failed."""
        parts = [*self.waiting]
        self.waiting.clear()
        if self.failure is None:
            with self.guarded():
                self.writer.put(first, parts)
        self.writer.give(first)

    def finish(self, here: Leaseholder) -> None:
        """Mark the run as complete where all of it is there, unless another is about to."""
        lease = f"{self.run.name}/finish"
        with self.guarded():
            self.writer.look()
            if self.writer.complete or self.writer.written < len(self.writer.ids) or not here.take(lease):
                return
            there = open_run(self.writer.folder)
            self.writer.finish(summary(there), gflops=mean_gflops(self.model, np.asarray(there["tokens_left"])))
            here.give(lease)
            here.forget(self.run.name)

    def result(self) -> Extracted:
        """What the run amounts to, once it is complete."""
        dataset = open_run(self.writer.folder)
        left = np.asarray(dataset["tokens_left"])
        if "gflops" not in dataset.attrs:
            self.writer.note(gflops=mean_gflops(self.model, left))
            dataset = open_run(self.writer.folder)
        cost, metrics = float(dataset.attrs["gflops"]), dict(dataset.attrs["metrics"])
        saved = 1 - cost / gflops(self.model.host, {})
        speed = self.fed / self.seconds if self.fed else None
        return Extracted(self.writer.folder, metrics, left.mean(0).tolist(), cost, saved, speed)

    def bytes_that_wait(self) -> int:
        """Bytes of patterns that are in memory until a chunk is whole, and twice while it is put together; about."""
        host, keep, run = self.model.host, self.model.keep, self.run
        an_image = 3 * self.model.patches * len(keep) + 4 * (self.model.num_classes or 0)
        if run.attention:
            an_image += 2 * self.model.patches * len(keep)
        if run.features:
            an_image += 4 * host.width * len(layers_of(self.model))
        if run.soft:
            an_image += sum(2 * source * token for source, token in pairwise((self.model.patches, *keep)))
        return 2 * self.writer.chunk * an_image
