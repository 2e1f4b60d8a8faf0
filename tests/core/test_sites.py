"""Where a reducer may stand, and what carries over from before it to after it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.host import HOSTS
from tokenlens.core.plan import Plan, merge, select
from tokenlens.core.positions import Biases, Rotary
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.core.reducer import Reducer, Stage
from tokenlens.core.schedule import schedule
from tokenlens.core.view import View
from tokenlens.errors import BadInput

Decide = Callable[[View], Plan]


@pytest.fixture
def built(make_vit: Callable[..., nn.Module]) -> Iterator[Callable[[str, Decide], ReducedViT]]:
    """A model with one reducer of the test's own at block 2."""

    def build(where: str, decide: Decide) -> ReducedViT:
        class Here(Reducer):
            site = where

            def forward(self, view: View) -> Plan:
                return decide(view)

        vit = make_vit()
        return ReducedViT(vit, {2: Here(Stage(0, 2, 40, 64, 32))}, schedule((2,), keep=(40,), depth=6))

    yield build


def every(view: View) -> Plan:
    """All tokens, as they are."""
    return select(view, torch.arange(view.x.shape[1]).expand(len(view.x), -1))


@pytest.mark.parametrize("site", ["before_block", "ahead", "before_attention", "after_attention", "after_block"])
@torch.no_grad()
def test_keeping_all_at_any_site_is_the_model(site: str, built: Callable, make_vit: Callable, images: Tensor) -> None:
    logits = built(site, every)(images)
    torch.testing.assert_close(logits, make_vit()(images), atol=2e-5, rtol=0)


@torch.no_grad()
def test_before_the_attention_its_softmax_is_reused(built: Callable, make_vit: Callable, images: Tensor) -> None:
    """Pairs of neighbours are merged: their rows are averaged, what is paid to them is summed, values are their own."""

    def pairs(view: View) -> Plan:
        group = (torch.arange(64) // 2).expand(len(view.x), -1)
        torch.testing.assert_close(view.received.sum(1) + left_to_class(view), torch.full((len(view.x),), 2 * 65.0))
        return merge(view, group, 32)

    def left_to_class(view: View) -> Tensor:
        return view.attended.rows(slice(None))[..., 0].sum((1, 2))

    model = built("before_attention", pairs)
    tiny_vit: Any = make_vit()
    block, seen = tiny_vit.blocks[2], {}
    model.vit.blocks[2].norm2.register_forward_pre_hook(lambda m, a: seen.update(x=a[0]))
    model(images)
    x = tiny_vit.norm_pre(tiny_vit._pos_embed(tiny_vit.patch_embed(images)))
    x = tiny_vit.blocks[1](tiny_vit.blocks[0](x))
    qkv = block.attn.qkv(block.norm1(x)).reshape(4, 65, 3, 2, 16).permute(2, 0, 3, 1, 4)
    weights = (qkv[0] @ qkv[1].transpose(-2, -1) / 4).softmax(-1)

    def paired(y: Tensor, dim: int, mean: bool) -> Tensor:
        y = y.movedim(dim, 0)
        both = torch.stack([y[1::2], y[2::2]])
        return torch.cat([y[:1], both.mean(0) if mean else both.sum(0)]).movedim(0, dim)

    values = block.attn.qkv(block.norm1(paired(x, 1, True))).reshape(4, 33, 3, 2, 16).permute(2, 0, 3, 1, 4)[2]
    mixed = paired(paired(weights, 2, True), 3, False) @ values
    expected = paired(x, 1, True) + block.attn.proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(seen["x"], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pruned_before_the_attention_nobody_pays_to_the_dropped(built: Callable, images: Tensor) -> None:
    plan = select(View(torch.zeros(1, 3, 2), torch.arange(3)[None], None, (1, 3), 2, 3, 1), torch.tensor([[2, 0]]))
    weights = torch.tensor([[0.4, 0.1, 0.2, 0.3]]).expand(1, 1, 4, 4)
    carried = plan.carry_attention(weights, 1)
    torch.testing.assert_close(carried[0, 0], torch.tensor([[0.5, 0.375, 0.125]]).expand(3, 3))
    assert (
        built("before_attention", lambda view: select(view, view.received.topk(view.keep).indices))(images)
        .isfinite()
        .all()
    )


@pytest.mark.parametrize("family", ["timm-eva", "timm-relative"])
@torch.no_grad()
def test_positions_wait_and_come_back_with_their_tokens(family: str) -> None:
    vit = HOSTS[family].example().eval()
    with pytest.raises(BadInput, match="looks at a block ahead of it, which is not understood"):
        tokenlens.reduce(vit, "mctf", blocks=(1, 2), ahead="again")
    model = tokenlens.reduce(vit, "evovit", blocks=(1, 2))
    walk = model._walk(torch.randn(2, *model.host.image, generator=torch.Generator().manual_seed(0)))
    assert walk.run().shape[1] == model.patches + model.host.prefix
    assert isinstance(walk.positions, Rotary | Biases)
    assert torch.equal(walk.positions.state, walk.trace.patch)
    assert (walk.trace.patch.sort(1).values == torch.arange(model.patches)).all()
    assert not torch.equal(walk.trace.patch[0], walk.trace.patch[1])
