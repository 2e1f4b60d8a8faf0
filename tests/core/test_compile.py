"""`torch.compile` takes every method whole: fullgraph refuses a graph break, and the results are those of eager."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.methods import methods

SAME = ("l1", "linf", "atc-single", "atc-complete", "atc-average")  # code as that of l2 and atc
FIRST = ("topk", "ats", "tome", "atc", "dpcknn", "sit", "evovit", "random")  # one of each kind; the others are long


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def build(vit: nn.Module, name: str, **settings: Any) -> ReducedViT:
    torch.manual_seed(3)
    return tokenlens.reduce(vit, name, **{"blocks": (1, 2), **settings})


@pytest.fixture(scope="module")
def shallow(make_vit: Callable[..., nn.Module]) -> nn.Module:
    return make_vit(depth=3)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FIRST else pytest.mark.long) for name in methods() if name not in SAME],
)
@torch.no_grad()
def test_without_graph_breaks_and_with_equal_results(name: str, shallow: nn.Module, images: Tensor) -> None:
    model = build(shallow, name, blocks=(1,))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images), model(images))


@pytest.mark.long
@torch.no_grad()
def test_functionalised_and_for_other_batches(shallow: nn.Module, images: Tensor) -> None:
    """As inductor gets it: without mutation, and with an unknown number of images from the second batch size on."""
    model = build(shallow, "tome")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for count in (2, 4):
        assert (compiled(images[:count]) - model(images[:count])).abs().max() < 1e-5


@torch.no_grad()
def test_masses_in_a_mean_pool(make_vit: Callable[..., nn.Module], images: Tensor) -> None:
    """Whether there is padding to leave out is not asked of the data."""
    vit = make_vit("vit_base_patch16_224", depth=3, global_pool="avg", class_token=False, no_embed_class=True)
    model = build(vit, "tome")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images), model(images))
