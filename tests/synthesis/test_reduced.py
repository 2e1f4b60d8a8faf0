"""Merging inside a denoiser: undone, decided for each latent alone, right with every norm, or refused."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.errors import BadInput
from tokenlens.synthesis.reduce import method_of
from tokenlens.synthesis.reduced import ReducedDenoiser
from tokenlens.synthesis.tome_sd import TOME_SD

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
Call = Callable[..., Tensor]
METHODS = ("atc-average", "atc-single", "tome-sd", "tome", "kmedoids", "topk", "evit", "random", "l2")


def test_nothing_is_left_behind(unet: Any, call: Call) -> None:
    before, state = call(), {name: value.clone() for name, value in unet.state_dict().items()}
    with tokenlens.reduce(unet, "atc-average", ratio=0.5, mlp=True):
        assert (call() - before).abs().max() > 1e-3
    assert torch.equal(call(), before)
    assert all(torch.equal(value, state[name]) for name, value in unet.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())


@pytest.mark.parametrize("name", ["none", "atc-average"])
def test_where_nothing_is_removed_nothing_changes(name: str, unet: Any, call: Call) -> None:
    before = call()
    with tokenlens.reduce(unet, name, ratio=0.0 if name != "none" else 0.5):
        assert torch.equal(call(), before)


@pytest.mark.parametrize("name", METHODS)
def test_a_latent_is_decided_on_alone(name: str, unet: Any, call: Call) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with tokenlens.reduce(unet, name, ratio=0.5, record_steps=None) as reduced:
        together = call(latents)
        both = reduced.take(images=2)
        alone = [(call(one), reduced.take(images=1)) for one in latents.split(1)]
    assert both["group"].shape == (2, 1, 1, 3, 64) and both["tokens_left"].shape == (2, 1, 1, 3)
    for number, (output, found) in enumerate(alone):
        assert (together[number] - output[0]).abs().max() < 1e-4
        for part in found:
            assert (found[part][0] == both[part][number]).all(), part
    assert (both["group"][0] != both["group"][1]).any() == (name != "l2")
    assert (both["tokens_left"] == (both["group"].max(-1) + 1)).all()


class Plain(nn.Module):
    """A denoiser of one block, whose tokens are the pixels of the latents."""

    config = SimpleNamespace(patch_size=None)

    def __init__(self, norm: str) -> None:
        super().__init__()
        kind = diffusers.models.attention.BasicTransformerBlock
        embeds = 5 if norm in ("ada_norm", "ada_norm_zero") else None
        crossed = None if norm in ("ada_norm_zero",) else 6
        self.block = kind(8, 2, 4, cross_attention_dim=crossed, num_embeds_ada_norm=embeds, norm_type=norm,
                          ada_norm_continous_conditioning_embedding_dim=8)  # fmt: skip
        self.norm = norm

    def forward(self, sample: Tensor) -> Tensor:
        batch = len(sample)
        time: Any = torch.randn(batch, 48) if self.norm == "ada_norm_single" else torch.tensor(3)
        return self.block(
            sample.flatten(2).transpose(1, 2),
            encoder_hidden_states=torch.ones(batch, 3, 6),
            timestep=time if self.norm != "ada_norm_zero" else torch.full((batch,), 3),
            class_labels=torch.ones(batch, dtype=torch.long),
            added_cond_kwargs={"pooled_text_emb": torch.ones(batch, 8)},
        )


@pytest.mark.parametrize(
    "norm", ["layer_norm", "ada_norm", "ada_norm_zero", "ada_norm_single", "ada_norm_continuous", "layer_norm_i2vgen"]
)
@torch.no_grad()
def test_twins_may_merge_under_every_norm(norm: str) -> None:
    """Where each token is there twice, attention over one of each is the same, nothing changes."""
    torch.manual_seed(0)
    model = Plain(norm).eval()
    for parameter in model.parameters():
        parameter.normal_(std=0.5)
    if norm == "layer_norm_i2vgen":
        model.block.norm3 = nn.Identity()  # diffusers' own has None there, and calls it
    half = torch.randn(2, 8, 4, 2)
    twins = torch.cat([half, half.flip(2)], 3)
    torch.manual_seed(1)
    before = model(twins)
    settings: dict[str, Any] = {"layers": ["attn1", "attn2", "ff"], "seed": 0, "record_steps": None}
    with ReducedDenoiser(model, method_of("atc-complete"), {"linkage": "complete"}, 0.5, 1, **settings) as reduced:
        torch.manual_seed(1)
        after = model(twins)
        assert (reduced.take(images=2)["tokens_left"] == 8).all()
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-3)
    with ReducedDenoiser(model, method_of("atc-complete"), {"linkage": "complete"}, 0.8, 1, **settings):
        torch.manual_seed(1)
        assert (model(twins) - before).abs().max() > 1e-2


def test_lower_resolutions_are_recorded_on_the_finest_grid(unet: Any, call: Call) -> None:
    with tokenlens.reduce(unet, "atc-average", ratio=0.5, max_downsample=2, record_steps=[0]) as reduced:
        call()
        call()
        found = reduced.take(images=1)
    assert found["group"].shape == (1, 1, 2, 7, 64)
    assert set(found["tokens_left"].ravel()) == {32, 8}
    coarse = found["group"][0, 0, :, found["tokens_left"][0, 0, 0] == 8].reshape(-1, 4, 2, 4, 2)
    assert (coarse == coarse[:, :, :1, :, :1]).all(), "four patches of one coarser token are together"


@torch.no_grad()
def test_latents_of_any_sides(unet: Any, call: Call) -> None:
    with tokenlens.reduce(unet, "tome-sd", ratio=0.5, max_downsample=2, record_steps=None) as reduced:
        assert call(torch.randn(1, 4, 10, 6)).shape == (1, 4, 10, 6)
        assert reduced.take(images=1)["group"].shape[-1] == 60


def test_transformers_of_the_same_blocks_are_reduced() -> None:
    torch.manual_seed(0)
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, num_layers=2, sample_size=8, patch_size=2,
        num_embeds_ada_norm=5, norm_num_groups=4,
    ).eval()  # fmt: skip
    with torch.no_grad(), tokenlens.reduce(dit, "tome-sd", ratio=0.5, record_steps=None) as reduced:
        dit(torch.randn(2, 4, 8, 8), timestep=torch.tensor([3, 3]), class_labels=torch.tensor([1, 5]))
        assert reduced.take(images=1)["group"].shape == (1, 1, 2, 2, 16)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"ratio": 1.0}, "the ratio is 1.0"),
        ({"ratio": -0.1}, "the ratio is -0.1"),
        ({"ratio": float("nan")}, "the ratio is nan"),
        ({"max_downsample": 0}, "max_downsample is 0"),
        ({"attention": False}, "there is no layer to merge around"),
        ({"keep_rate": 0.5}, "reduced by one ratio"),
        ({"method": "sinkhorn"}, "has parameters of its own"),
        ({"method": "ats"}, "leaves another number of tokens in every image"),
        ({"method": "atc-averag"}, "no method called"),
        ({"method": "tome-sd", "sx": 0}, "option sx is 0"),
        ({"nonsense": 1}, "has no option"),
    ],
)
def test_what_cannot_be_is_refused(words: dict[str, Any], sentence: str, unet: Any, call: Call) -> None:
    with pytest.raises(BadInput, match=sentence), tokenlens.reduce(unet, **{"method": "atc-average", **words}):
        call()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())


def test_a_ratio_that_leaves_one_token_is_refused(unet: Any, call: Call) -> None:
    with tokenlens.reduce(unet, ratio=0.99), pytest.raises(BadInput, match="leaves 1 of the 64 tokens"):
        call()


def test_a_model_is_reduced_once_and_has_to_be_known(unet: Any) -> None:
    with tokenlens.reduce(unet), pytest.raises(BadInput, match="reduced already"):
        tokenlens.reduce(unet)
    plain = diffusers.UNet2DModel(sample_size=8, block_out_channels=(8, 8), norm_num_groups=4,
                                  down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)  # fmt: skip
    with pytest.raises(BadInput, match="UNet2DModel denoises with UNet2DModel"):
        tokenlens.reduce(plain)
    bare = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8,), norm_num_groups=4, down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",), mid_block_type=None,
    )  # fmt: skip
    with pytest.raises(BadInput, match="has no transformer blocks"):
        tokenlens.reduce(bare)


def test_its_card_says_what_tome_sd_does() -> None:
    assert "every cell" in TOME_SD.card and len(TOME_SD.digest) == 16
