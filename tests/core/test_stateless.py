"""A walk leaves nothing on the model: threads, exceptions, hooks, adapters and tracing see what they see of timm's."""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from timm.data import create_transform, resolve_model_data_config
from timm.models.vision_transformer import Block
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.extraction.flops import gflops
from tokenlens.methods import methods


@pytest.mark.parametrize("name", ["topk", "kmedoids", "tome"])
@torch.no_grad()
def test_threads_share_a_model(name: str, tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, name, blocks=(1, 3))
    batches = [torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(24)]

    def patterns(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():  # which belongs to a thread
            trace = model.trace(images)[1]
        return trace.kept, trace.group

    alone = [patterns(images) for images in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(patterns, batches))
    assert all(
        torch.equal(a, b) for one, two in zip(alone, together, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_an_exception_leaves_nothing_behind(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", blocks=(1, 3)).train()
    before = {name: set(vars(module)) for name, module in model.named_modules()}

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("as on a full GPU")

    handle = model.vit.blocks[4].register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        model(images)
    handle.remove()
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert torch.equal(copy.deepcopy(model).eval()(images), model.eval()(images))


@torch.no_grad()
def test_hooks_on_every_block_and_layer_are_called(tiny_vit: nn.Module, images: Tensor) -> None:
    vit: Any = copy.deepcopy(tiny_vit)
    seen: list[str] = []
    for name, module in vit.named_modules():
        if name.startswith("blocks.") and not name.endswith("_norm"):  # a reducer normalises what it reads
            module.register_forward_hook(lambda m, a, o, name=name: seen.append(name))
    vit(images)
    of_timm, seen[:] = seen.copy(), []
    for method in ("topk", "kmedoids"):
        tokenlens.reduce(vit, method, blocks=(1, 3))(images)
        assert seen == of_timm
        seen.clear()


@torch.no_grad()
def test_a_hook_sees_the_tokens_that_a_block_hands_on(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", keep=(20,), blocks=(2,))
    left: list[int] = []
    for block in model.vit.blocks:
        block.register_forward_hook(lambda m, a, o: left.append(o.shape[1]))
        assert isinstance(block, Block)
    model(images)
    assert left == [65, 65, 21, 21, 21, 21]


class LowRank(nn.Module):
    """What LoRA puts in a layer's place."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.low = base, nn.Linear(base.in_features, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.low(x)


@pytest.mark.parametrize("name", ["topk", "kmedoids", "tome"])
@torch.no_grad()
def test_adapters_may_come_after_reducers(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    before: Any = copy.deepcopy(tiny_vit)
    for i, block in enumerate(before.blocks):
        torch.manual_seed(i)
        block.attn.qkv = LowRank(block.attn.qkv)
    after = tokenlens.reduce(tiny_vit, name, blocks=(1, 3))
    for block, adapted in zip(after.vit.blocks, before.blocks, strict=True):
        block.attn.qkv = copy.deepcopy(adapted.attn.qkv)
    (logits, trace), (other, same) = (m.trace(images) for m in (after, tokenlens.reduce(before, name, blocks=(1, 3))))
    assert torch.equal(logits, other) and torch.equal(trace.group, same.group)
    assert not torch.equal(logits, tokenlens.reduce(tiny_vit, name, blocks=(1, 3))(images))


@pytest.mark.parametrize("name", methods())
@torch.no_grad()
def test_torch_jit_traces_it_and_its_products_are_counted(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    torch.manual_seed(0)
    model = tokenlens.reduce(tiny_vit, name, blocks=(1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # of sizes, which a trace takes as they are
        traced = torch.jit.trace(model, images, check_trace=False)
    assert (traced(images) - model(images)).abs().max() < 1e-5
    with FlopCounterMode(display=False) as counter:
        model(images)
    share = counter.get_total_flops() / (2e9 * len(images) * gflops(tiny_vit, {}))
    assert 0.25 < share < (1.25 if model.follows_rate else 1.5), share


@pytest.mark.parametrize("name", {each.reducer.family: name for name, each in reversed(methods().items())}.values())
@torch.no_grad()
def test_fvcore_counts_its_products_as_torch_does(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    """To the last one: the first method of each family, but for what is one operator of its own, as attention."""
    from fvcore.nn import FlopCountAnalysis

    torch.manual_seed(0)
    model = tokenlens.reduce(tiny_vit, name, blocks=(1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        found = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).by_operator()
    with FlopCounterMode(display=False) as counter:
        model(images)
    products = ("aten.addmm", "aten.mm", "aten.bmm", "aten.convolution")
    torchs = sum(count for kind, count in counter.get_flop_counts()["Global"].items() if str(kind) in products)
    assert 2 * sum(count for kind, count in found.items() if kind != "layer_norm") == torchs > 0


@pytest.mark.parametrize("name", ["topk", "dpcknn"])
def test_checkpointing_changes_no_gradient(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    def gradients(checkpointed: bool) -> tuple[int, dict[str, Tensor]]:
        torch.manual_seed(0)
        model, runs = tokenlens.reduce(tiny_vit, name, blocks=(3,)).train(), []
        model.set_grad_checkpointing(checkpointed)
        model.vit.blocks[0].norm1.register_forward_hook(lambda *_: runs.append(1))
        model(images).square().sum().backward()
        return len(runs), {key: p.grad for key, p in model.named_parameters() if p.grad is not None}

    (once, plain), (twice, recomputed) = gradients(False), gradients(True)
    assert (once, twice) == (1, 2)
    assert plain.keys() == recomputed.keys() and all(torch.equal(plain[key], recomputed[key]) for key in plain)


def test_timms_tools_take_it_as_they_take_the_vit(tiny_vit: nn.Module, images: Tensor) -> None:
    vit: Any = tiny_vit
    model = tokenlens.reduce(vit, "dynamicvit", blocks=(1, 3))
    assert resolve_model_data_config(model) == resolve_model_data_config(vit)
    assert repr(create_transform(**resolve_model_data_config(model))) == repr(
        create_transform(**resolve_model_data_config(vit))
    )
    assert (model.num_classes, model.num_features, model.default_cfg) == (10, 32, vit.default_cfg)
    assert model.get_classifier() is model.vit.head
    features = model.forward_features(images)
    assert features.shape == (4, 1 + model.keep[-1], 32)
    assert torch.equal(model.forward_head(features), model(images))
    assert model.forward_head(features, pre_logits=True).shape == (4, 32)


def test_optimizers_group_its_parameters_as_the_vits(tiny_vit: nn.Module) -> None:
    def grouped(model: nn.Module, **how: Any) -> list[tuple[float, float, set[str]]]:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        made = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, **how).param_groups
        owned = [{names[id(p)].removeprefix("vit.") for p in group["params"]} for group in made]
        return [(g["weight_decay"], g.get("lr_scale", 1.0), own) for g, own in zip(made, owned, strict=True)]

    model = tokenlens.reduce(tiny_vit, "topk", blocks=(1, 3))
    for how in ({}, {"layer_decay": 0.75}):
        assert grouped(model, **how) == grouped(tiny_vit, **how)
    trained = grouped(tokenlens.reduce(tiny_vit, "dpcknn", blocks=(1,)), layer_decay=0.75)
    own = [scale for _, scale, names in trained if any(name.startswith("reducers.") for name in names)]
    assert set(own) == {1.0}, "what is new learns at the full rate"


def test_it_remembers_what_it_was_made_of(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "kmedoids", blocks=(1,), iterations=2)
    assert (model.method, model.options) == ("kmedoids", {"iterations": 2})
    again = tokenlens.reduce(model.vit, model.method, blocks=model.blocks, **model.options)
    assert again.reducer(1).iterations == 2
