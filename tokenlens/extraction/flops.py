"""What a forward pass costs, from the tokens that each block sees.

In the field's GFLOPs, which are billions of multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..core.host import Host, host_of

if TYPE_CHECKING:
    from ..core.reduced_vit import ReducedViT


def gflops(model: nn.Module | Host, left: Mapping[int, Any], site: str = "after_attention") -> Any:
    """Cost of one image in the model itself.

    Args:
        model: one that is understood, or its host.
        left: block -> patch tokens after the stage there; a number, or an array with one for each image.
        site: where the stages stand in their blocks.

    Returns:
        10^9 multiply-adds: patch embedding, blocks and head; what reducers do themselves is left out.
    """
    host = host_of(model) if isinstance(model, nn.Module) else model
    patches: Any = host.grid[0] * host.grid[1]
    total: Any = host.flops_around()
    for i in range(host.blocks):
        after = left.get(i, patches)
        attended = after if site in ("before_block", "ahead") else patches
        total = total + host.flops(i, attended, patches if site == "after_block" else after)
        patches = after
    return total / 1e9


def mean_gflops(model: ReducedViT, tokens_left: NDArray[Any]) -> float:
    """Mean cost of images in a reduced model, reducers included.

    Args:
        model: in eval mode.
        tokens_left: (images, stages), the patch tokens after each stage; padding is not counted.

    Returns:
        10^9 multiply-adds. Of what reducers do, the matrix products are counted, while they run on one image.
    """
    return float(np.mean(_walk(model, tokens_left))) + _reducers(model)


def _walk(model: ReducedViT, tokens_left: NDArray[Any]) -> Any:
    left = np.asarray(tokens_left, np.float64).T
    site = next(iter(model.reducers.values())).site
    return gflops(model.host, dict(zip(model.blocks, left, strict=True)), str(site))


def _distances(a: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Torch's counter leaves `cdist` out, which is a matrix product at heart."""
    return 2 * out_val.numel() * a.shape[-1]


def _multihead(query: Tensor, *_: Any, **__: Any) -> int:
    """Torch's counter leaves out the one kernel of an `nn.MultiheadAttention` too: projections and two products."""
    batch, tokens, width = query.shape
    return 2 * batch * (4 * tokens * width**2 + 2 * tokens**2 * width)


class _Counter(TorchDispatchMode):
    """Counts what `FlopCounterMode` does, not module by module and so several times faster."""

    formulas: ClassVar[dict[Any, Callable[..., int]]] = {
        **flop_registry,
        torch.ops.aten._euclidean_dist: _distances,
        torch.ops.aten._cdist_forward: _distances,
        torch.ops.aten._native_multi_head_attention: _multihead,
    }

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        out = func(*args, **named)
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **named, out_val=out)
        return out


@torch.no_grad()
def _reducers(model: ReducedViT) -> float:
    """What torch counts on one image, less what the ViT itself costs at the tokens that were left."""
    like = next(model.vit.parameters())
    image = torch.zeros(1, *model.host.image, device=like.device, dtype=like.dtype)
    with _Counter() as counter:
        trace = model.trace(image)[1]
    walked = float(_walk(model, trace.tokens_left.cpu().numpy())[0])
    # below 0 only where the attention ran in a kernel that torch's counter does not know
    return max(counter.total / 2e9 - walked, 0.0)
