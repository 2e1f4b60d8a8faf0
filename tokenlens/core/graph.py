"""A walk as one CUDA graph: enqueued once, replayed without the host computer.

Enqueueing a walk takes the host longer than carrying it out takes the GPU, most of all at small batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import BadInput

WARM_UP = 3  # walks before the capture, in which kernels are compiled and memory is taken
T = TypeVar("T")


@torch.no_grad()
def captured(run: Callable[[], T], device: torch.device, pool: Any = None) -> Callable[[], T]:
    """What does again, by one CUDA graph, what `run` does with tensors that stay where they are.

    Args:
        run: asks the host computer nothing; where it reads, others may write before the next replay.
        device: where it computes; on any other than CUDA it is run as it is.
        pool: memory (`torch.cuda.graph_pool_handle()`) that it shares with graphs which never run at the same time.

    Returns:
        A function that replays it, and gives the same tensors each time, with new values.

    Raises:
        RuntimeError: it cannot be captured, as a method that asks the GPU for a number; torch's reason.
    """
    if device.type != "cuda":
        return run
    here, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            run()
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:  # threads that read images may take pinned memory meanwhile
        with torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
            found = run()
    except RuntimeError:
        torch.cuda.set_stream(here)  # which torch leaves alone where a capture fails
        raise

    def replay() -> T:
        graph.replay()
        return found

    return replay


def graphed(model: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from images like `example` to the model's logits; where there is no CUDA, the model as it is.

    Args:
        model: in evaluation; its weights may change in place, its shape may not.
        example: (B, 3, H, W) on the model's device; images of another shape, type or device are refused.

    Raises:
        BadInput: the model is in training.
    """
    if model.training:
        raise BadInput("a model in training is not captured: what it draws would repeat; call .eval() first")
    if not example.is_cuda:
        return torch.no_grad()(lambda given: model(given))
    with torch.inference_mode(False):  # what is written to in each replay, in any mode
        images = example.detach().clone()
    again = captured(lambda: model(images), example.device)
    wanted = tuple(images.shape), images.dtype, images.device

    @torch.no_grad()
    def replay(given: Tensor) -> Tensor:
        found = tuple(given.shape), given.dtype, given.device
        if found != wanted:
            raise BadInput(
                f"the graph was captured for images of {' '.join(map(str, wanted))} and not of "
                f"{' '.join(map(str, found))}; capture one for them"
            )
        images.copy_(given)
        return again().clone()

    return replay
