"""Patterns of one model in the weights of others: what `tokenlens swap` does.

Each run that it writes is one method's pattern, decided anew by the weights that it belongs to, and what other weights
predict when they are made to follow it. Shapes: B images, S stages, P patches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.host import Host, host_of
from ..core.reduced_vit import ReducedViT
from ..core.replay import decided, replayed, shown
from ..core.walk import listened
from ..data.loading import batches_of
from ..errors import BadInput
from ..hosts.loading import input_of
from ..records.accuracy import summary
from ..records.run import Run, capacity_of
from ..records.shared_writer import SharedWriter
from ..records.store import open_run
from ..records.writer import CHUNK, Batch
from .batch import attributes_of, retold
from .feed import comparable
from .filling import Filling
from .jobs import Job, Opened
from .passes import autocast
from .pretrained import Pretrained


@torch.inference_mode()
def swapped(
    model: ReducedViT, host: Host, images: Tensor, labels: Tensor | None = None, precision: str = "float32",
    curves: bool = False, names: Sequence[str] = (),
) -> dict[str, np.ndarray]:  # fmt: skip
    """What became of the patches of a batch in `model`, and what `host` predicts when it is made to do the same.

    Args:
        model: what decides; in eval mode, on the images' device.
        host: the one with other weights, prepared for the blocks of the model.
        images: (B, 3, H, W) float.
        labels: as for `record`.
        precision: float32, or bfloat16 or float16 through autocast.
        curves: with `insertion`, `deletion` (B, S) and `whole` (B,) float32: how probable the class that the un-reduced
            host predicts is to it when it is shown, from its first block on, the patches alone that are kept after each
            stage; those alone that are not; and all. NaN where there is nothing to show, or the method keeps no patch.
        names: of the images, for a message.

    Returns:
        The arrays of `tokenlens.records.schema`.

    Raises:
        BadInput: a method that mixes softly; logits are NaN or infinite.
    """
    with autocast(images.device, precision):
        _, trace, plans = decided(model, images)
        logits = replayed(model, plans, host, images)
        arrays = retold(trace, logits[:, : getattr(host.model, "num_classes", None)], labels, host.name, names)
        if curves:
            arrays |= _curves(host, images, trace.kept)
    return {name: value.cpu().numpy() for name, value in arrays.items()}


def _curves(host: Host, images: Tensor, kept: Tensor) -> dict[str, Tensor]:
    whole = shown(host, images, torch.ones_like(kept[:, 0])).float().softmax(1)
    best = whole.argmax(1, keepdim=True)

    def probable(patches: Tensor) -> Tensor:
        found = shown(host, images, patches).float().softmax(1).gather(1, best)[:, 0]
        return found.masked_fill(~patches.any(1), torch.nan)

    inside, outside = (torch.stack([probable(some[:, i]) for i in range(kept.shape[1])], 1) for some in (kept, ~kept))
    return {"insertion": inside, "deletion": outside, "whole": whole.gather(1, best)[:, 0]}


@dataclass
class Swap(Job):
    """What `tokenlens swap` was asked for: the patterns of a job, in these and in other weights."""

    into: Sequence[str] = ()
    """weights that are made to follow the patterns, beside those that decide them"""
    curves: bool = False
    out: Path = Path("swapped")

    def run(self) -> Iterator[str]:
        """Do it; yields a line for each run that is complete."""
        yield from self.completed()._swapped()

    def _swapped(self) -> Iterator[str]:
        planned, opened = self.planned(), self._opened()
        others = [self._carrier(opened, weights) for weights in self.into]
        for _, _, model in self.built(opened.host, planned):
            for carrier in (opened.host, *others):
                filling = self._filling(opened, model, carrier)
                filling.fill()
                run = filling.writer.run
                amount_of = "" if run.keep_rate is None else f" at {run.keep_rate:g}"
                if filling.writer.complete:
                    told = open_run(filling.writer.folder).attrs["metrics"]
                    found = "".join(f"{measure} {value:.1f} %, " for measure, value in told.items())
                    yield f"{run.method}{amount_of} in {carrier.source}: {found}-> {filling.writer.folder}"
                else:
                    self.tell(f"{run.method}{amount_of} in {carrier.source}: {filling.writer.standing}")

    def _carrier(self, opened: Opened, weights: str) -> Pretrained:
        """Other weights; refuses those that see other images or other patches than those that decide."""
        found = replace(self, weights=weights).host(len(opened.data.classes) or 1000)
        self._check_classes(found, opened.data)
        one, other = host_of(opened.host.vit), host_of(found.vit)
        if input_of(found.vit) != input_of(opened.host.vit) or one.grid != other.grid or one.blocks != other.blocks:
            raise BadInput(
                f"{weights} sees images otherwise than {opened.host.source} (size, patches, blocks or mean), so it "
                "cannot follow its patterns; swap between models of one kind"
            )
        found.vit.to(opened.device)
        return found

    def _filling(self, opened: Opened, model: ReducedViT, carrier: Pretrained) -> Filling:
        data, own = opened.data, carrier is opened.host
        host = model.host if own else host_of(carrier.vit)
        host.prepare(sorted({*model.blocks, *listened({block: model.reducer(block) for block in model.blocks})}))
        run = self._swapped_run(opened, model, carrier)
        attributes = {**attributes_of(model), **opened.loading.attributes(), "capacity": capacity_of(run.model),
                      "place": data.name}  # fmt: skip
        chunk = opened.shard.chunk(len(data), CHUNK, opened.loading.batch_size)
        writer = SharedWriter(self.out, run, attributes, data.ids, opened.loading.batch_size, chunk)
        loading = opened.loading.with_batch_size(writer.batch_size)

        def make(rows: range) -> Iterator[Batch]:
            first = rows.start
            for images, labels, objects in batches_of(data, loading, [(rows.start, rows.stop)]):
                names = data.ids[first : first + len(images)]
                arrays = swapped(model, host, images.to(opened.device), labels, opened.precision, self.curves, names)
                if not comparable(data, carrier.vit):
                    arrays["rank"][:] = -1
                if objects is not None and objects.shape[1] == arrays["kept"].shape[-1]:
                    arrays["object"] = objects.numpy()
                first += len(images)
                yield arrays

        settings = self._settings([run.name])
        return Filling(writer, make, summary, opened.shard, settings, self.progress)

    def _swapped_run(self, opened: Opened, model: ReducedViT, carrier: Pretrained) -> Run:
        """The identity: as the patterns' own run has it, but the weights, and who decided."""
        run = self._identity(opened.host, opened.data, model, opened.precision)
        more: dict[str, Any] = {} if carrier is opened.host else {"decided_by": opened.host.digest}
        more |= {"curves": True} if self.curves else {}
        return replace(run, model=carrier.model, weights=carrier.digest, options={**run.options, **more})
