"""A walk asks the host computer nothing and is sent nothing by it: it can be captured as one CUDA graph.

Shown without a GPU: torch's fake tensors go through every operation of a walk on a device that is not there.
"""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

import tokenlens
from tokenlens.core.plan import Plan, select
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.core.reducer import Reducer, Stage
from tokenlens.core.schedule import schedule
from tokenlens.core.view import View
from tokenlens.errors import BadInput
from tokenlens.methods import methods


class FromTheHost(TorchDispatchMode):
    """Counts tensors that are made of Python's numbers or copied to another device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        moved = func.name() == "aten::_to_copy" and torch.device((kwargs or {}).get("device") or args[0].device).type
        if func.name().startswith("aten::lift_fresh") or (moved and moved != args[0].device.type):
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def walked(model: nn.Module, size: int = 64) -> list[str]:
    """Walk on a GPU that is not there; what came from the host."""
    fake, watch = FakeTensorMode(), FromTheHost()
    with torch.no_grad(), fake:
        parts = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        there = {k: torch.empty(v.shape, dtype=v.dtype, device="cuda") for k, v in parts.items()}
        with watch:
            out = functional_call(model, there, (torch.empty(2, 3, size, size, device="cuda"),))
    assert out.device.type == "cuda"
    return watch.seen


@pytest.fixture
def vit() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=64, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=5
    ).eval()


@pytest.mark.parametrize("how", [{"blocks": (1, 2)}, {"remove": 5}], ids=["rate", "off the shelf"])
@pytest.mark.parametrize("name", methods())
def test_a_walk_needs_no_host(name: str, how: dict[str, Any], vit: nn.Module) -> None:
    assert walked(tokenlens.reduce(vit, name, **how)) == []


class Asks(Reducer):
    def forward(self, view: View) -> Plan:
        best = view.x.sum(-1).topk(view.keep).indices
        return select(view, best if bool(best.sum() > 3) else best.flip(1))


class Sends(Reducer):
    def forward(self, view: View) -> Plan:
        order = torch.tensor([list(range(view.keep))], device=view.x.device)
        return select(view, order.expand(len(view.x), -1))


def test_the_check_sees_a_reducer_that_asks_or_sends(vit: nn.Module) -> None:
    def put(kind: type[Reducer]) -> ReducedViT:
        return ReducedViT(vit, {1: kind(Stage(0, 1, 9, 64, 32))}, schedule((1,), keep=(9,), depth=4))

    with pytest.raises(DataDependentOutputException):
        walked(put(Asks))
    assert walked(put(Sends))


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
