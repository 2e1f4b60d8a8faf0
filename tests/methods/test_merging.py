"""Merging: mass is conserved, sizes weigh attention or not, and off the shelf removes what it should."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens

MERGERS = ("tome", "atc-single", "atc-complete", "atc-average")


@pytest.mark.parametrize("name", MERGERS)
@torch.no_grad()
def test_masses_sum_to_the_patches(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    _, trace = tokenlens.reduce(tiny_vit, name, blocks=(1, 2, 4)).trace(images)
    for stage, block in enumerate(trace.blocks):
        sizes = torch.stack(
            [torch.bincount(row.long(), minlength=trace.mass[block].shape[1]) for row in trace.group[:, stage]]
        )
        assert torch.equal(trace.mass[block], sizes.float())
        alone = trace.kept[:, stage].sum(1)
        assert torch.equal((sizes == 1).sum(1), alone)


@torch.no_grad()
def test_without_proportional_attention_sizes_are_forgotten(tiny_vit: nn.Module, images: Tensor) -> None:
    logits, trace = tokenlens.reduce(tiny_vit, "atc", blocks=(1, 3), proportional=False).trace(images)
    assert trace.mass == {}
    assert (tokenlens.reduce(tiny_vit, "atc", blocks=(1, 3))(images) - logits).abs().max() > 1e-3


@torch.no_grad()
def test_a_merged_token_counts_as_often_as_it_has_members(tiny_vit: nn.Module) -> None:
    """Images of equal patches without positions: every merge joins equals, so that the logits stay timm's."""
    vit = tokenlens.reduce(tiny_vit, "none", blocks=(1,)).vit
    vit.pos_embed.zero_()
    patches = torch.randn(1, 3, 8, 2, 8, 1, generator=torch.Generator().manual_seed(0))
    image = patches.expand(1, 3, 8, 2, 8, 1).repeat(1, 1, 1, 4, 1, 1)
    image = image.permute(0, 1, 3, 2, 5, 4).repeat(1, 1, 1, 1, 8, 1).reshape(1, 3, 64, 64)
    expected = vit(image)
    for name in ("tome", "atc-complete"):
        logits, trace = tokenlens.reduce(vit, name, keep=(32, 16), blocks=(1, 3)).trace(image)
        assert trace.tokens_left.tolist() == [[32, 16]]
        assert (logits - expected).abs().max() < 1e-4


@pytest.mark.parametrize("decreasing", [False, True])
@pytest.mark.parametrize("name", ["tome", "atc"])
@torch.no_grad()
def test_off_the_shelf(name: str, decreasing: bool, tiny_vit: nn.Module, images: Tensor) -> None:
    _, trace = tokenlens.reduce(tiny_vit, name, remove=5, decreasing=decreasing).trace(images)
    expected = [54, 46, 40, 36, 34, 34] if decreasing else [59, 54, 49, 44, 39, 34]
    assert trace.tokens_left.tolist() == [expected] * 4


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"remove": 5}, [60, 56, 52, 48, 44, 40]),
        ({"remove": 1}, [64] * 6),
        ({"remove": 5, "decreasing": True}, [55, 48, 43, 40, 39, 39]),
        ({"keep": (40, 20), "blocks": (1, 3)}, [41, 22]),
    ],
)
@torch.no_grad()
def test_compat_removes_one_fewer(settings: Any, expected: list[int], tiny_vit: nn.Module, images: Tensor) -> None:
    _, trace = tokenlens.reduce(tiny_vit, "atc", compat=True, **settings).trace(images[:1])
    assert trace.tokens_left.tolist() == [expected]


@torch.no_grad()
def test_tome_merges_at_most_half(tiny_vit: nn.Module, images: Tensor) -> None:
    _, trace = tokenlens.reduce(tiny_vit, "tome", 0.25, blocks=(1, 3, 5)).trace(images)
    assert trace.tokens_left.tolist() == [[32, 20, 17]] * 4  # asked: 16, 4, 1
    _, trace = tokenlens.reduce(tiny_vit, "tome", [0.25, 0.4, 0.1], blocks=(1, 3, 5)).trace(images)
    assert trace.tokens_left.tolist() == [[32, 32, 16]] * 4  # a plan that rises merges nothing


@torch.no_grad()
def test_everything_into_one(tiny_vit: nn.Module, images: Tensor) -> None:
    for name in MERGERS[1:]:
        logits, trace = tokenlens.reduce(tiny_vit, name, keep=(1,), blocks=(2,)).trace(images)
        assert trace.tokens_left.tolist() == [[1]] * 4 and (trace.group == 0).all()
        assert trace.mass[2].tolist() == [[64.0]] * 4 and logits.isfinite().all()
