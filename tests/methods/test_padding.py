"""ATS pads, DynamicViT masks in training: neither may show."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.reducer import Reducer
from tokenlens.hosts.timm_vit import ready_to_pool


@pytest.fixture
def uneven(images: Tensor) -> Tensor:
    """Images that keep different numbers of tokens: one of them almost constant."""
    return torch.cat([images[:3], images[3:] * torch.linspace(0, 3, 64)])


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"global_pool": "avg"},
        {"global_pool": "max"},
        {"global_pool": "avgmax"},
        {"global_pool": "avg", "fc_norm": False},
        {"global_pool": "avg", "pool_include_prefix": True},
        {"reg_tokens": 2},
    ],
)
@torch.no_grad()
def test_padding_changes_nothing(overrides: Any, uneven: Tensor, make_vit: Callable[..., nn.Module]) -> None:
    model = tokenlens.reduce(make_vit(**overrides), "ats", 0.8, blocks=(1, 3, 4))
    logits, trace = model.trace(uneven)
    assert (trace.tokens_left != trace.tokens_left[:1]).any(0).all(), "the images must differ for this test"
    for i in range(4):
        alone, own = model.trace(uneven[i : i + 1])
        assert (alone[0] - logits[i]).abs().max() < 1e-5 * alone.abs().max()
        assert torch.equal(own.kept[0], trace.kept[i]) and torch.equal(own.group[0], trace.group[i])
        assert torch.equal(own.tokens_left[0], trace.tokens_left[i])


@pytest.mark.parametrize("keep", [(40, 40, 20), (20, 40, 40)])
@torch.no_grad()
def test_ats_samples_anew_where_no_fewer_are_asked_for(
    keep: tuple[int, ...], uneven: Tensor, tiny_vit: nn.Module
) -> None:
    """As the published code does, whose samples fall on one token here and there."""
    left = tokenlens.reduce(tiny_vit, "ats", keep=keep, blocks=(1, 3, 5)).trace(uneven)[1].tokens_left
    for stage in (1, 2):
        assert (left[:, stage] <= left[:, stage - 1]).all() and (left[:, stage] < left[:, stage - 1]).any()


@torch.no_grad()
def test_pools_see_tokens_by_their_mass(make_vit: Callable[..., nn.Module]) -> None:
    x = torch.randn(2, 6, 32)
    mass = torch.tensor([[1.0, 1, 0, 2, 0], [1, 1, 1, 1, 1]])
    for pool in ("avg", "avgmax"):
        vit = make_vit(global_pool=pool)
        ready = ready_to_pool(x, mass, vit)
        assert torch.equal(ready[1], x[1]) and ready_to_pool(x, None, vit) is x
    average = (x[0, 1] + x[0, 2] + 2 * x[0, 4]) / 4
    torch.testing.assert_close(ready[0, 3], average)
    torch.testing.assert_close(ready_to_pool(x, mass, make_vit(global_pool="avg"))[0, 1:].mean(0), average)


def test_the_policy_alone_teaches_the_predictors(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "dynamicvit", 0.7, blocks=(1, 3, 5)).train()
    model.vit.requires_grad_(False)
    torch.manual_seed(0)
    _, trace = model.trace(images)
    assert (trace.tokens_left < 64).all() and (trace.tokens_left[:, 1:] <= trace.tokens_left[:, :-1]).all()
    for block, mass in trace.mass.items():
        assert mass.shape == (4, 64) and mass.requires_grad
        assert ((mass.round() - mass).abs() < 1e-6).all()
        assert torch.equal((mass > 0).cpu(), trace.kept[:, trace.blocks.index(block)])
    sum((mass.mean(1) - 0.5).square().mean() for mass in trace.mass.values()).backward()
    for name, parameter in model.reducers.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_training_survives_a_policy_that_keeps_nothing(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "dynamicvit", 0.7, blocks=(1, 3)).train()
    with torch.no_grad():
        model.reducers["1"].out_conv[-1].bias.copy_(torch.tensor([-100.0, 100.0]))
    logits = model(images)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@torch.no_grad()
def test_a_masked_token_is_as_good_as_gone(tiny_vit: nn.Module, images: Tensor) -> None:
    """What trains with mass 0 is what evaluates with the tokens removed."""
    model = tokenlens.reduce(tiny_vit, "dynamicvit", 0.5, blocks=(1,)).train()
    torch.manual_seed(0)
    logits, trace = model.trace(images)
    kept = trace.kept[:, 0]

    class Chosen(Reducer):
        """Keep what the policy kept."""

        site = "before_block"

        def forward(self, view: Any) -> Any:
            count = int(kept.sum(1).max())
            places = torch.where(kept, 1, 0).argsort(dim=1, descending=True, stable=True)[:, :count]
            return tokenlens.select(view, places.masked_fill(~kept.gather(1, places), -1), padded=True)

    other = copy.deepcopy(model).eval()
    other.reducers["1"] = Chosen(model.reducers["1"].stage)
    assert (other(images) - logits).abs().max() < 1e-4
