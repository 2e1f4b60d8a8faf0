"""One run, filled chunk by chunk by this process and whoever else writes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr
from tqdm import tqdm

from ..records.leases import Leaseholder
from ..records.shared_writer import SharedWriter
from ..records.store import open_run
from ..records.writer import Batch
from .shard import Shard, check_alike

POLL = 0.5  # seconds between looks at what others are doing


@dataclass
class Filling:
    """How a run is filled."""

    writer: SharedWriter
    make: Callable[[range], Iterable[Batch]]
    """what a run holds of images that follow on each other, in batches of any size"""
    amount: Callable[[xr.Dataset], Mapping[str, float]]
    """the metrics of a run of which all is there"""
    shard: Shard
    settings: Mapping[str, Any]
    """what all processes of one job have to have in common: plain JSON"""
    progress: bool = True

    def fill(self) -> float | None:
        """Make what is missing and nobody has, and wait for others' part unless this is a shard.

        Returns:
            Images a second; None where this process made none.

        Raises:
            BadInput: another part of the job has other settings; the disk is full, or holds another run.
        """
        if self.writer.complete:
            return None
        began, made, waited = time.perf_counter(), 0, False
        told = {"job": [self.shard.of, self.shard.job], "settings": self.settings}
        with Leaseholder(self.writer.folder.parent, told) as here:
            if self.shard.of > 1:
                check_alike(here)
            self.writer.share(here)
            while True:
                made += self._chunks()
                self._finish(here)
                if self.writer.complete or self.shard.of > 1:
                    break
                waited = waited or self.writer.warn_who_writes()
                time.sleep(POLL)
        return made / (time.perf_counter() - began) if made else None

    def _chunks(self) -> int:
        """Make the chunks that are missing and nobody has; how many images those held."""
        writer, images, made = self.writer, len(self.writer.ids), 0
        with tqdm(total=images, initial=writer.images_there, desc=writer.run.method, unit="img", leave=False,
                  disable=not (self.progress and self.shard.shows)) as bar:  # fmt: skip
            for number in self.shard.turns(-(-images // writer.chunk)):
                rows = range(number * writer.chunk, min((number + 1) * writer.chunk, images))
                if not writer.take(rows.start):
                    continue
                parts = []
                for part in self.make(rows):
                    parts.append(part)
                    bar.update(len(part["kept"]))
                writer.put(rows.start, parts)
                writer.give(rows.start)
                made += len(rows)
        return made

    def _finish(self, here: Leaseholder) -> None:
        """Mark the run as complete where all of it is there, unless another is about to."""
        writer, lease = self.writer, f"{self.writer.run.name}/finish"
        writer.look()
        if not writer.complete and writer.written == len(writer.ids) and here.take(lease):
            writer.finish(self.amount(open_run(writer.folder)))
            here.give(lease)
            here.forget(writer.run.name)
