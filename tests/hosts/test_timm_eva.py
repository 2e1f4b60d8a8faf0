"""timm's Eva family: every registered name is walked as timm walks it, and rotary positions go with the tokens."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.core.host import host_of
from tokenlens.core.plan import Plan, merge, select
from tokenlens.core.positions import nearest_member
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.core.reducer import Reducer, Stage
from tokenlens.core.schedule import schedule
from tokenlens.core.view import View
from tokenlens.errors import BadInput
from tokenlens.extraction.flops import gflops

SAMPLE = """
vit_small_patch16_dinov3 vit_7b_patch16_dinov3 eva02_tiny_patch14_224 eva02_large_patch14_clip_224
eva02_enormous_patch14_clip_224 eva_giant_patch14_224 vit_pe_core_tiny_patch16_384 vit_pe_lang_large_patch14_448
vit_pe_spatial_tiny_patch16_512 vit_small_patch16_rope_224 vit_small_patch16_rope_mixed_224
vit_small_patch16_rope_mixed_ape_224 vit_medium_patch16_rope_reg1_gap_256 vit_base_patch16_sapiens2
""".split()


def small(name: str, **overrides: Any) -> nn.Module:
    """A registered model of two blocks and 32 channels over 4 x 4 patches, with decided opinions."""
    settings: dict[str, Any] = {
        "img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 7, **overrides
    }  # fmt: skip
    if "sapiens2" in name:
        settings["num_kv_heads"] = (4, 2)
    torch.manual_seed(0)
    vit: nn.Module = timm.create_model(name, **settings).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return vit


def pixels(size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def check(name: str) -> None:
    """Identity without a reducer, at keep rate 1 and where a reducer listens; the cost of a reduced model."""
    vit, images = small(name), pixels()
    expected = vit(images)
    for method, rate in (("none", 0.5), ("tome", 1.0)):
        model = tokenlens.reduce(vit, method, rate, blocks=(0, 1))
        logits, trace = model.trace(images)
        assert torch.equal(logits, expected) and trace.kept.all()
        assert torch.equal(model.vit(images), expected)  # what is in it can still be called as timm does
    host = host_of(vit)
    assert host.has_positions == (vit.rope is not None) and host.has_class_token == (vit.cls_token is not None)
    reduced = tokenlens.reduce(vit, "tome", blocks=(0, 1), keep=(12, 8))
    with FlopCounterMode(display=False) as counter:
        left = reduced.trace(images[:1])[1].tokens_left[0].tolist()
    assert left == [12, 8]
    counted = counter.get_total_flops() / 2e9 - sum(a * b * 8 for a, b in ((8, 8), (6, 6))) / 1e9
    assert gflops(host, dict(enumerate(left))) == pytest.approx(counted, rel=1e-3)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_registered_model_is_walked_as_timm_walks_it(name: str) -> None:
    check(name)


@pytest.mark.long
def test_every_registered_model() -> None:
    names = timm.list_models(module="eva")
    assert len(names) >= 65 and set(SAMPLE) <= set(names)
    for name in names:
        check(name)


ROTATING = ["vit_small_patch16_dinov3", "vit_pe_core_tiny_patch16_384", "vit_small_patch16_rope_mixed_224", "mrope"]


def rotating(name: str) -> nn.Module:
    """Of each kind of rotation one; no registered model has the last."""
    more = {"use_rot_pos_emb": True, "rope_type": "mrope", "rope_mrope_section": (1, 1, 1)}
    return small("eva02_tiny_patch14_224", **more) if name == "mrope" else small(name)


def in_timm(vit: Any, images: Tensor, patch: Tensor) -> Tensor:
    """Timm's own blocks, with only the tokens and rotations of (B, K) patches in the last one."""
    x, rope = vit._pos_embed(vit.patch_embed(images))
    first, last = (rope[i] if vit.rope_mixed else rope for i in (0, 1))
    x, prefix = vit.blocks[0](vit.norm_pre(x), rope=first), vit.num_prefix_tokens
    image = torch.arange(len(x)).unsqueeze(1)
    x = torch.cat([x[:, :prefix], x[image, patch + prefix]], 1)
    rows = last[:, patch].transpose(0, 1) if vit.rope_mixed else last[patch].unsqueeze(1)
    logits: Tensor = vit.forward_head(vit.norm(vit.blocks[1](x, rope=rows)))
    return logits


@pytest.mark.parametrize("name", ROTATING)
@torch.no_grad()
def test_pruning_is_exact(name: str) -> None:
    vit, images = rotating(name), pixels()
    logits, trace = tokenlens.reduce(vit, "random", blocks=(1,)).trace(images)
    assert trace.patch.shape == (2, 8) and torch.equal(logits, in_timm(vit, images, trace.patch))


class Pairs(Reducer):
    """Averages the tokens 2 k and 2 k + 1, by weights of 1 and 3."""

    site, family = "before_block", "merging"

    def forward(self, view: View) -> Plan:
        order = torch.arange(view.x.shape[1]).expand(len(view.x), -1)
        return merge(view, order // 2, view.x.shape[1] // 2, weight=1.0 + 2 * (order % 2))


@pytest.mark.parametrize("name", ROTATING)
@torch.no_grad()
def test_where_merged_tokens_stand(name: str) -> None:
    """Between two places the rotation is by the angle between: of a member exactly, of both on the average."""
    vit = rotating(name)
    tokens = host_of(vit).embed(pixels())
    x = tokens.x[:, vit.num_prefix_tokens :]
    pairs = Pairs(Stage(0, 1, 8, 16, 32))
    plan = pairs(View(x, torch.arange(16).expand(2, -1), None, (4, 4), 8, 16, vit.num_prefix_tokens))
    positions: Any = tokens.positions
    own = positions.rows(1)
    full = own.expand(2, *own.shape) if own.dim() == 3 else own.expand(2, 1, *own.shape)
    member, mean, rotation = (positions.carried(plan, x, rule).rows(1) for rule in ("member", "mean", "rotation"))
    assert torch.equal(member, full[:, :, 1::2])  # three times as heavy, so it is the nearer one
    torch.testing.assert_close(rotation, 0.25 * full[:, :, ::2] + 0.75 * full[:, :, 1::2])
    first, last, between = (torch.atan2(*rows.chunk(2, -1)) for rows in (full[:, :, ::2], full[:, :, 1::2], mean))
    torch.testing.assert_close((4 * between).cos(), (first + 3 * last).cos(), rtol=0, atol=1e-4)
    torch.testing.assert_close((4 * between).sin(), (first + 3 * last).sin(), rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_mean_place_of_one_is_its_own() -> None:
    vit = rotating("vit_small_patch16_rope_mixed_224")
    tokens = host_of(vit).embed(pixels())
    view = View(tokens.x[:, 1:], torch.arange(16).expand(2, -1), None, (4, 4), 5, 16, 1)
    plan = select(view, torch.tensor([[3, 0, 9, 8, 15], [1, 2, 14, 4, 5]]))
    positions: Any = tokens.positions
    rows = [positions.carried(plan, view.x, rule).rows(1) for rule in ("member", "rotation", "mean")]
    assert torch.equal(rows[0], rows[1])
    torch.testing.assert_close(rows[0], rows[2])


def test_the_nearest_member_is_the_nearest() -> None:
    group = torch.tensor([[0, 2, 2, -1, 2, 0, 1]])
    share = torch.tensor([[0.5, 0.2, 0.2, 0.0, 0.6, 0.5, 1.0]])
    plan = Plan(torch.tensor([[-1, 6, -1, -1]]), group, share, torch.tensor([[2.0, 1, 3, 0]]))
    x = torch.tensor([[0.0, 9, 5, 100, 7, 1, 4]]).unsqueeze(-1)
    assert nearest_member(plan, x).tolist() == [[0, 6, 4, 0]]  # the first of two equally near; padding takes any
    plan.weights = torch.tensor([[[0.1, 0.7, 0.2], [0.6, 0.2, 0.2]]])
    assert nearest_member(plan, x[:, :3]).tolist() == [[1, 0]]


@torch.no_grad()
def test_rules_and_keys_change_what_comes_out() -> None:
    vit, images = small("vit_small_patch16_dinov3"), pixels()

    def out(**options: Any) -> Tensor:
        logits: Tensor = tokenlens.reduce(vit, "tome", 0.6, blocks=(0,), **options)(images)
        return logits

    plain = out()
    assert torch.equal(plain, out(position="member")) and torch.equal(plain, out(keys="content"))
    assert all(not torch.equal(plain, out(**{name: value})) for name, value in
               (("position", "mean"), ("position", "rotation"), ("keys", "rotated")))  # fmt: skip


@torch.no_grad()
def test_what_a_reducer_sees_is_what_attention_makes() -> None:
    """The class token's row, of rotated queries and keys, sums with the values to what attention puts out."""
    for name in ("vit_small_patch16_dinov3", "vit_base_patch16_sapiens2", "eva02_large_patch14_clip_224"):
        vit: Any = small(name)
        seen: dict[str, Tensor] = {}

        class Looks(Reducer):
            def forward(self, view: View) -> Plan:
                attended: Any = view.attended
                seen["mixed"] = (attended.rows(slice(None)) @ attended.qkv.values).transpose(1, 2).flatten(2)  # noqa: B023
                return select(view, torch.arange(view.keep).expand(len(view.x), -1))

        block = vit.blocks[1]
        block.attn.proj.register_forward_pre_hook(lambda m, a: seen.setdefault("timm", a[0]))  # noqa: B023
        model = ReducedViT(vit, {1: Looks(Stage(0, 1, 9, 16, 32))}, schedule((1,), keep=(9,), depth=2))
        model(pixels())
        torch.testing.assert_close(block.attn.norm(seen["mixed"]), seen["timm"])


def test_without_rotations_their_options_are_refused() -> None:
    for vit in (small("eva_giant_patch14_224"), timm.create_model("vit_tiny_patch16_224", depth=1)):
        with pytest.raises(BadInput, match=r"option position is about positions that attention reads, and .* adds"):
            tokenlens.reduce(vit, "tome", blocks=(0,), position="mean")
    with pytest.raises(BadInput, match=r"option position is 'middle'; it takes auto or member or mean or rotation"):
        tokenlens.reduce(small("vit_small_patch16_dinov3"), "tome", blocks=(0,), position="middle")
    with pytest.raises(BadInput, match="topk has no option 'position'; it has from_class"):
        tokenlens.reduce(small("vit_small_patch16_dinov3"), "topk", blocks=(0,), position="mean")


@torch.no_grad()
def test_attention_received_stands_in_for_the_class_token_by_name() -> None:
    vit, images = small("vit_pe_spatial_tiny_patch16_512", class_token=False, global_pool="avg"), pixels()
    with pytest.raises(BadInput, match=r"has none; let from_class=received stand in.* without: .*tome"):
        tokenlens.reduce(vit, "topk", blocks=(0,))
    seen: dict[str, Tensor] = {}

    class Looks(Reducer):
        def forward(self, view: View) -> Plan:
            seen.update(received=view.received, stand_in=view.from_class)
            return select(view, view.from_class.mean(1).topk(view.keep).indices)

    looks = Looks(Stage(0, 0, 8, 16, 32))
    looks.from_class = "received"
    trace = ReducedViT(vit, {0: looks}, schedule((0,), keep=(8,), depth=2)).trace(images)[1]
    torch.testing.assert_close(seen["stand_in"].sum(1) * 16, seen["received"])
    for method in ("topk", "evit", "ats"):
        model = tokenlens.reduce(vit, method, blocks=(0, 1), from_class="received")
        assert model.options == {"from_class": "received"} and model(images).isfinite().all()
    assert torch.equal(trace.kept[:, 0], tokenlens.reduce(vit, "topk", keep=(8,), blocks=(0,), from_class="received")
                       .trace(images)[1].kept[:, 0])  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rotations_at_hand_are_those_that_timm_makes(dtype: torch.dtype) -> None:
    vit: Any = small("vit_small_patch16_dinov3").to(dtype)
    kept: Any = tokenlens.reduce(vit, "none", blocks=(0,)).to(torch.float64).to(dtype).vit.rope
    for shape in ((4, 4), (3, 5)):
        assert torch.equal(kept.get_embed(shape), vit.rope.get_embed(shape))
        assert torch.equal(kept.get_embed(shape, torch.bfloat16), vit.rope.get_embed(shape, torch.bfloat16))
    jittered: Any = small("vit_small_patch16_dinov3")
    jittered.rope.jitter_coords, jittered.rope.aug_active = 2.0, True
    rope = tokenlens.reduce(jittered.train(), "none", blocks=(0,)).vit.rope
    assert not torch.equal(rope.get_embed((4, 4)), rope.get_embed((4, 4)))


def test_foreign_parts_and_patch_dropping_are_refused() -> None:
    vit: Any = small("vit_small_patch16_dinov3")
    vit.blocks[1].attn.__class__ = type("Odd", (type(vit.blocks[1].attn),), {})
    with pytest.raises(BadInput, match=r"block 1 of vit_small_patch16_dinov3 has a Odd, not the plain "):
        host_of(vit)
    vit = small("vit_small_patch16_dinov3")
    vit.rope = nn.Identity()
    with pytest.raises(BadInput, match="positions of a Identity, not timm's own"):
        host_of(vit)
    with pytest.raises(BadInput, match=r"drops random patches .* patch_drop_rate=0"):
        host_of(small("vit_small_patch16_dinov3", patch_drop_rate=0.2))
