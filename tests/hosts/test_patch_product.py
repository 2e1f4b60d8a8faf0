"""Patches as a product: the convolution's values, and in float32 the convolution itself."""

import pytest
import timm
import torch
from torch import Tensor, nn

from tokenlens.hosts.patch_product import PatchProduct, let_product


@pytest.mark.parametrize(("patch", "size"), [((8, 8), (32, 48)), ((4, 8), (16, 16)), ((7, 7), (21, 14))])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_product_is_the_convolution(patch: tuple[int, int], size: tuple[int, int], bias: bool) -> None:
    plain = nn.Conv2d(3, 10, patch, patch, bias=bias)
    images = torch.randn(2, 3, *size)
    wanted, seen = plain(images), []
    plain.register_forward_hook(lambda *_: seen.append(1))
    weight = plain.weight
    let_product(plain)
    assert isinstance(plain, PatchProduct) and plain.weight is weight
    assert torch.equal(plain(images), wanted) and seen == [1]
    assert plain.product(images).shape == wanted.shape
    assert (plain.product(images) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("other", [nn.Conv2d(3, 6, 8, 4), nn.Conv2d(3, 6, 4, 4, groups=3), nn.Identity()])
def test_what_is_no_cut_into_patches_stays(other: nn.Module) -> None:
    kind = type(other)
    let_product(other)
    assert type(other) is kind


@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision on a GPU")
@torch.no_grad()
def test_half_precision_on_a_gpu_is_near() -> None:
    plain = timm.create_model("deit_tiny_patch16_224").patch_embed.proj.cuda().half()
    images: Tensor = torch.randn(2, 3, 224, 224, device="cuda", dtype=torch.float16)
    wanted = plain(images)
    let_product(plain)
    assert (plain(images) - wanted).abs().max() < 1e-2
