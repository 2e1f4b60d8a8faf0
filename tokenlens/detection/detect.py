"""What `tokenlens detect` does: a detector over a set, its patterns and detections in a run, AP of boxes and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from ..core.schedule import Schedule, schedule
from ..data import identity_of
from ..extraction.filling import Filling
from ..extraction.reduced_models import Reductions, device_of
from ..extraction.shard import Shard
from ..hosts.checkpoints import digest_of
from ..methods import method as method_named
from ..records.run import Run, capacity_of
from ..records.shared_writer import SharedWriter
from ..records.store import check_out, open_run
from ..records.writer import Batch
from .checkpoints import UNTUNED, check_classes, load_detector, name_of, tuned_for
from .data import DetectionSet, open_detection
from .mask_rcnn import MaskRCNN
from .objects import owners
from .patterns import alike, largest, metrics, record
from .preparing import batched
from .reducing import reduced_detector

CHUNK = 64  # images that a killed run may lose
SHOWN = ("box AP", "box AP50", "mask AP", "mask AP50")  # of the metrics, on a terminal
EDITION = 3  # of what fills a run; 2 follows no batch's own statistics, 3 tells sizes of the scenes by thirds
SHARED = (  # settings in which all processes of one job have to agree
    *("methods", "keep_rates", "blocks", "options", "weights", "heads", "data", "split", "limit", "batch_size", "seed"),
)


@dataclass
class Detection(Reductions):
    """What `tokenlens detect` was asked for; the fields are its options."""

    weights: str = "nano"
    heads: int | None = None
    data: str = "embedded:scenes"
    split: str = "val"
    limit: int | None = None
    batch_size: int = 1
    device: str = "auto"
    seed: int = 0
    shard: str | None = None
    """NUMBER/OF: which of several processes this is; None: as torch's launchers say, or the only one"""
    out: Path = Path("runs")
    progress: bool = True
    tell: Callable[[str], None] = print

    def run(self) -> Iterator[str]:
        """Do it; yields a line for each run that is complete."""
        yield from self.completed()._run()

    def completed(self) -> Self:
        """Without gaps; says how the weights were fine-tuned, where they say it."""
        tuned = tuned_for(self.weights)
        if tuned is not None:
            asked = self.methods or self.keep_rates or self.blocks or self.options
            here = "what is asked for here goes before that" if asked else "so it is reduced here"
            self.tell(f"{self.weights} was fine-tuned with {tuned['method']} at {tuned['keep_rate']}; {here}")
        return self.filled(tuned or UNTUNED)

    def _run(self) -> Iterator[str]:
        check_out(self.out)
        shard = Shard.parse(self.shard)
        device = shard.device(device_of(self.device))
        detector = load_detector(self.weights, self.heads)
        data = open_detection(self.data, self.split, self.limit)
        check_classes(detector, data, self.weights)
        if not data.masks:
            self.tell(f"{data.name} lacks masks of some objects: no AP of masks is given")
        asked = [(name, rate) for name in self.methods or () for rate in self.keep_rates]
        for name, rate in asked:  # refuse now what cannot be built
            self._reduced(detector, name, rate)
        seen: set[str] = set()
        for name, rate in asked:
            model = self._reduced(detector, name, rate)
            stages = schedule(self.blocks or (), rate, depth=model.config.backbone.depth)
            run = self._identity(data, model, name, stages, device)
            if run.name not in seen:
                seen.add(run.name)
                filling = self._filling(data, model.to(device), run, stages, shard)
                speed = filling.fill()
                if filling.writer.complete:
                    yield _described(run, speed, filling.writer.folder)
                else:
                    self.tell(f"{run.title}: {filling.writer.standing}")

    def _reduced(self, detector: MaskRCNN, name: str, rate: float | list[float]) -> MaskRCNN:
        return reduced_detector(detector, name, rate, self.blocks or (), self.options, self.seed)

    def _identity(self, data: DetectionSet, model: MaskRCNN, name: str, stages: Schedule, device: torch.device) -> Run:
        rows, columns = largest(data, model)
        return Run(
            **identity_of(data),
            model=name_of(model.config),
            weights=digest_of(model.state_dict()),
            method=name,
            keep_rate=stages.rate,
            blocks=stages.blocks,
            keep=stages.keep(rows * columns),
            options=method_named(name).parse(self.options),
            source=f"{method_named(name).digest} {EDITION}",
            seed=self.seed,
            device=device.type,
        )

    def _filling(self, data: DetectionSet, model: MaskRCNN, run: Run, stages: Schedule, shard: Shard) -> Filling:
        grid, device = largest(data, model), model.backbone.pos_embed.device

        def make(among: range) -> Iterator[Batch]:
            for rows in alike(data, model, among, self.batch_size):
                images, frames = batched([data.images(row) for row in rows], model.config)
                arrays = record(model, images.to(device), frames, grid, [data.ids[row] for row in rows])
                yield arrays | {"object": np.stack([owners(data, row, model.config, grid) >= 0 for row in rows])}

        attributes = {**self._attributes(data, model, run, stages), "place": data.name}
        chunk = shard.chunk(len(data), CHUNK, self.batch_size)
        writer = SharedWriter(self.out, run, attributes, data.ids, self.batch_size, chunk)
        settings = {name: getattr(self, name) for name in SHARED}
        return Filling(writer, make, lambda there: metrics(data, there, model), shard, settings, self.progress)

    def _attributes(self, data: DetectionSet, model: MaskRCNN, run: Run, stages: Schedule) -> dict[str, Any]:
        backbone = model.config.backbone
        kind = method_named(run.method).reducer
        rows, columns = largest(data, model)
        return {
            **method_named(run.method).facts(),
            "follows_rate": run.keep_rate is not None and not (kind.adaptive or kind.family == "none"),
            "keep_rates": list(stages.rates or ()),
            "grid": [rows, columns],
            "input_size": [rows * backbone.patch, columns * backbone.patch],
            "sides": [model.config.short, model.config.long],
            "depth": backbone.depth,
            "heads": backbone.heads,
            "capacity": capacity_of(run.model),
            "classes": list(data.classes),
            "size_bounds": list(data.bounds),
            "versions": {name: version(name) for name in ("tokenlens-vit", "torch", "timm")},
        }


def _described(run: Run, speed: float | None, folder: Path) -> str:
    """One line on a run: average precision, tokens left, speed, place."""
    there = open_run(folder)
    told = there.attrs["metrics"]
    precision = "".join(f"{name} {told[name]:.1f}, " for name in SHOWN if name in told)
    tokens = " ".join(f"{count:.0f}" for count in np.asarray(there["tokens_left"]).mean(0))
    rate = "already there" if speed is None else f"{speed:.1f} images/s"
    return f"{run.title}: {precision}tokens left {tokens}, {rate} -> {folder}"
