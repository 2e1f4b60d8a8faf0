"""Views to decide on, without a model."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from tokenlens.core.random import keys as keys_of_draws
from tokenlens.core.view import View
from tokenlens.methods import Stage

MakeView = Callable[..., View]


@pytest.fixture
def stage() -> Stage:
    return Stage(0, 1, 9, 30, 8)


@pytest.fixture
def make_view() -> MakeView:
    """A view of random tokens with random queries, keys and values behind it."""

    def make(keep: int = 9, count: int = 30, prefix: int = 1, seed: int = 0, mass: Tensor | None = None) -> View:
        rng = torch.Generator().manual_seed(seed)
        tokens = torch.randn(3, count, 8, generator=rng)
        queries, keys, values = torch.randn(3, 3, 2, prefix + count, 4, generator=rng)

        def rows(which: slice) -> Tensor:
            return (queries[:, :, which] @ keys.transpose(-2, -1)).softmax(-1)

        keys_of_patches, values_of_patches = keys[:, :, prefix:], values[:, :, prefix:]
        attended = SimpleNamespace(
            keys=keys_of_patches,
            mean_keys=keys_of_patches.mean(1),
            values=values_of_patches,
            rows=rows,
            received=rows(slice(None)).sum((1, 2))[:, prefix:],
        )
        patch = torch.arange(count).expand(3, -1)
        seeds = keys_of_draws(torch.arange(3), seed, 0)
        return View(tokens, patch, mass, (5, 6), keep, count, prefix, cast(Any, attended), lambda: seeds)

    return make
