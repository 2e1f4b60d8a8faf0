"""Hybrids of a convolutional network and a ViT: walked as timm walks them, on the grid of the feature map."""

import pytest
import timm
import torch
from torch import nn

import tokenlens
from tokenlens.core.host import host_of

SAMPLE = ("vit_tiny_r_s16_p8_224", "vit_base_mci_224", "vitamin_small_224")


def small(name: str) -> nn.Module:
    """Two blocks over a small picture; where nothing projects, tokens are as wide as the network."""
    wide = {} if name.startswith("vitamin") or "mci" in name else {"embed_dim": 48, "num_heads": 4}
    torch.manual_seed(0)
    vit: nn.Module = timm.create_model(name, img_size=64, depth=2, num_classes=7, **wide).eval()
    return vit


@torch.no_grad()
def check(name: str) -> None:
    vit = small(name)
    host, images = host_of(vit), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = vit(images)
    for method, rate in (("none", 0.5), ("tome", 1.0)):
        logits, trace = tokenlens.reduce(vit, method, rate, blocks=(0, 1)).trace(images)
        assert torch.equal(logits, expected) and trace.kept.all()
    assert host.image == (3, 64, 64) and trace.kept.shape[-1] == host.grid[0] * host.grid[1]
    assert host.grid_of((64, 64)) == host.grid and not vit.training


@pytest.mark.parametrize("name", SAMPLE)
def test_a_registered_model_is_walked_as_timm_walks_it(name: str) -> None:
    check(name)


@pytest.mark.long
def test_every_registered_model() -> None:
    names = [*timm.list_models(module="vision_transformer_hybrid"), *timm.list_models(module="vitamin")]
    assert len(names) >= 27
    for name in names:
        check(name)
