"""Put a method into a copy of a model: what users call first."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from torch import nn

from .core.host import Host, host_of
from .core.reduced_vit import ReducedViT
from .core.reducer import Stage
from .core.schedule import STUDY_BLOCKS, schedule
from .errors import BadInput
from .methods.registry import Method, methods
from .methods.registry import method as method_named
from .synthesis.denoiser import is_diffusers


def reduce(
    vit: nn.Module,
    method: str = "topk",
    keep_rate: float | Sequence[float] | None = None,
    blocks: int | Sequence[int] = STUDY_BLOCKS,
    *,
    keep: Sequence[int] | None = None,
    remove: int | None = None,
    decreasing: bool = False,
    seed: int = 0,
    **options: Any,
) -> ReducedViT:
    """Put a token reduction method into a copy of a model.

    Args:
        vit: one of those that `tokenlens hosts` and `tokenlens models` list; it is not changed.
        method: a registered name; `tokenlens methods` lists them.
        keep_rate: one rate r in (0, 1] (r, r squared, ... of the patches remain), or one share for each block; 0.5 if
            neither this, `keep` nor `remove` is given.
        blocks: 0-indexed, ascending.
        keep: absolute counts instead of rates, one for each block.
        remove: off the shelf instead: so many tokens go at every block.
        decreasing: with `remove`, twice as many at the first block, down to none at the last.
        seed: of whatever is drawn at random.
        **options: of the method; beside its own, where it reads such a thing, `from_class="received"` (for a model
            without a class token), `keys="rotated"` and `position="member"`, `"mean"` or `"rotation"` (for positions
            that travel with the tokens, `tokenlens.core.positions`).

    Returns:
        A module from images (B, 3, H, W) float to logits, with `trace(images)`. Of a diffusers pipeline or denoiser,
        what `tokenlens.synthesis.reduce.reduce_denoiser` returns, whose options these are: it is not copied, and
        reduced until `remove()` or the end of a `with`.

    Raises:
        BadInput: an unsupported model, an unknown method or option, or rates and blocks that make no schedule.

    Examples:
        >>> import torch, tokenlens
        >>> model = tokenlens.reduce(tokenlens.load("nano"), "topk", keep_rate=0.5, blocks=(3, 6, 9))
        >>> model(torch.zeros(2, 3, 112, 112)).shape
        torch.Size([2, 10])
    """
    if is_diffusers(vit):
        from .synthesis.reduce import reduce_denoiser

        of_vits = (keep_rate, keep, remove, decreasing, tuple(np.atleast_1d(blocks)))
        if of_vits != (None, None, None, False, STUDY_BLOCKS):
            raise BadInput("a diffusion model's blocks are reduced by one ratio; say ratio=0.5, and max_downsample")
        return reduce_denoiser(vit, method, seed=seed, **options)  # type: ignore[return-value]
    host = host_of(vit)
    if not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise BadInput(f"the seed is {seed!r}; give 0 or more, a whole number below 2**63")
    chosen = method_named(method)
    if keep_rate is None and keep is None and remove is None:
        keep_rate = 0.5
    settings = chosen.options(options)
    _check_reading(chosen, settings, host)
    grid = host.grid
    asked = schedule(blocks, keep_rate, keep, remove, decreasing, depth=host.blocks)
    plan = chosen.reducer.schedule(asked, grid, **settings)
    patches = grid[0] * grid[1]
    reducers = {
        block: chosen.build(Stage(index, block, count, patches, host.width, grid, host.blocks), settings)
        for index, (block, count) in enumerate(zip(plan.blocks, plan.keep(patches), strict=True))
    }
    if host.has_positions and any(reducer.site == "ahead" for reducer in reducers.values()):
        raise BadInput(
            f"{chosen.name} looks at a block ahead of it, which is not understood where every block is told where "
            f"tokens stand, as in {host.name}; choose another method, or a model that adds positions to its tokens once"
        )
    made = getattr(host, "reduced", ReducedViT)
    return made(copy.deepcopy(vit), reducers, plan, int(seed), method, settings)


def _check_reading(chosen: Method, settings: dict[str, Any], host: Host) -> None:
    """Refuse what the host does not have to read."""
    if "class token" in chosen.reducer.needs and not host.has_class_token and settings.get("from_class") != "received":
        others = ", ".join(n for n, m in methods().items() if "class token" not in m.reducer.needs)
        raise BadInput(
            f"{chosen.name} reads the attention of the class token, and {host.name} has none; let "
            "from_class=received stand in, the mean attention that each token receives, "
            f"or take one of the methods that do without: {others}"
        )
    for name in ("keys", "position"):
        if name in settings and not host.has_positions:
            raise BadInput(
                f"option {name} is about positions that attention reads, and {host.name} adds them to its tokens once; "
                "leave the option out"
            )
