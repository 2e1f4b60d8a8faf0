"""BEiT and timm's ViTs of relative positions: walked as timm walks them, with biases between those that are there."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.core.host import host_of
from tokenlens.core.plan import Plan, merge, select
from tokenlens.core.positions import Biases
from tokenlens.core.view import View
from tokenlens.errors import BadInput
from tokenlens.extraction.flops import gflops

SHARED = "vit_srelpos_small_patch16_224"  # one table for all blocks
NAMES = [*timm.list_models(module="beit"), *timm.list_models(module="vision_transformer_relpos")]


def small(name: str, **overrides: Any) -> nn.Module:
    """A registered model of two blocks and 32 channels over 4 x 4 patches, with decided opinions."""
    settings: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
    torch.manual_seed(0)
    vit: nn.Module = timm.create_model(name, **{**settings, "num_classes": 7, **overrides}).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return vit


def pixels() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_registered_model_is_walked_as_timm_walks_it(name: str) -> None:
    vit, images = small(name), pixels()
    expected = vit(images)
    for method, rate in (("none", 0.5), ("tome", 1.0)):
        logits, trace = tokenlens.reduce(vit, method, rate, blocks=(0, 1)).trace(images)
        assert torch.equal(logits, expected) and trace.kept.all()
    host = host_of(vit)
    assert host.has_class_token == (vit.cls_token is not None)
    reduced = tokenlens.reduce(vit, "random", blocks=(0, 1), keep=(12, 8))
    with FlopCounterMode(display=False) as counter:
        reduced(images[:1])
    assert gflops(host, {0: 12, 1: 8}, "before_block") == pytest.approx(counter.get_total_flops() / 2e9, rel=1e-6)


def test_these_are_all() -> None:
    assert len(NAMES) >= 21


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "vit_relpos_base_patch16_cls_224", SHARED])
@torch.no_grad()
def test_pruning_is_exact(name: str) -> None:
    """The second block, shown only some tokens, is timm's attention among them with the biases between their places."""
    vit: Any = small(name)
    images, host = pixels(), host_of(vit)
    tokens: Any = host.embed(images)
    logits, trace = tokenlens.reduce(vit, "random", blocks=(1,)).trace(images)
    x, patch = vit.blocks[0](tokens.x, tokens.positions.shared), trace.patch + host.prefix
    block, attn = vit.blocks[1], vit.blocks[1].attn
    both = {"table": getattr(attn, "_get_rel_pos_bias", None) or (attn.rel_pos.get_bias if attn.rel_pos else None)}
    table = both["table"]() if both["table"] else tokens.positions.shared
    out = []
    for image, rows in enumerate(patch):
        there = torch.cat([torch.arange(host.prefix), rows])
        bias = table[:, :, there][:, :, :, there]
        if hasattr(attn, "rel_pos"):
            own, attn.rel_pos = attn.rel_pos, None
            out.append(block(x[image, there][None], bias))
            attn.rel_pos = own
        else:
            own, attn.relative_position_bias_table = attn.relative_position_bias_table, None
            out.append(block(x[image, there][None], bias))
            attn.relative_position_bias_table = own
    torch.testing.assert_close(logits, vit.forward_head(vit.norm(torch.cat(out))))


@torch.no_grad()
def test_biases_of_merged_tokens_are_means_over_their_members() -> None:
    table = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0))  # one prefix token and four places
    x = torch.tensor([[[0.0], [1.0], [5.0], [6.0]]])
    view = View(x, torch.arange(4)[None], None, (2, 2), 3, 4, 1)
    pair = merge(view, torch.tensor([[0, 1, 1, 2]]), 3, weight=torch.tensor([[1.0, 3.0, 1.0, 1.0]]))
    start = Biases(4)
    shares = torch.tensor([[1.0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0.75, 0.25, 0], [0, 0, 0, 0, 1]])
    mean = start.carried(pair, x, "auto")
    torch.testing.assert_close(mean.among(table), shares @ table @ shares.T)
    member: Any = start.carried(pair, x, "member").among(table)
    there = torch.tensor([0, 1, 2, 4])  # the second weighs most, so it is nearest
    assert torch.equal(member, table[:, :, there][:, :, :, there])
    few = Plan(torch.tensor([[2, 1]]), torch.tensor([[-1, 1, 0]]))  # and then some go
    after: Any = mean.carried(few, pair.carry(x), "auto").among(table)
    torch.testing.assert_close(after, (shares @ table @ shares.T)[:, :, [0, 3, 2]][:, :, :, [0, 3, 2]])
    with pytest.raises(BadInput, match=r"position=rotation is for positions that rotate .* take mean or member"):
        start.carried(pair, x, "rotation")


@torch.no_grad()
def test_what_a_reducer_sees_is_what_attention_makes() -> None:
    from tokenlens.core.reduced_vit import ReducedViT
    from tokenlens.core.reducer import Reducer, Stage
    from tokenlens.core.schedule import schedule

    for name in ("beit_base_patch16_224", "vit_relpos_base_patch16_cls_224"):
        vit: Any = small(name)
        seen: dict[str, Tensor] = {}

        class Looks(Reducer):
            def forward(self, view: View) -> Plan:
                attended: Any = view.attended
                seen["mixed"] = (attended.rows(slice(None)) @ attended.qkv.values).transpose(1, 2).flatten(2)  # noqa: B023
                return select(view, torch.arange(view.keep).expand(len(view.x), -1))

        vit.blocks[1].attn.proj.register_forward_pre_hook(lambda m, a: seen.setdefault("timm", a[0]))  # noqa: B023
        ReducedViT(vit, {1: Looks(Stage(0, 1, 9, 16, 32))}, schedule((1,), keep=(9,), depth=2))(pixels())
        torch.testing.assert_close(seen["mixed"], seen["timm"])


def test_foreign_blocks_are_refused() -> None:
    vit: Any = small("beit_base_patch16_224")
    vit.blocks[1].__class__ = type("Odd", (type(vit.blocks[1]),), {})
    with pytest.raises(BadInput, match=r"block 1 of beit_base_patch16_224 has a Odd, not the plain "):
        host_of(vit)
