"""Which timm models are walked exactly as timm walks them, and which are refused by name."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.host import host_of
from tokenlens.errors import BadInput
from tokenlens.methods import methods

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 7}
SAMPLE = """
deit_tiny_patch16_224 deit_base_patch16_384 deit_tiny_distilled_patch16_224 deit_base_distilled_patch16_384
deit3_small_patch16_224 deit3_medium_patch16_224 deit3_huge_patch14_224 flexivit_small flexivit_large
test_vit test_vit2 test_vit3 test_vit4
vit_tiny_patch16_224 vit_small_patch8_224 vit_small_patch32_224 vit_base_patch16_224_miil vit_base_patch16_384
vit_large_patch14_224 vit_small_patch16_36x1_224 vit_base_patch16_gap_224 vit_huge_patch14_gap_224
vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2 vit_base_patch14_reg1_tipsv2
vit_base_patch16_clip_224 vit_base_patch32_clip_256 vit_base_patch16_clip_quickgelu_224 vit_gigantic_patch14_clip_378
vit_base_patch16_plus_240 vit_base_patch16_plus_clip_240 vit_betwixt_patch32_clip_224 vit_intern300m_patch14_448
vit_base_patch16_siglip_224 vit_base_patch16_siglip_gap_224 vit_so400m_patch14_siglip_378
vit_so150m_patch16_reg4_map_256 vit_so150m2_patch16_reg1_gap_256 vit_base_patch16_reg4_gap_256
vit_wee_patch16_reg1_gap_256 vit_medium_patch16_gap_240
vit_mediumd_patch16_reg4_gap_256
""".split()


def small(name: str, **overrides: Any) -> nn.Module:
    """A registered model of little width and depth, as far as it can be made so, with 4 x 4 patches or a few more."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {**SMALL, **overrides}
    patch = next((int(part[5:]) for part in name.split("_") if part.startswith("patch")), 16)
    if "img_size" not in settings:
        settings["img_size"] = 4 * patch if "patch" in name else 128
    vit: nn.Module = timm.create_model(name, **settings).eval()
    return vit


def pixels(vit: nn.Module, size: tuple[int, int] | None = None) -> Tensor:
    height, width = size or vit.patch_embed.img_size
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def check_identity(vit: nn.Module, images: Tensor) -> None:
    """Walked without a reducer, and with one that has nothing to do, the logits are timm's to the last bit."""
    expected = vit(images)
    method = "topk" if vit.cls_token is not None else "tome"
    for name, rate in (("none", 0.5), (method, 1.0)):
        logits, trace = tokenlens.reduce(vit, name, rate, blocks=(0, 1)).trace(images)
        assert torch.equal(logits, expected)
        assert trace.kept.all()
    logits, trace = tokenlens.reduce(vit, method, 0.5, blocks=(0, 1)).trace(images)
    assert logits.shape == expected.shape and logits.isfinite().all()
    assert (trace.tokens_left[:, 1] < trace.kept.shape[-1]).all()


@pytest.mark.parametrize("name", SAMPLE)
def test_registered_models_are_walked_as_timm_walks_them(name: str) -> None:
    vit = small(name)
    check_identity(vit, pixels(vit))


@pytest.mark.long
def test_every_registered_plain_model() -> None:
    walked = []
    rooms = ("vision_transformer", "deit")
    for name in (name for room in rooms for name in timm.list_models(module=room)):
        try:
            vit = small(name)
            host_of(vit)
        except (BadInput, TypeError, AssertionError):  # not plain, or cannot be made small: then it is none of ours
            continue
        check_identity(vit, pixels(vit))
        walked.append(name)
    assert len(walked) >= 165
    assert set(SAMPLE) <= set(walked)


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        ({"img_size": (32, 80)}, (32, 80)),
        ({"img_size": 64, "dynamic_img_size": True}, (96, 48)),
        ({"img_size": 64, "dynamic_img_size": True, "dynamic_img_pad": True}, (50, 70)),
        ({"img_size": 64, "qk_norm": True, "init_values": 0.1}, (64, 64)),
        ({"img_size": 64, "reg_tokens": 3, "no_embed_class": True}, (64, 64)),
        ({"img_size": 64, "global_pool": "avg"}, (64, 64)),
        ({"img_size": 64, "global_pool": "max"}, (64, 64)),
        ({"img_size": 64, "global_pool": "avg", "pool_include_prefix": True}, (64, 64)),
        ({"img_size": 64, "pos_embed": "none"}, (64, 64)),
        ({"img_size": 64, "num_classes": 0}, (64, 64)),
        ({"img_size": 64, "scale_attn_norm": True, "pre_norm": True}, (64, 64)),
    ],
)
def test_unusual_ways_to_build(overrides: dict[str, Any], size: tuple[int, int]) -> None:
    vit = small("vit_tiny_patch16_224", **overrides)
    check_identity(vit, pixels(vit, size))


def test_dynamic_distilled_models() -> None:
    vit = small("deit_tiny_distilled_patch16_224", img_size=64, dynamic_img_size=True)
    check_identity(vit, pixels(vit, (80, 48)))


@torch.no_grad()
def test_rates_follow_the_size_of_the_image() -> None:
    vit = small("vit_tiny_patch16_224", img_size=64, dynamic_img_size=True)
    model = tokenlens.reduce(vit, "topk", 0.5, blocks=(0, 1))
    assert model.trace(pixels(vit, (64, 64)))[1].tokens_left.tolist() == [[8, 4]] * 2
    assert model.trace(pixels(vit, (96, 160)))[1].tokens_left.tolist() == [[30, 15]] * 2


REFUSED = {
    "swin_tiny_patch4_window7_224": "SwinTransformer",
    "samvit_base_patch16_224": "VisionTransformerSAM",
    "vit_small_patch16_18x2_224": "ParallelThingsBlock",
    "vit_base_patch16_rpn_224": "ResPostBlock",
    "vit_base_patch16_xp_224": "ParallelScalingBlock",
    "resnet18": "ResNet",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_hosts_are_refused_by_name(name: str) -> None:
    depth = {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 1, 1, 1)} if name.startswith("swin") else {}
    if not depth and name != "resnet18":
        depth = {"depth": 2, "embed_dim": 48, "num_heads": 4}
        if name.startswith("samvit"):
            depth["global_attn_indexes"] = (1,)
    with pytest.raises(
        BadInput, match=rf"{name} .*{REFUSED[name]}.*(; supported: .*deit3_|`tokenlens models` lists)"
    ) as found:
        tokenlens.reduce(timm.create_model(name, **depth), "topk", blocks=(0,))
    assert "\n" not in str(found.value)


def test_a_foreign_attention_is_refused(make_vit: Callable[..., nn.Module]) -> None:
    class Odd(type(make_vit().blocks[0].attn)):  # type: ignore[misc]
        """Somebody's own."""

    vit = make_vit()
    vit.blocks[2].attn.__class__ = Odd
    with pytest.raises(BadInput, match="block 2 of vit_tiny_patch16_224 has a Odd, not the plain Attention"):
        tokenlens.reduce(vit, "topk", blocks=(1,))


def test_random_patch_dropping_is_refused() -> None:
    with pytest.raises(BadInput, match=r"vit_tiny_patch16_224 drops random patches .* patch_drop_rate=0"):
        tokenlens.reduce(small("vit_tiny_patch16_224", patch_drop_rate=0.2), "topk", blocks=(0,))


@pytest.mark.parametrize("name", [n for n, m in methods().items() if "class token" in m.reducer.needs])
def test_without_a_class_token_the_methods_that_do_are_named(name: str) -> None:
    vit = small("vit_base_patch16_siglip_224")
    with pytest.raises(BadInput, match=r"vit_base_patch16_siglip_224 has none; .* do without: .*tome") as found:
        tokenlens.reduce(vit, name, blocks=(0,))
    offered = str(found.value).split("without: ")[1].split(", ")
    assert name not in offered and set(offered) <= set(methods())


@torch.no_grad()
def test_the_methods_that_do_without_a_class_token_do() -> None:
    vit = small("vit_base_patch16_siglip_224")
    for name, method in methods().items():
        if "class token" not in method.reducer.needs:
            assert tokenlens.reduce(vit, name, blocks=(0, 1))(pixels(vit)).isfinite().all(), name


@torch.no_grad()
def test_attention_pooling_refuses_padding() -> None:
    vit = small("vit_so150m_patch16_reg4_map_256", class_token=True, img_size=128)
    for parameter in vit.parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=0.3)
    images = torch.cat([pixels(vit), torch.zeros(1, 3, 128, 128)])
    with pytest.raises(BadInput, match="pools by attention, which would see padding"):
        tokenlens.reduce(vit, "ats", 0.9, blocks=(0,))(images)
