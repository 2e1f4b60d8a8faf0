"""What `tokenlens segment` does: classes of pixels from a reduced ViT's tokens; patterns in a run, mIoU beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ..core.reduced_vit import ReducedViT
from ..data import check_apart, content_of, identity_of
from ..errors import BadInput
from ..extraction.batch import attributes_of, canonical, method_of, run_of
from ..extraction.filling import Filling
from ..extraction.reduced_models import Models, device_of
from ..extraction.shard import Shard
from ..records.run import Run, capacity_of
from ..records.shared_writer import SharedWriter
from ..records.store import check_out, open_run
from ..records.writer import CHUNK, Batch
from .data import IGNORED, SegmentationSet, open_segmentation
from .head import Head, learned, seen

EDITION = 1  # of how a head is learned
SHARED = ("methods", "keep_rates", "keep", "blocks", "options", "model", "weights", "seed", "data", "split", "limit",
          "train_limit", "batch_size")  # fmt: skip


@dataclass
class Segmentation(Models):
    """What `tokenlens segment` was asked for; the fields are its options."""

    data: str = "embedded:scenes"
    split: str = "val"
    limit: int | None = None
    train_limit: int = 400
    """images of the split train that the head is learned on"""
    batch_size: int = 16
    shard: str | None = None
    out: Path = Path("runs")
    progress: bool = True

    def run(self) -> Iterator[str]:
        """Do it; yields a line for each run that is complete. Everything is checked before the first image is read."""
        return self.completed()._run()  # type: ignore[no-any-return]

    def _run(self) -> Iterator[str]:
        shard = Shard.parse(self.shard)
        device = shard.device(device_of(self.device))
        check_out(self.out)
        planned = self.planned()
        data = open_segmentation(self.data, self.split, self.limit)
        train = open_segmentation(self.data, "train", self.train_limit)
        check_apart(train, data)
        host = self.host()
        whole = self.build(host, "none", {"keep_rate": 1.0}).eval().to(device)
        models = [model.to(device) for _, _, model in self.built(host, planned)]
        edition = f"segmentation {EDITION} {content_of(train)}"
        head: Head | None = None
        seen_runs: set[str] = set()
        for model in models:
            source = f"{method_of(model).digest} {edition}"
            run = run_of(model, **identity_of(data), model=host.model, weights=host.digest, source=source)
            if run.name in seen_runs:
                continue
            seen_runs.add(run.name)
            attributes = {**attributes_of(model), "capacity": capacity_of(run.model), "place": data.name,
                          "classes": list(data.classes)}  # fmt: skip
            chunk = shard.chunk(len(data), CHUNK, self.batch_size)
            writer = SharedWriter(self.out, run, attributes, data.ids, self.batch_size, chunk)
            if head is None and not writer.complete:
                head = learned(whole, train, self.seed)
            making = Making(model, head, data, writer.batch_size)
            told = {name: getattr(self, name) for name in SHARED}
            speed = Filling(writer, making, summary, shard, told, self.progress).fill()
            if writer.complete:
                yield _described(run, speed, writer.folder)
            else:
                self.tell(f"{run.title}: {writer.standing}")


@dataclass(frozen=True)
class Making:
    """What a run holds of images."""

    model: ReducedViT
    head: Head | None
    data: SegmentationSet
    batch_size: int

    def __call__(self, among: range) -> Iterator[Batch]:
        """Patterns, and how many pixels of each class were met, found, and there."""
        assert self.head is not None
        device = next(self.model.parameters()).device
        for start in range(among.start, among.stop, self.batch_size):
            rows = range(start, min(start + self.batch_size, among.stop))
            images = torch.stack([seen(self.data.image(row), self.model) for row in rows])
            with torch.no_grad():
                tokens, trace = self.model.spread(images.to(device))
            if not bool(tokens.isfinite().all()):
                raise BadInput(f"{self.model.host.name} gave tokens that are NaN or infinite for an image among "
                               f"{self.data.ids[start]} and those after it; look at the weights")  # fmt: skip
            counts = []
            for row, own in zip(rows, tokens.float(), strict=True):
                labels = self.data.map(row)
                found = self.head(own, self.model.host.grid, labels.shape)
                counts.append(overlap(found, labels, len(self.data.classes)))
            yield {
                "kept": trace.kept.cpu().numpy(),
                "group": canonical(trace.group).cpu().numpy(),
                "tokens_left": trace.tokens_left.cpu().numpy(),
                "pixels": np.stack(counts),
            }


def overlap(found: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int) -> NDArray[np.int32]:
    """(classes, 3): pixels of each class that are found where they are, that are found, and that there are.

    Examples:
        >>> overlap(np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8), 2).tolist()
        [[1, 1, 2], [0, 1, 0]]
    """
    known = labels != IGNORED
    parts = (labels[known & (found == labels)], found[known], labels[known])
    return np.stack([np.bincount(part, minlength=classes) for part in parts], 1).astype(np.int32)


def summary(run: xr.Dataset) -> dict[str, float]:
    """Mean IoU over the classes that are found or there, and the share of pixels that is right, both in percent."""
    met, found, there = np.asarray(run["pixels"]).sum(0, dtype=np.int64).T
    either = found + there - met
    known = either > 0
    return {
        "mIoU": 100 * float((met[known] / either[known]).mean()) if known.any() else 0.0,
        "pixel accuracy": 100 * float(met.sum() / max(there.sum(), 1)),
    }


def _described(run: Run, speed: float | None, folder: Path) -> str:
    there = open_run(folder)
    told = ", ".join(f"{name} {value:.1f} %" for name, value in there.attrs["metrics"].items())
    left = " ".join(f"{count:.0f}" for count in np.asarray(there["tokens_left"]).mean(0))
    rate = "already there" if speed is None else f"{speed:.0f} images/s"
    return f"{run.title}: {told}, tokens left {left}, {rate} -> {folder}"
