"""Who learns how fast."""

import math
from typing import Any

import pytest
import timm.optim
from torch import nn

import tokenlens
from tokenlens.training.draws import Order
from tokenlens.training.load_recipe import load_recipe
from tokenlens.training.optimizer import BACKBONE, make_optimizer, parameter_groups

ORDER = Order(images=40, epoch=40, batch_size=8, parts=2, repeats=1, seed=0)  # two steps an epoch


def recipe(**changes: Any) -> Any:
    return load_recipe("imagenet", {key.replace("__", "."): value for key, value in changes.items()})


def names_by(model: nn.Module, groups: list[dict[str, Any]], key: str) -> dict[str, Any]:
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    return {named[id(p)]: group.get(key) for group in groups for p in group["params"]}


def test_without_parameters_of_its_own_a_method_trains_like_timm(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", 0.5, blocks=(1, 3))
    groups = parameter_groups(model, recipe().optimizer, new_head=True)
    theirs = timm.optim.create_optimizer_v2(model.vit, "adamw", lr=1.0, weight_decay=0.05).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [
        (len(group["params"]), group["weight_decay"]) for group in theirs
    ]
    assert not any("lr_scale" in group or BACKBONE in group for group in groups)


@pytest.mark.parametrize("new_head", [False, True])
@pytest.mark.parametrize("full_rate", [[], ["head", "pos_embed", "patch_embed"]])
def test_beside_new_modules_the_backbone_is_slower_and_rests_at_first(
    tiny_vit: nn.Module, new_head: bool, full_rate: list[str]
) -> None:
    model = tokenlens.reduce(tiny_vit, "sit", 0.5, blocks=(1, 3))
    changed = recipe(
        schedule__epochs=4, schedule__warmup_epochs=0, optimizer__freeze_epochs=1, optimizer__full_rate=full_rate
    )
    optimizer, pace = make_optimizer(model, changed, ORDER, new_head)
    highest = 1e-3 * 16 / 1024  # linear scaling
    for step in range(8):
        whole = 1e-5 + (highest - 1e-5) * (1 + math.cos(math.pi * step / 8)) / 2
        assert pace.set(step) == pytest.approx(whole)
        for name, rate in names_by(model, optimizer.param_groups, "lr").items():
            quick = [*full_rate, *(["head"] if new_head else [])]
            slow = name.startswith("vit.") and not name.startswith(tuple(f"vit.{part}" for part in quick))
            assert rate == pytest.approx(whole * (0.01 if slow else 1) * (step >= 2 or not slow)), name
    assert len(names_by(model, optimizer.param_groups, "lr")) == len(list(model.parameters()))
    decay = names_by(model, optimizer.param_groups, "weight_decay")
    assert {decay["vit.cls_token"], decay["vit.norm.weight"], decay["reducers.1.weight.1.bias"]} == {0.0}
    assert decay["reducers.1.weight.1.weight"] == decay["vit.blocks.0.attn.qkv.weight"] == 0.05


def test_the_published_protocol_never_slows_heads_and_embeddings(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "sit", 0.5, blocks=(1, 3))
    marked = names_by(model, parameter_groups(model, recipe().optimizer, new_head=False), BACKBONE)
    assert {name.split(".")[1] for name, slow in marked.items() if name.startswith("vit.") and not slow} == {
        "head", "patch_embed", "pos_embed",
    }  # fmt: skip
    assert {name.split(".")[1] for name, slow in marked.items() if slow} == {"cls_token", "blocks", "norm"}


def test_warm_up_is_a_line_and_a_step_alone_tells_its_rate(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", 0.5, blocks=(1, 3))
    changed = recipe(schedule__epochs=4, schedule__warmup_epochs=2, optimizer__lr=0.64)
    _, pace = make_optimizer(model, changed, ORDER, False)
    rates = [pace.set(step) for step in range(8)]
    assert rates[:4] == pytest.approx([1e-6 + (0.01 - 1e-6) * step / 4 for step in range(4)])
    _, again = make_optimizer(model, changed, ORDER, False)
    assert [again.set(step) for step in (5, 2, 7)] == [rates[5], rates[2], rates[7]]


def test_layer_wise_decay_is_timms(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "sit", 0.5, blocks=(1, 3))
    scale = names_by(model, parameter_groups(model, recipe(optimizer__layer_decay=0.5).optimizer, False), "lr_scale")
    assert scale["vit.blocks.5.mlp.fc1.weight"] == 2 * scale["vit.blocks.4.mlp.fc1.weight"]
    assert scale["vit.norm.weight"] == 0.005 and scale["vit.head.weight"] == 1 and scale["reducers.1.scale"] is None


def test_what_cannot_be_scheduled_is_refused(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", 0.5, blocks=(1, 3))
    with pytest.raises(tokenlens.BadInput, match="warmup_epochs is 20, more than the 3 epochs"):
        make_optimizer(model, recipe(schedule__epochs=3), ORDER, False)
    with pytest.raises(tokenlens.BadInput, match="timm makes no optimizer 'adamm'"):
        make_optimizer(model, recipe(optimizer__name="adamm"), ORDER, False)


def test_betas_are_the_optimizers_own_unless_said(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", 0.5, blocks=(1, 3))
    for said, betas in ((None, (0.9, 0.999)), ([0.8, 0.98], (0.8, 0.98))):
        optimizer, _ = make_optimizer(model, recipe(optimizer__betas=said), ORDER, new_head=False)
        assert all(group["betas"] == betas for group in optimizer.param_groups)
