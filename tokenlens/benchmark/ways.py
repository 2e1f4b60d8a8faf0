"""The ways in which forward passes are run, and what is found of a model in one of them before it is timed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..core.graph import graphed
from ..core.reduced_vit import ReducedViT
from ..errors import BadInput
from .timing import Stopwatch, enqueued, on_gpu, peak_megabytes, seconds

SHARES = 3  # walks of which the reducers' share is the median
Call = Callable[[Tensor], Tensor]


class Way(NamedTuple):
    """How forward passes are run."""

    compiled: bool = False
    graph: bool = False

    def __str__(self) -> str:
        return "compiled" if self.compiled else "graph" if self.graph else "eager"

    def of(self, model: nn.Module, example: Tensor) -> Call:
        """The forward pass of a model, for images like an example."""
        if self.graph:
            return graphed(model, example)
        return torch.compile(model, dynamic=False) if self.compiled else model


EAGER = Way()


@dataclass
class Side:
    """One of the models that take turns."""

    method: str
    keep_rate: float
    model: nn.Module
    gflops: float
    tokens_left: str
    """<block>:<tokens> for each stage, mean over images"""
    ideal: nn.Module | None = None
    """the host's own blocks at as many tokens; one for all sides to which it is the same"""


@dataclass
class Pass:
    """A side in one of the ways."""

    side: Side
    way: Way
    call: Call
    peak_mb: float
    """of a graph: of making it, when it takes its memory"""
    deciding: float = math.nan
    """the share of a walk that its reducers take"""
    enqueue_ms: float = math.nan
    gpu_ms: float = math.nan
    ideal: int | None = None
    """the place of its ideal among the ideals"""

    @classmethod
    def made(cls, side: Side, way: Way, images: Tensor, warmup: int, must: bool) -> Pass | None:
        """Make it ready, and find what is no matter of turns.

        Args:
            side: the model.
            way: how it is run.
            images: a batch.
            warmup: passes before.
            must: refuse what cannot be captured as a graph; else it is said, and None.
        """
        device, calls = images.device, list[Call]()

        def ready() -> None:
            calls.append(warm(way.of(side.model, images), images, warmup))

        with failures(side.method, len(images), way):
            if not way.graph:
                ready()
                peak = peak_megabytes(partial(calls[0], images), device)
            else:
                try:
                    peak = peak_megabytes(ready, device)
                except RuntimeError as error:
                    if must or isinstance(error, torch.OutOfMemoryError):
                        raise
                    warnings.warn(
                        f"{side.method} cannot be captured as a CUDA graph ({_first_line(error)})", stacklevel=2
                    )
                    return None
            found = cls(side, way, calls[0], peak)
            if isinstance(side.model, ReducedViT) and way == EAGER:
                found.deciding = _deciding(side.model, images)
            if device.type == "cuda":
                call = partial(found.call, images)
                found.enqueue_ms, found.gpu_ms = 1e3 * enqueued(call, device), 1e3 * on_gpu(call, device)
        return found


def warm(call: Call, images: Tensor, count: int) -> Call:
    """The same, after passes that do not count."""
    for _ in range(count):
        call(images)
    return call


def passes_of(
    sides: Sequence[Side], ways: Sequence[Way], images: Tensor, warmup: int, must: bool
) -> Iterator[tuple[Pass | None, Call | None]]:
    """Each side in each way, as `Pass.made` makes it, and an ideal that no pass before it had."""
    places: dict[tuple[int, Way], int] = {}
    for side in sides:
        for way in ways:
            made, ideal = Pass.made(side, way, images, warmup, must), None
            if made is not None and side.ideal is not None and not way.compiled:  # that would take minutes more
                key = id(side.ideal), way
                if key not in places:
                    ideal = warm(way.of(side.ideal, images), images, warmup)
                made.ideal = places.setdefault(key, len(places))
            yield made, ideal


def _deciding(model: ReducedViT, images: Tensor) -> float:
    """The share of a walk that its reducers take, which on a GPU are waited for."""
    watch, shares = Stopwatch(model.reducers.values(), images.device), list[float]()
    for _ in range(SHARES):
        watch.seconds = 0.0
        whole = seconds(partial(model, images), images.device)
        shares.append(watch.seconds / whole)
    watch.leave()
    return float(np.median(shares))


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]


@contextmanager
def failures(method: str, size: int, way: Way = EAGER) -> Iterator[None]:
    """Tell what a machine cannot do with batches of a size in one sentence."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise BadInput(
                f"{method} with a batch of {size} does not fit into memory; give a smaller --batch-size, "
                "what was measured before is in the table"
            ) from error
        if way == EAGER:
            raise
        fact, option = ("torch.compile fails for", "--compile") if way.compiled else ("no CUDA graph of", "--graph")
        raise BadInput(f"{fact} {method} ({_first_line(error)}); measure it with {option} no") from error
