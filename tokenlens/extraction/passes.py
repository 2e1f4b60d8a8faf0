"""Forward passes over batches: models that share their weights share what comes before their first reducers.

On a GPU batches of one shape go by CUDA graphs, from the second on: the first is walked as it comes, so that few images
pay for no capture, and what is wrong with them is told as ever. The last batch of a data set, of another shape, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..core.beginning import Beginning
from ..core.graph import captured
from ..core.reduced_vit import ReducedViT
from ..core.trace import Trace
from ..errors import BadInput, UnknownName

GRAPHS = ("auto", "yes", "no")
Traced = tuple[Tensor, Trace]
T = TypeVar("T")


def graph_on(device: torch.device, name: str) -> str:
    """What a user means by auto, yes or no: auto is no where there is no GPU, and yes cannot be had there."""
    if name not in GRAPHS:
        raise UnknownName("way to use graphs", name, GRAPHS)
    if name == "yes" and device.type != "cuda":
        raise BadInput(f"a CUDA graph needs a GPU, and this computes on {device.type}; leave --graph yes out")
    return name if device.type == "cuda" else "no"


def autocast(device: torch.device, precision: str) -> Any:
    """The context of float32, or of bfloat16 or float16 through autocast."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, getattr(torch, precision))


class Batch:
    """A batch on its way through models that share their weights."""

    def __init__(self, images: Tensor) -> None:
        """Images (B, 3, H, W) on the models' device."""
        self.images = images
        self.begin: Beginning | None = None

    def trace(self, model: ReducedViT, precision: str, features: bool, soft: bool, attention: bool) -> Traced:
        """As `ReducedViT.trace`, in a precision."""
        with autocast(self.images.device, precision):
            if self.begin is None:
                self.begin = Beginning(model.host, self.images)
            return model.trace(self.images, features, soft, self.begin, attention)


class Captured:
    """A place for batches of one shape, one after the other: passes are captured when they are first asked for."""

    def __init__(self, images: Tensor, depth: int, must: bool) -> None:
        """Take the memory.

        Args:
            images: the first batch.
            depth: so many blocks are run once for all models.
            must: refuse a method that cannot be captured, and do not just walk it.
        """
        self.images, self.depth, self.must = images.clone(), depth, must
        self.begin: Beginning | None = None
        self._again: Callable[[], Beginning] | None = None
        self._passes: dict[tuple[Any, ...], Callable[[], Traced]] = {}
        self._pool = torch.cuda.graph_pool_handle() if images.is_cuda else None

    def put(self, images: Tensor) -> None:
        """Take the next batch; what was given for the last one is overwritten."""
        self.images.copy_(images)
        self.begin = self._again() if self._again is not None else None

    def trace(self, model: ReducedViT, precision: str, features: bool, soft: bool, attention: bool) -> Traced:
        """As `Batch.trace`; the tensors are good until the next batch."""
        # autocast keeps weights that it has cast until its context ends: that has to be inside of a graph

        def begun() -> Beginning:
            with autocast(self.images.device, precision):
                begin = Beginning(model.host, self.images)
                begin.before(self.depth)
            return begin

        def walk() -> Traced:
            assert self.begin is not None
            with autocast(self.images.device, precision):
                return model.trace(self.images, features, soft, self.begin.fork(), attention)

        if self.begin is None:
            self._again = self._captured(begun, model.host.name)
            self.begin = self._again()
        key = id(model), precision, features, soft, attention
        if key not in self._passes:
            self._passes[key] = self._captured(walk, model.method or model.host.name)
        return self._passes[key]()

    def _captured(self, run: Callable[[], T], name: str) -> Callable[[], T]:
        """A graph of it; where that cannot be, it itself."""
        try:
            return captured(run, self.images.device, self._pool)
        except RuntimeError as error:
            reason = str(error).split("\n")[0]
            what = f"{name} cannot be captured as a CUDA graph ({reason})"
            if self.must:
                raise BadInput(f"{what}; run it with --graph no") from error
            warnings.warn(f"{what}, so it runs without one", stacklevel=2)
            return run


class Passes:
    """Makes of images, batch for batch, what models can be run on."""

    def __init__(self, graph: str = "no") -> None:
        """`graph` as `graph_on` gives it."""
        self.graph = graph
        self._last: Batch | Captured | None = None

    @torch.inference_mode()
    def of(self, images: Tensor) -> Batch | Captured:
        """A batch on its way, until the next one is asked for."""
        last = self._last
        alike = last is not None and (last.images.shape, last.images.dtype) == (images.shape, images.dtype)
        if self.graph == "no" or last is None or (not alike and isinstance(last, Batch)):
            self._last = Batch(images)
        elif not alike:
            return Batch(images)  # the place is kept for the batches after it
        elif isinstance(last, Captured):
            last.put(images)
        else:
            self._last = Captured(images, 0 if last.begin is None else len(last.begin.after) - 1, self.graph == "yes")
        assert self._last is not None
        return self._last
