"""The walk: what it leaves alone, what it refuses, and what a reducer gets to see."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.plan import Plan, select
from tokenlens.core.reducer import Reducer, Stage
from tokenlens.core.view import View
from tokenlens.errors import BadInput, UnknownName
from tokenlens.extraction.batch import record
from tokenlens.extraction.passes import Batch
from tokenlens.methods.registry import METHODS, register

MakeViT = Callable[..., nn.Module]


@pytest.fixture
def registered() -> Iterator[None]:
    """Forget what a test registers."""
    METHODS.get("none")
    before = dict(METHODS._things), dict(METHODS._origin)
    yield
    METHODS._things, METHODS._origin = before


@torch.no_grad()
def test_the_given_model_is_not_changed(make_vit: MakeViT, images: Tensor) -> None:
    vit = make_vit().train()
    state = copy.deepcopy(vit.state_dict())
    before = vit.eval()(images)
    vit.train()
    model = tokenlens.reduce(vit, "tome", blocks=(1, 3))
    assert model.training and vit.training
    model(images)
    for parameter in model.parameters():
        parameter.zero_()
    assert all(torch.equal(value, state[name]) for name, value in vit.state_dict().items())
    assert not any(module._forward_hooks for module in vit.modules())
    assert torch.equal(vit.eval()(images), before) and model.training


@torch.no_grad()
def test_a_reduced_model_can_be_reduced_again(tiny_vit: nn.Module, images: Tensor) -> None:
    first = tokenlens.reduce(tiny_vit, "topk", blocks=(1,))
    second = tokenlens.reduce(first.vit, "topk", blocks=(3,))
    assert torch.equal(second(images), tokenlens.reduce(tiny_vit, "topk", blocks=(3,))(images))


@pytest.mark.parametrize("method", ["topk", "ats", "tome", "atc", "dynamicvit", "kmedoids", "l2"])
@torch.no_grad()
def test_fused_attention_and_attention_in_full_agree(method: str, tiny_vit: nn.Module, images: Tensor) -> None:
    torch.manual_seed(0)
    fused = tokenlens.reduce(tiny_vit, method, blocks=(1, 3))
    full = copy.deepcopy(fused)
    for block in full.vit.blocks:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
    (a, trace_a), (b, trace_b) = fused.trace(images), full.trace(images)
    assert (a - b).abs().max() < 1e-4
    assert torch.equal(trace_a.group, trace_b.group)


@torch.no_grad()
def test_class_attention_and_received_are_rows_of_the_softmax(
    registered: None, make_vit: MakeViT, images: Tensor
) -> None:
    seen: dict[str, Tensor] = {}

    @register("looker")
    class Looker(Reducer):
        """Keep the first."""

        def forward(self, view: View) -> Plan:
            seen.update(cls=view.from_class, got=view.received, keys=view.keys, values=view.values)
            return select(view, torch.arange(view.keep).expand(len(view.patch), -1))

    vit = make_vit(qk_norm=True)
    tokenlens.reduce(vit, "looker", blocks=(2,))(images)
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
    x = vit.blocks[1](vit.blocks[0](x))
    attention = vit.blocks[2].attn
    qkv = attention.qkv(vit.blocks[2].norm1(x)).reshape(4, 65, 3, 2, 16).permute(2, 0, 3, 1, 4)
    q, k, v = attention.q_norm(qkv[0]), attention.k_norm(qkv[1]), qkv[2]
    softmax = (q @ k.transpose(-2, -1) / 4).softmax(-1)
    torch.testing.assert_close(seen["cls"], softmax[:, :, 0, 1:])
    torch.testing.assert_close(seen["got"], softmax.sum((1, 2))[:, 1:])
    torch.testing.assert_close(seen["keys"], k[:, :, 1:])
    torch.testing.assert_close(seen["values"], v[:, :, 1:])


@pytest.mark.parametrize("qk_norm", [False, True])
@torch.no_grad()
def test_reducers_decide_in_float32(registered: None, qk_norm: bool, make_vit: MakeViT, images: Tensor) -> None:
    types: list[torch.dtype] = []

    @register("probe")
    class Probe(Reducer):
        """Look at everything, keep the first."""

        def __init__(self, stage: Stage) -> None:
            super().__init__(stage)
            self.linear = nn.Linear(stage.dim, 1)

        def forward(self, view: View) -> Plan:
            parts = (view.tokens, view.keys, view.values, view.from_class, view.received, self.linear(view.tokens))
            types.extend(part.dtype for part in parts)
            return select(view, torch.arange(view.keep).expand(len(view.patch), -1))

    vit = make_vit(qk_norm=qk_norm)
    with torch.autocast("cpu", torch.bfloat16):
        assert tokenlens.reduce(vit, "probe", blocks=(1, 2))(images).isfinite().all()
    half = copy.deepcopy(vit).bfloat16()
    assert tokenlens.reduce(half, "probe", blocks=(1, 2))(images.bfloat16()).dtype == torch.bfloat16
    assert len(types) == 24 and set(types) == {torch.float32}
    tokenlens.reduce(copy.deepcopy(vit).double(), "probe", blocks=(1,))(images.double())
    assert set(types[24:]) == {torch.float64}


def test_attention_before_the_first_block_is_refused(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "kmedoids", blocks=(0,))
    assert model(images).isfinite().all()  # no attention was paid yet: all tokens weigh the same
    view = View(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64), None, (1, 2), 1, 2, 1)
    with pytest.raises(ValueError, match="before the first block cannot read attention"):
        _ = view.keys


@torch.no_grad()
def test_the_seed_changes_what_is_drawn_and_nothing_else(tiny_vit: nn.Module, images: Tensor) -> None:
    def kept(method: str, seed: int, **options: Any) -> Tensor:
        return tokenlens.reduce(tiny_vit, method, blocks=(1, 3), seed=seed, **options).trace(images)[1].kept

    for method, options in (("random", {}), ("kmedoids", {"equal_weight": True})):
        assert torch.equal(kept(method, 1, **options), kept(method, 1, **options))
        assert not torch.equal(kept(method, 1, **options), kept(method, 2, **options))
    assert torch.equal(kept("topk", 1), kept("topk", 2))
    with pytest.raises(BadInput, match="the seed is -1; give 0 or more"):
        kept("random", -1)


@torch.no_grad()
def test_global_random_state_is_left_alone(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "random", blocks=(1, 3))
    state = torch.get_rng_state()
    before = model.trace(images)[1].kept
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert torch.equal(model.trace(images)[1].kept, before)


def test_nothing_is_remembered_after_a_walk(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", blocks=(1, 3), keep_rate=[0.5, 1.0])
    model(images).sum().backward()
    assert not any("remembered" in vars(module) for module in model.modules())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "topkk"}, "there is no method called 'topkk'; did you mean topk"),
        ({"method": "qqqqqq"}, "there is no method called 'qqqqqq'; known: "),
        ({"method": "topk", "linkage": "single"}, "topk has no option 'linkage'; it has from_class"),
        ({"method": "atc", "link": "x"}, "no option 'link'; it has compat, keys, linkage, position, proportional"),
        ({"method": "atc", "linkage": "ward"}, "atc has no linkage 'ward'; it has .*single.*average"),
        ({"method": "atc", "linkage": 3}, "option linkage of atc is 3; it takes a str such as 'average'"),
        ({"method": "atc", "proportional": 1}, "option proportional of atc is 1; it takes a bool such as True"),
        ({"method": "sinkhorn", "eps": "1"}, "option eps of sinkhorn is '1'; it takes a float such as 1.0"),
        ({"method": "sinkhorn", "eps": True}, "option eps of sinkhorn is True; it takes a float"),
        ({"method": "kmedoids", "iterations": 2.5}, "option iterations of kmedoids is 2.5; it takes a int"),
        ({"method": "l2", "norm": "l7"}, "there is no radial pattern with norm 'l7'; there are l1, l2, linf"),
        ({"method": "topk", "keep": [5], "keep_rate": 0.5}, "in one way"),
        ({"method": "topk", "keep_rate": 2}, r"outside \(0, 1\]"),
    ],
)
def test_bad_input_is_one_sentence(settings: dict[str, Any], sentence: str, tiny_vit: nn.Module) -> None:
    with pytest.raises(BadInput, match=sentence) as found:
        tokenlens.reduce(tiny_vit, **{"blocks": (1,), **settings})
    assert "\n" not in str(found.value)


def test_an_unknown_method_is_a_lookup_error(tiny_vit: nn.Module) -> None:
    with pytest.raises(LookupError):
        tokenlens.reduce(tiny_vit, "tomme")
    assert issubclass(UnknownName, BadInput)


def test_an_integer_does_for_a_float(tiny_vit: nn.Module) -> None:
    assert tokenlens.reduce(tiny_vit, "sinkhorn", blocks=(1,), eps=2).reducers["1"].eps == 2


@pytest.mark.parametrize("name", ["topk", "ats", "tome", "kmedoids", "dpcknn", "atc-single", "atc-average", "l2"])
def test_a_nan_weight_is_told_by_name_whatever_the_method(name: str, make_vit: Any, images: Tensor) -> None:
    vit = make_vit()
    with torch.no_grad():
        vit.blocks[0].mlp.fc1.weight[0, 0] = float("nan")
    with pytest.raises(BadInput, match="NaN or infinite logits for image first"):
        record(tokenlens.reduce(vit, name, 0.5, blocks=(1, 2)), Batch(images), names=["first"] * len(images))
