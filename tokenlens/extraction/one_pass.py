"""Runs on disk, many at a time: each batch is read, decoded and transformed once, for every run that lacks it.

So is what the models, which share their weights, make of it before their first reducers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from ..core.reduced_vit import ReducedViT
from ..data import ImageSet
from ..data.loading import Loading, batches_of
from ..errors import BadInput, memory
from ..records import writer as records
from ..records.leases import Leaseholder, check_exclusive
from ..records.run import Run
from .feed import Extracted, Feed
from .passes import Passes
from .shard import Shard, check_alike

NAMED = 5  # runs that failed, in a message
PART = 4  # of all memory, one part may be patterns that wait for their chunk to be whole
POLL = 0.5  # seconds between looks at what others are doing


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


class Turn(NamedTuple):
    """A chunk that this process has taken for some of the runs."""

    first: int
    end: int
    takers: list[Feed]


@dataclass
class Extraction:
    """Runs, and all that they have in common."""

    asked: Sequence[tuple[Run, ReducedViT]]
    """each run and its model, on `device` and in eval mode"""
    data: ImageSet
    out: Path
    """the folder of runs"""
    loading: Loading
    """how images become batches; a run that was begun keeps its own batches"""
    device: torch.device
    shard: Shard = field(default_factory=Shard)
    settings: dict[str, Any] = field(default_factory=dict)
    """what all processes of one job have to have in common: plain JSON"""
    graph: str = "no"
    """whether batches go by CUDA graphs, as `passes.graph_on` gives it"""
    progress: bool = True
    tell: Callable[[str], None] = print

    def results(self) -> Iterator[tuple[Run, Extracted]]:
        """Extract each run into `out / run.name`, all in one pass over the images, as far as they fit into memory.

        A run that was stopped goes on, chunk by chunk; a finished one is left alone. Where other processes write the
        same runs, each does chunks that no other has, and one that is no shard waits for the others' at the end. A run
        that fails does not keep the others from theirs.

        Yields:
            Each run that is complete, and what it amounts to.

        Raises:
            BadInput: images that cannot be read; another part of the job has other settings; or, once all others have
                ended, what was wrong with a run: a disk that is full, a folder that holds another run, NaN logits.
        """
        chunk = self.shard.chunk(len(self.data), records.CHUNK, self.loading.batch_size)
        feeds = [Feed.of(run, model, self.data, self.out, self.loading, chunk) for run, model in self.asked]
        for together in _fitting(feeds):
            if any(feed.waits for feed in together):
                told = {"job": [self.shard.of, self.shard.job], "settings": self.settings}
                with Leaseholder(self.out, told) as here:
                    check_exclusive(here, many=self.shard.of > 1)
                    if self.shard.of > 1:
                        check_alike(here)
                    self._fill(together, here)
            for feed in together:
                if feed.writer.complete and feed.failure is None:
                    with feed.guarded():
                        result = feed.result()
                    if feed.failure is None:
                        yield feed.run, result
                elif feed.failure is None:
                    self.tell(f"{feed.label}: {feed.writer.standing}")
        _tell_failures(feeds)

    def _fill(self, feeds: Sequence[Feed], here: Leaseholder) -> None:
        """Write what is missing of the runs, or wait for those that do."""
        for feed in feeds:
            if feed.waits:
                with feed.guarded():
                    feed.writer.share(here)
        waited = False
        while True:
            # chunks begin at the same images for runs of one batch and chunk size, and are read once for all of these
            for size, chunk in dict.fromkeys((feed.writer.batch_size, feed.writer.chunk) for feed in feeds):
                alike = [feed for feed in feeds if (feed.writer.batch_size, feed.writer.chunk) == (size, chunk)]
                while self._pass([feed for feed in alike if feed.waits], self.loading.with_batch_size(size), chunk):
                    pass
            for feed in feeds:
                if feed.waits:
                    feed.finish(here)
            missing = [feed for feed in feeds if feed.waits]
            if not missing or self.shard.of > 1:
                return
            waited = waited or missing[0].writer.warn_who_writes()
            time.sleep(POLL)

    def _pass(self, feeds: Sequence[Feed], loading: Loading, chunk: int) -> int:
        """Give every run the chunks that it lacks and nobody has; how many chunks those were."""
        turns, count = deque[Turn](), 0
        passes = Passes(self.graph)
        clock, label = Clock(), feeds[0].label if len(feeds) == 1 else f"{len(feeds)} runs"
        images = len(self.data)

        def spans() -> Iterator[tuple[int, int]]:
            for number in self.shard.turns(-(-images // chunk)):
                first = number * chunk
                takers = [feed for feed in feeds if feed.take(first)]
                if takers:
                    turns.append(Turn(first, min(first + chunk, images), takers))
                    yield turns[-1][:2]

        start = min((feed.writer.written for feed in feeds), default=0)
        with tqdm(
            total=images, initial=start, desc=label, unit="img", smoothing=0.1, disable=not self.progress, leave=False
        ) as bar:
            at = None
            for pictures, labels, objects in batches_of(self.data, loading, spans()):
                turn = turns[0]
                at = turn.first if at is None else at
                names = self.data.ids[at : at + len(pictures)]
                waited = clock.lap("data")
                pictures = pictures.to(self.device, non_blocking=True)
                batch = passes.of(pictures)
                for feed in turn.takers:
                    feed.seconds += waited / len(turn.takers)
                    if feed.failure is None:
                        with feed.guarded():
                            feed.feed(batch, labels, objects, names)
                at += len(names)
                if at == turn.end:
                    for feed in turn.takers:
                        feed.put(turn.first)
                    turns.popleft()
                    at, count = None, count + 1
                clock.lap("models")
                bar.set_postfix_str(str(clock), refresh=False)
                bar.update(len(names))
        return count


def _fitting(feeds: Sequence[Feed]) -> Iterator[list[Feed]]:
    """As many at a time as fit: the weights are shared, but what was recorded waits in memory for its chunk."""
    room, together = memory() // PART, list[Feed]()
    for feed in feeds:
        if together and sum(one.bytes_that_wait() for one in (*together, feed) if one.waits) > room:
            yield together
            together = []
        together.append(feed)
    yield together


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
