"""The trace retells plans on the patch grid."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.plan import Plan
from tokenlens.core.trace import Trace
from tokenlens.errors import BadInput

CPU = torch.device("cpu")


def plan_of(kept: list[int], group: list[int], mass: list[float] | None = None) -> Plan:
    return Plan(torch.tensor([kept]), torch.tensor([group]), mass=None if mass is None else torch.tensor([mass]))


def test_plans_are_composed_to_the_patches() -> None:
    trace = Trace(1, 5, CPU)
    trace.add(2, plan_of([4, 0, 2], [1, -1, 2, -1, 0]))  # drop patches 1 and 3
    trace.add(3, None)
    trace.add(5, plan_of([-1, 2], [0, 0, 1]))  # patches 4 and 0 become one, patch 2 stays
    assert trace.blocks == [2, 3, 5]
    first = [1, -1, 2, -1, 0]
    assert trace.group.tolist() == [[first, first, [0, -1, 1, -1, 0]]]
    assert trace.kept.int().tolist() == [[[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [0, 0, 1, 0, 0]]]
    assert trace.tokens_left.tolist() == [[3, 3, 2]]
    assert trace.patch.tolist() == [[-1, 2]]


def test_padding_is_no_token() -> None:
    trace = Trace(1, 3, CPU)
    trace.add(0, plan_of([2, -1], [-1, -1, 0], [1.0, 0.0]))
    assert trace.tokens_left.tolist() == [[1]]
    assert trace.kept.tolist() == [[[False, False, True]]]
    assert trace.mass[0].tolist() == [[1.0, 0.0]]


def test_without_plans_all_is_kept() -> None:
    trace = Trace(2, 3, CPU)
    trace.add(1, None)
    assert trace.kept.all() and trace.tokens_left.tolist() == [[3], [3]]
    assert trace.group.tolist() == [[[0, 1, 2]]] * 2


@torch.no_grad()
def test_features_are_the_class_tokens_after_blocks(tiny_vit: nn.Module, images: Tensor) -> None:
    _, trace = tokenlens.reduce(tiny_vit, "none", blocks=(1, 3)).trace(images, features=True)
    after = tiny_vit.forward_intermediates(images, indices=[1, 3, 5], return_prefix_tokens=True)[1]
    assert list(trace.features) == [1, 3, 5]
    for feature, (_, prefix) in zip(trace.features.values(), after, strict=True):
        assert torch.equal(feature, prefix[:, 0])
    assert tokenlens.reduce(tiny_vit, "none", blocks=(1, 3)).trace(images)[1].features == {}


@pytest.mark.parametrize("name", ["sit", "patchmerger", "sinkhorn"])
@torch.no_grad()
def test_soft_maps_only_when_asked_for(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, name, blocks=(1, 3))
    _, trace = model.trace(images, soft=True)
    assert {block: tuple(soft.shape) for block, soft in trace.soft.items()} == {1: (4, 32, 64), 3: (4, 16, 32)}
    assert torch.equal(trace.soft[1].argmax(1), trace.group[:, 0].long())
    if name != "sinkhorn":
        torch.testing.assert_close(trace.soft[3].sum(-1), torch.ones(4, 16))
    assert model.trace(images)[1].soft == {}


def test_features_need_a_class_token(make_vit: Callable[..., nn.Module], images: Tensor) -> None:
    vit = make_vit("vit_base_patch16_siglip_224")
    with pytest.raises(BadInput, match="vit_base_patch16_siglip_224 has no class token"):
        tokenlens.reduce(vit, "tome", blocks=(1,)).trace(images, features=True)
