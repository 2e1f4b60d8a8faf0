"""A walk asks the host computer nothing and is sent nothing by it: it can be captured as one CUDA graph.

Shown without a GPU: torch's fake tensors go through every operation of a walk on a device that is not there.
"""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import tokenlens
from tokenlens.core.host import HOSTS
from tokenlens.core.plan import Plan, select
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.core.reducer import Reducer, Stage
from tokenlens.core.schedule import schedule
from tokenlens.core.view import View
from tokenlens.errors import BadInput
from tokenlens.methods import methods


class FromTheHost(TorchDispatchMode):
    """Notes what is made of Python's numbers, what goes from one device to another, and masks that a GPU has to count.

    What asks for a number, or for a shape that only the data know, cannot be done with fake tensors: that raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, parts = func.name(), [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        devices = {part.device.type for part in parts if part.dim()}  # a number goes along with the launch
        if name == "aten::_to_copy":
            devices.add(torch.device((kwargs or {}).get("device") or args[0].device).type)
        masked = name.startswith("aten::index_put") and any(
            part.dtype == torch.bool for part in args[1] if part is not None
        )
        if name.startswith("aten::lift_fresh") or len(devices) > 1 or masked:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


class Recorded(nn.Module):
    """A model, and what extraction writes down of its walk."""

    def __init__(self, model: ReducedViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, trace = self.model.trace(images)
        return logits, trace.kept, trace.group, trace.tokens_left


def walked(model: ReducedViT) -> list[str]:
    """Walk on a GPU that is not there; what came from the host."""
    watch, recorded = FromTheHost(), Recorded(model)
    with torch.no_grad(), FakeTensorMode():
        parts = {**dict(recorded.named_parameters()), **dict(recorded.named_buffers())}
        there = {k: torch.empty(v.shape, dtype=v.dtype, device="cuda") for k, v in parts.items()}
        images = torch.empty(2, *model.host.image, device="cuda")
        with watch:
            found = functional_call(recorded, there, (images,))
    assert {part.device.type for part in found} == {"cuda"}
    return watch.seen


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=64, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=5
    ).eval()


@pytest.mark.parametrize("how", [{"blocks": (1, 2)}, {"remove": 5}], ids=["rate", "off the shelf"])
@pytest.mark.parametrize("name", methods())
def test_a_walk_needs_no_host(name: str, how: dict[str, Any], vit: nn.Module) -> None:
    assert walked(tokenlens.reduce(vit, name, **how)) == []


@pytest.mark.parametrize("name", list(HOSTS))
def test_a_walk_of_any_model_needs_no_host(name: str) -> None:
    assert walked(tokenlens.reduce(HOSTS[name].example().eval(), "tome", blocks=(0, 1))) == []


class Orders(Reducer):
    """Keeps tokens in an order that a function of the scores (B, N) gives."""

    order: Callable[[Tensor], Tensor]

    def forward(self, view: View) -> Plan:
        return select(view, self.order(view.x.sum(-1))[:, : view.keep])


def overwritten(scores: Tensor) -> Tensor:
    scores[scores > 0] = scores.mean()
    return scores.argsort()


ASKING: dict[str, Callable[[Tensor], Tensor]] = {
    "item": lambda scores: scores.argsort() + int(scores.sum().item() > 3),
    "if": lambda scores: scores.argsort() if scores.sum() > 3 else scores.argsort().flip(1),
    "tolist": lambda scores: scores.argsort()[:, : len(scores[0].tolist())],
    "nonzero": lambda scores: (scores < torch.inf).nonzero()[:, 1].view_as(scores),
    "mask": lambda scores: scores[scores < torch.inf].view_as(scores).argsort(),
    "unique": lambda scores: scores.argsort() + torch.unique(scores)[0].long(),
}
SENDING: dict[str, Callable[[Tensor], Tensor]] = {
    "made of numbers": lambda scores: scores.argsort()[:, torch.tensor([*range(scores.shape[1])])],
    "list": lambda scores: scores.argsort()[:, [*range(scores.shape[1])]],
    "made there": lambda scores: torch.arange(scores.shape[1]).to(scores.device).expand_as(scores),
    "index": lambda scores: scores.argsort()[:, torch.arange(scores.shape[1])],
    "cpu": lambda scores: scores.cpu().to(scores.device).argsort(),
    "overwritten": overwritten,
}


@pytest.mark.parametrize("way", [*ASKING, *SENDING])
def test_the_check_sees_a_reducer_that_asks_or_sends(way: str, vit: nn.Module) -> None:
    reducer = Orders(Stage(0, 1, 9, 64, 32))
    reducer.order = {**ASKING, **SENDING}[way]
    model = ReducedViT(vit, {1: reducer}, schedule((1,), keep=(9,), depth=3))
    if way in ASKING:
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            walked(model)
    else:
        assert walked(model)


@torch.no_grad()
def test_without_cuda_a_graphed_model_is_the_model(vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(vit, "tome", blocks=(1,))
    assert torch.equal(model.graphed(images)(images), model(images))
    with pytest.raises(BadInput, match="in training is not captured"):
        model.train().graphed(images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="captures on a GPU")
@pytest.mark.parametrize("name", methods())
@torch.no_grad()
def test_a_graph_gives_what_the_model_gives(name: str, vit: nn.Module, images: Tensor) -> None:
    model, images = tokenlens.reduce(vit, name, blocks=(1, 2)).cuda(), images.cuda()
    fast = model.graphed(torch.zeros_like(images))
    assert (fast(images) - model(images)).abs().max() < 1e-4  # sums by group are made in no fixed order there
    with pytest.raises(BadInput, match="capture one for them"):
        fast(images[:1])
