"""NaFlex: every registered name is walked as timm walks it, and pictures of any shape go together, padded or not."""

from typing import Any

import pytest
import timm
import torch
from timm.models.naflexvit import batch_patchify
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.core.host import host_of
from tokenlens.errors import BadInput
from tokenlens.extraction.batch import canonical
from tokenlens.extraction.flops import gflops

SAMPLE = ("naflexvit_base_patch16_par_gap", "naflexvit_so150m2_patch16_reg1_map", "naflexvit_base_patch16_radio_v3")
SHAPES = ((32, 32), (16, 64), (32, 32), (48, 24))
Batch = dict[str, Tensor]


def small(name: str, **overrides: Any) -> nn.Module:
    """A registered model of two blocks and 32 channels, with decided opinions."""
    settings = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 7, **overrides}
    torch.manual_seed(0)
    own = {"pos_embed_grid_size": (5, 5), "pretrained_cfg_overlay": {"input_size": (3, 32, 32)}}
    vit: nn.Module = timm.create_model(name, **own, **settings).eval().requires_grad_(False)
    for parameter in vit.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return vit


def pictures() -> list[Tensor]:
    made = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, *shape, generator=made) for shape in SHAPES]


def ragged(images: list[Tensor], length: int, channels_last: bool = True) -> Batch:
    """As timm's loader gives them, padded to a length."""
    parts: dict[str, list[Tensor]] = {"patches": [], "patch_coord": [], "patch_valid": []}
    for image in images:
        patches, (rows, columns) = batch_patchify(image, (8, 8), channels_last=channels_last)
        room = length - rows * columns
        coord = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        parts["patches"].append(functional.pad(patches[0], (0, 0, 0, room), value=9.0))  # padding that would be heard
        parts["patch_coord"].append(functional.pad(coord, (0, 0, 0, room)))
        parts["patch_valid"].append(torch.arange(length) < rows * columns)
    return {name: torch.stack(values) for name, values in parts.items()}


@torch.no_grad()
def check(name: str) -> None:
    """Identity on images, of its own size and of another; timm's padded batch; the cost of a reduced model."""
    vit = small(name)
    for size in ((32, 32), (48, 24)):
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        for method, rate in (("none", 0.5), ("tome", 1.0)):
            logits, trace = tokenlens.reduce(vit, method, rate, blocks=(0, 1)).trace(images)
            assert torch.equal(logits, vit(images)) and trace.kept.all()
    batch = ragged(pictures(), 20)
    for method, rate in (("none", 0.5), ("tome", 1.0)):
        model = tokenlens.reduce(vit, method, rate, blocks=(0, 1))
        torch.testing.assert_close(model(batch), vit(batch), rtol=1e-4, atol=1e-4)
        assert torch.equal(model(batch)[1], vit(pictures()[1])[0])  # alone and without padding to the last bit
    reduced = tokenlens.reduce(vit, "l2", blocks=(0, 1), keep=(12, 8))
    with FlopCounterMode(display=False) as counter:
        left = reduced.trace(pictures()[0])[1].tokens_left[0].tolist()
    assert gflops(host_of(vit), dict(enumerate(left)), "before_block") == pytest.approx(
        counter.get_total_flops() / 2e9, rel=1e-6
    )


@pytest.mark.parametrize("name", SAMPLE)
def test_a_registered_model_is_walked_as_timm_walks_it(name: str) -> None:
    check(name)


@pytest.mark.long
def test_every_registered_model() -> None:
    names = timm.list_models(module="naflexvit")
    assert len(names) >= 14 and set(SAMPLE) <= set(names)
    for name in names:
        check(name)


@pytest.mark.parametrize("method", ["tome", "atc-average", "topk", "ats", "random", "l2"])
@torch.no_grad()
def test_a_pattern_depends_on_no_padding(method: str) -> None:
    """Alone, among others, and with more padding: to the bit the same, and at the rate of its own patches."""
    more = {"from_class": "received"} if method in ("topk", "ats") else {}
    model = tokenlens.reduce(small("naflexvit_base_patch16_gap"), method, 0.6, blocks=(0, 1), **more)
    logits, trace = model.trace(ragged(pictures(), 20))
    padded, other = model.trace(ragged(pictures(), 33))
    assert torch.equal(logits, padded) and torch.equal(trace.group, other.group) and torch.equal(logits, model(ragged(
        pictures(), 20)))  # fmt: skip
    assert trace.grid == (6, 8) and trace.valid.sum(1).tolist() == [16, 16, 16, 18]
    assert not (trace.kept & ~trace.valid[:, None]).any() and (trace.group[~trace.valid[:, None].expand_as(
        trace.group)] == -1).all()  # fmt: skip
    for row, image in enumerate(pictures()):
        expected, alone = model.trace(image)
        there = trace.valid[row]
        torch.testing.assert_close(logits[row], expected[0])
        assert torch.equal(trace.kept[row][:, there], alone.kept[0])
        assert torch.equal(canonical(trace.group[row][:, there]), canonical(alone.group[0]))
        assert torch.equal(trace.tokens_left[row], alone.tokens_left[0])
        rows, columns = (side // 8 for side in SHAPES[row])
        assert there.unflatten(0, trace.grid)[:rows, :columns].all()


@torch.no_grad()
def test_features_come_in_the_order_of_the_batch() -> None:
    vit = small("naflexvit_base_patch16_radio_v3", patchify_channels_last=False)
    model = tokenlens.reduce(vit, "topk", 0.5, blocks=(1,))
    batch = ragged(pictures(), 20, channels_last=False)
    features = model.trace(batch, features=True)[1].features[1]
    for row, image in enumerate(pictures()):
        torch.testing.assert_close(features[row], model.trace(image, features=True)[1].features[1][0])


def test_patterns_of_images_are_extracted() -> None:
    model = tokenlens.reduce(small("naflexvit_base_patch16_gap"), "tome", 0.5, blocks=(1,))
    run = tokenlens.extract(model, [torch.cat(pictures()[:3:2])])
    assert run["tokens_left"].values.tolist() == [[8], [8]] and run.attrs["grid"] == [4, 4]


def test_what_is_no_batch_of_pictures_is_refused() -> None:
    model = tokenlens.reduce(small("naflexvit_base_patch16_gap"), "tome", 0.5, blocks=(1,))
    batch = ragged(pictures(), 20)
    dropped = batch["patch_valid"].clone()
    dropped[2, 3] = False
    nothing = batch["patch_valid"].clone()
    nothing[1] = False
    for wrong, sentence in (
        ({"patch_valid": dropped}, "the 15 patches of image 2 are no whole grid"),
        ({"patch_valid": nothing}, "the 0 patches of image 1 are no whole grid"),
        ({"patches": batch["patches"][..., :48]}, r"patches are \(4, 20, 48\), and this model takes 8 x 8 pixels of 3"),
        ({"attn_mask": torch.zeros(4, 1, 24, 24)}, "an attn_mask of its own"),
    ):
        with pytest.raises(BadInput, match=sentence):
            model({**batch, **wrong})
    with pytest.raises(BadInput, match="the batch lacks patch_coord, patch_valid; give patches, patch_coord"):
        model({"patches": batch["patches"]})
    with pytest.raises(BadInput, match="soft maps of pictures of several shapes"):
        model.trace(batch, soft=True)


def test_rotary_positions_are_refused_by_name() -> None:
    rotary = timm.create_model("vit_small_patch16_dinov3", use_naflex=True, embed_dim=32, depth=1, num_heads=2)
    with pytest.raises(
        BadInput, match=r"block 0 of .* has a EvaBlock, not the plain Block; supported: timm's NaFlexVit"
    ):
        host_of(rotary)
