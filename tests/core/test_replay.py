"""A pattern that is replayed: in its own model it changes nothing, in another's weights only the weights differ."""

import pytest
import timm
import torch

import tokenlens
from tokenlens.core.replay import decided, replayed, shown
from tokenlens.errors import BadInput

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def vit(seed: int) -> torch.nn.Module:
    """A small one of random weights, not near zero, so that what attends to what differs."""
    torch.manual_seed(seed)
    shape = {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 5}
    model = timm.models.vision_transformer.VisionTransformer(**shape).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


# by class attention, in that order; with a blend; pairs; adaptive, padded; before the block; waiting; at random
@pytest.mark.parametrize("method", ["topk", "evit", "tome", "ats", "atc-average", "evovit", "random", "dpcknn", "none"])
@torch.inference_mode()
def test_a_pattern_in_its_own_model_gives_its_own_logits_to_the_last_bit(method: str) -> None:
    model = tokenlens.reduce(vit(0), method, 0.5, (1, 2))
    logits, _, plans = decided(model, IMAGES)
    usual, _ = model.trace(IMAGES)
    assert torch.equal(logits, usual) and torch.equal(replayed(model, plans, model.host, IMAGES), usual)
    assert set(plans) == (set() if method == "none" else {1, 2})


@torch.inference_mode()
def test_other_weights_follow_the_pattern_and_not_their_own() -> None:
    one, other = (tokenlens.reduce(vit(seed), "topk", 0.5, (1, 2)) for seed in (0, 1))
    _, trace, plans = decided(one, IMAGES)
    logits, own = other.trace(IMAGES)
    assert not torch.equal(trace.kept, own.kept)
    followed = replayed(one, plans, other.host, IMAGES)
    assert not torch.allclose(followed, logits, atol=1e-3)
    torch.testing.assert_close(replayed(other, decided(other, IMAGES)[2], other.host, IMAGES), logits)


def test_soft_mixtures_have_no_pattern_to_follow() -> None:
    model = tokenlens.reduce(vit(0), "sinkhorn", 0.5, (1, 2))
    with pytest.raises(BadInput, match="softly"):
        decided(model, IMAGES)


@torch.inference_mode()
def test_what_is_shown_is_all_that_is_seen() -> None:
    host = tokenlens.reduce(vit(0), "none", 0.5, (1, 2)).host
    patches = torch.zeros(3, 64, dtype=torch.bool)
    patches[0, :9], patches[1, 3:40:4] = True, True
    logits = shown(host, IMAGES, patches)
    changed = IMAGES.clone()
    changed[0, :, 16:], changed[2] = 7, 7  # rows of patches from the third on; and an image of which nothing is shown
    torch.testing.assert_close(shown(host, changed, patches), logits)
    torch.testing.assert_close(shown(host, IMAGES, torch.ones_like(patches)), host.model(IMAGES))
