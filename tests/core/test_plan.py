"""The three kinds of plan, against plain loops."""

import pytest
import torch
from torch import Tensor

from tokenlens.core.plan import merge, mix, select
from tokenlens.core.view import View


def view_of(tokens: Tensor, mass: Tensor | None = None) -> View:
    patch = torch.arange(tokens.shape[1]).expand(len(tokens), -1)
    return View(tokens, patch, mass, (1, tokens.shape[1]), 2, tokens.shape[1], 1)


@pytest.fixture
def view() -> View:
    rng = torch.Generator().manual_seed(0)
    return view_of(torch.randn(2, 5, 3, generator=rng), torch.rand(2, 5, generator=rng) + 1)


def test_select_takes_tokens_in_order(view: View) -> None:
    index = torch.tensor([[3, 0], [1, 4]])
    plan = select(view, index)
    for b in range(2):
        for k in range(2):
            assert torch.equal(plan.carry(view.tokens)[b, k], view.tokens[b, index[b, k]])
            assert plan.mass is not None and plan.mass[b, k] == view.mass[b, index[b, k]]
    assert plan.kept.tolist() == index.tolist()
    assert plan.group.tolist() == [[1, -1, -1, 0, -1], [-1, 0, -1, -1, 1]]
    assert select(view_of(view.tokens), index).mass is None


def test_select_pads_where_the_index_is_negative(view: View) -> None:
    index = torch.tensor([[4, -1, 2], [-1, 0, -1]])
    plan = select(view, index, padded=True)
    assert plan.kept.tolist() == index.tolist()
    assert plan.group.tolist() == [[-1, -1, 2, -1, 0], [1, -1, -1, -1, -1]]
    assert ((plan.mass == 0) == (index < 0)).all()
    fresh = select(view_of(view.tokens), index, padded=True)
    assert fresh.mass.tolist() == [[1, 0, 1], [0, 1, 0]]


GROUP = torch.tensor([[0, 1, 0, 2, 0], [2, 2, 1, 1, 0]])


@pytest.mark.parametrize("sizes", [True, False])
def test_merge_averages_by_group(view: View, sizes: bool) -> None:
    plan = merge(view, GROUP, 3, sizes=sizes)
    for b in range(2):
        for k in range(3):
            members = [n for n in range(5) if GROUP[b, n] == k]
            weight = view.mass[b, members] if sizes else torch.ones(len(members))
            mean = (view.tokens[b, members] * weight[:, None]).sum(0) / weight.sum()
            torch.testing.assert_close(plan.carry(view.tokens)[b, k], mean)
            assert plan.kept[b, k] == (members[0] if len(members) == 1 else -1)
            if sizes:
                torch.testing.assert_close(plan.mass[b, k], view.mass[b, members].sum())
    assert torch.equal(plan.group, GROUP)
    assert sizes or plan.mass is None


def test_merge_by_given_weights(view: View) -> None:
    weight = torch.rand(2, 5)
    plan = merge(view, GROUP, 3, weight, sizes=False, eps=0.5)
    expected = (view.tokens[0, [0, 2, 4]] * weight[0, [0, 2, 4], None]).sum(0) / (weight[0, [0, 2, 4]].sum() + 0.5)
    torch.testing.assert_close(plan.carry(view.tokens)[0, 0], expected)


def test_merging_one_by_one_changes_nothing(view: View) -> None:
    order = torch.tensor([[4, 2, 0, 1, 3]] * 2)
    plan = merge(view, order, 5)
    torch.testing.assert_close(plan.carry(view.tokens).gather(1, order[..., None].expand(-1, -1, 3)), view.tokens)
    assert torch.equal(plan.kept.gather(1, order), torch.arange(5).expand(2, -1))


def test_mix_is_a_product_and_the_heaviest_wins() -> None:
    weights = torch.tensor([[[0.7, 0.1, 0.2], [0.3, 0.9, 0.8]]])
    values = torch.eye(3)[None]
    plan = mix(weights, values)
    assert torch.equal(plan.carry(plan.content), weights)
    assert plan.group.tolist() == [[0, 1, 1]]
    assert (plan.kept == -1).all() and plan.kept.shape == (1, 2) and plan.mass is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_whatever_travels_is_carried_in_its_own_type(view: View, dtype: torch.dtype) -> None:
    index = torch.tensor([[3, 0], [1, 4]])
    along = torch.arange(2 * 5 * 2 * 3).view(2, 5, 2, 3).to(dtype)
    carried = select(view, index).carry(along)
    assert carried.dtype == dtype and torch.equal(carried[1, 0], along[1, 1])
    if dtype.is_floating_point:
        assert merge(view, GROUP, 3, sizes=False).carry(along).dtype == dtype


def test_half_precision_is_summed_in_float32() -> None:
    one = torch.ones(1, 4096, dtype=torch.bfloat16)
    plan = merge(view_of(one.float().unsqueeze(-1)), torch.zeros(1, 4096, dtype=torch.int64), 1, torch.ones(1, 4096))
    assert plan.carry(one).item() == 1.0  # bfloat16 counts no further than 256


def test_the_prefix_goes_on_as_it_is(view: View) -> None:
    x = torch.cat([torch.full((2, 2, 3), 9.0), view.tokens], 1)
    for plan in (select(view, torch.tensor([[3, 0], [1, 4]])), merge(view, GROUP, 3), mix(torch.rand(2, 2, 5), view.x)):
        carried = plan.carry(x, 2)
        assert (carried[:, :2] == 9).all()
        torch.testing.assert_close(carried[:, 2:], plan.carry(view.tokens))


def test_spread_gives_every_old_token_what_its_new_one_has(view: View) -> None:
    plan = select(view, torch.tensor([[3, 0], [1, 4]]))
    back = plan.spread(plan.carry(view.tokens))
    stays = plan.group >= 0
    assert torch.equal(back[stays], view.tokens[stays]) and (back[~stays] == 0).all()
    merged = merge(view, GROUP, 3)
    new = merged.carry(view.tokens)
    assert torch.equal(merged.spread(new), new.gather(1, GROUP[..., None].expand(-1, -1, 3)))
    assert torch.equal(merged.carry(torch.ones(2, 5)).round(decimals=5), torch.ones(2, 3)), "shares sum to one"
