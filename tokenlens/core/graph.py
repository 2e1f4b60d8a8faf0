"""A walk as one CUDA graph: enqueued once, replayed without the host computer.

Enqueueing a walk takes the host longer than carrying it out takes the GPU, most of all at small batches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import BadInput

WARM_UP = 3  # walks before the capture, in which kernels are compiled and memory is taken


@torch.no_grad()
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
    images = example.clone()
    here, aside = torch.cuda.current_stream(example.device), torch.cuda.Stream(example.device)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            model(images)
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = model(images)

    wanted = tuple(images.shape), images.dtype, images.device

    def replay(given: Tensor) -> Tensor:
        found = tuple(given.shape), given.dtype, given.device
        if found != wanted:
            raise BadInput(
                f"the graph was captured for images of {' '.join(map(str, wanted))} and not of "
                f"{' '.join(map(str, found))}; capture one for them"
            )
        images.copy_(given)
        graph.replay()
        return logits.clone()

    return replay
