"""Runs on disk, many at a time: each batch is read, decoded and transformed once, for every run that lacks it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..core.reduced_vit import ReducedViT
from ..data import ImageSet
from ..data.loading import Loading, batches
from ..errors import BadInput, memory
from ..hosts.timm_vit import TimmViT
from ..records.accuracy import summary
from ..records.run import Run, capacity_of
from ..records.store import open_run
from ..records.writer import RunWriter
from .batch import attributes_of, layers_of, record
from .flops import gflops, mean_gflops

NAMED = 5  # runs that failed, in a message
SHARE = 4  # of all memory, one part may be patterns that wait for their chunk to be whole


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
    writer: RunWriter
    scored: bool
    """whether the labels can be the model's classes"""
    fed: int = 0
    """images that it got here"""
    seconds: float = 0.0
    failure: BadInput | None = None

    @property
    def label(self) -> str:
        """What it is called beside others."""
        return f"{self.run.method} at {self.run.keep_rate:g}" if self.run.keep_rate is not None else self.run.method

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

    def take(self, images: Tensor, labels: Tensor, objects: Tensor | None, names: Sequence[str]) -> None:
        """Run the next images through the model, and write down what became of their patches."""
        run = self.run
        arrays = record(self.model, images, labels, run.features, run.soft, run.precision, names)
        if not self.scored:
            arrays["rank"][:] = -1
        if objects is not None and objects.shape[1] == arrays["kept"].shape[-1]:
            arrays["object"] = objects.numpy()
        self.writer.add(arrays)
        self.fed += len(images)

    def finish(self) -> None:
        """Mark the run as complete."""
        self.writer.finish(summary(open_run(self.writer.folder)))

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
        if run.features:
            an_image += 4 * host.width * len(layers_of(self.model))
        if run.soft:
            an_image += sum(2 * source * token for source, token in pairwise((self.model.patches, *keep)))
        return 2 * self.writer.chunk * an_image


@dataclass
class Clock:
    """Where the time of a pass goes: whether the models wait for data, or the data for them."""

    spent: dict[str, float] = field(default_factory=lambda: {"data": 0.0, "models": 0.0})
    last: float = field(default_factory=time.perf_counter)

    def lap(self, of: str) -> float:
        """Count the seconds since the last lap as those `of` something."""
        now = time.perf_counter()
        took, self.last = now - self.last, now
        self.spent[of] += took
        return took

    def __str__(self) -> str:
        total = sum(self.spent.values()) or 1.0
        return ", ".join(f"{of} {100 * seconds / total:.0f} %" for of, seconds in self.spent.items())


def extract_runs(
    asked: Sequence[tuple[Run, ReducedViT]],
    data: ImageSet,
    out: Path,
    loading: Loading,
    device: torch.device,
    progress: bool = True,
) -> Iterator[tuple[Run, Extracted]]:
    """Extract each run into `out / run.name`, all in one pass over the images, as far as they fit into memory.

    A run that was stopped goes on, chunk by chunk; a finished one is left alone. Where another process writes one of
    them, this one says so, waits, and takes what it wrote. A run that fails does not keep the others from their end.

    Args:
        asked: each run and its model, on `device` and in eval mode.
        data: the images of all of them.
        out: the folder of runs.
        loading: how images become batches; a run that was begun keeps its own batches.
        device: where to compute.
        progress: show a bar.

    Yields:
        Each run that is complete, and what it amounts to.

    Raises:
        BadInput: images that cannot be read; or, once all others have ended, what was wrong with a run: a disk that is
            full, a folder that holds another run, NaN logits.
    """
    feeds = [_feed(run, model, data, out, loading) for run, model in asked]
    for together in _fitting(feeds):
        with ExitStack() as held:
            for feed in sorted(together, key=lambda feed: feed.run.name):  # in one order, or two would wait in a circle
                if feed.waits:
                    with feed.guarded():
                        held.enter_context(feed.writer.alone())
            for size in dict.fromkeys(feed.writer.batch_size for feed in together):
                alike = [feed for feed in together if feed.waits and feed.writer.batch_size == size]
                if alike:
                    _pass(alike, data, loading.with_batch_size(size), device, progress)
        for feed in together:
            if feed.failure is None:
                with feed.guarded():
                    result = feed.result()
            if feed.failure is None:
                yield feed.run, result
    _tell_failures(feeds)


def _feed(run: Run, model: ReducedViT, data: ImageSet, out: Path, loading: Loading) -> Feed:
    attributes = {**attributes_of(model), **loading.attributes(), "capacity": capacity_of(run.model)}
    attributes["place"] = data.name
    if run.features:
        attributes["layers"] = layers_of(model)
    return Feed(run, model, RunWriter(out, run, attributes, data.ids, loading.batch_size), comparable(data, model.vit))


def _fitting(feeds: Sequence[Feed]) -> Iterator[list[Feed]]:
    """As many at a time as fit: the weights are shared, but what was recorded waits in memory for its chunk."""
    room, together = memory() // SHARE, list[Feed]()
    for feed in feeds:
        if together and sum(one.bytes_that_wait() for one in (*together, feed) if one.waits) > room:
            yield together
            together = []
        together.append(feed)
    yield together


def _pass(feeds: Sequence[Feed], data: ImageSet, loading: Loading, device: torch.device, progress: bool) -> None:
    """Give every run the images that it lacks, in batches of one size; what is further along is passed over."""
    done, clock = min(feed.writer.taken for feed in feeds), Clock()
    label = feeds[0].label if len(feeds) == 1 else f"{len(feeds)} runs"
    with tqdm(
        total=len(data), initial=done, desc=label, unit="img", smoothing=0.1, disable=not progress, leave=False
    ) as bar:
        for images, labels, objects in batches(data, loading, done):
            takers = [feed for feed in feeds if feed.failure is None and feed.writer.taken == done]
            waited, names = clock.lap("data"), data.ids[done : done + len(images)]
            images, done = images.to(device, non_blocking=True), done + len(images)
            for feed in takers:
                feed.seconds += waited / len(takers)
                with feed.guarded():
                    feed.take(images, labels, objects, names)
            clock.lap("models")
            bar.set_postfix_str(str(clock), refresh=False)
            bar.update(len(names))
            if all(feed.failure for feed in feeds):
                return
    for feed in feeds:
        if feed.failure is None:
            with feed.guarded():
                feed.finish()


def _tell_failures(feeds: Sequence[Feed]) -> None:
    failed = [feed for feed in feeds if feed.failure is not None]
    if not failed:
        return
    first = failed[0].failure
    assert first is not None
    if len(feeds) == 1:
        raise first
    names = ", ".join(feed.label for feed in failed[:NAMED]) + (", ..." if len(failed) > NAMED else "")
    raise BadInput(f"{len(failed)} of {len(feeds)} runs failed, the others are complete: {names}; {first}") from first
