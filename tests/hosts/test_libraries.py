"""Models that are opened by a library's name for them, before a colon: what they are, and what there is none of."""

from types import SimpleNamespace

import pytest
import torch

from tokenlens.core.host import host_of
from tokenlens.errors import BadInput, UnknownName
from tokenlens.hosts.loading import input_of, untrained
from tokenlens.hosts.torchvision_vit import TorchvisionViT


def test_torchvisions_tags_say_what_images_are_like() -> None:
    with torch.device("meta"):
        model = untrained("torchvision:vit_b_16.swag_e2e_v1", 7)
    found = host_of(model)
    assert (found.grid, found.heads, found.prefix, model.num_classes) == ((24, 24), 12, 1, 7)
    assert found.name == "torchvision:vit_b_16.swag_e2e_v1" and "torchvision:vit_h_14" in TorchvisionViT.names()
    assert (input_of(model)["input_size"], input_of(model)["crop_pct"]) == ((3, 384, 384), 1.0)


def test_open_clips_tower_gives_an_embedding() -> None:
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    model = untrained("open_clip:ViT-S-16-alt", 10)
    found = host_of(model)
    assert (found.grid, found.image, model.num_classes) == ((14, 14), (3, 224, 224), 0)
    assert input_of(model)["mean"] == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)


def test_open_clips_other_towers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    tower = open_clip.modified_resnet.ModifiedResNet((1, 1, 1, 1), 8, 2, image_size=32, width=8)
    tower.preprocess_cfg = {}
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: SimpleNamespace(visual=tower))
    with pytest.raises(BadInput, match=r"open_clip:RN50 looks at images with a ModifiedResNet, not .* one of its ViTs"):
        untrained("open_clip:RN50", 10)
    tower.trunk = tower.conv1
    with pytest.raises(BadInput, match=r"with timm's Conv2d, .* give its visual\.trunk to tokenlens\.reduce"):
        untrained("open_clip:RN50", 10)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torchvision:vit_b_61", "no model called 'torchvision:vit_b_61'; did you mean torchvision:vit_b_16"),
        ("torchvision:vit_b_16.swag", r"no weights called 'torchvision:vit_b_16\.swag'"),
        ("open_clip:ViT-B-61", "no model called 'open_clip:ViT-B-61'; did you mean open_clip:ViT-B-16"),
        ("open_clip:ViT-B-16:none", "no weights called 'open_clip:ViT-B-16:none'"),
    ],
)
def test_names_that_there_are_not(name: str, sentence: str) -> None:
    with pytest.raises(UnknownName, match=sentence):
        untrained(name, 10)
