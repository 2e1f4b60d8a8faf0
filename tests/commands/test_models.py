"""`tokenlens models`: what can be hosted, by a search, and why the rest cannot."""

import json

import pytest
from click.testing import CliRunner

from tokenlens.cli import tokenlens
from tokenlens.errors import BadInput, UnknownName


def said(*words: str) -> str:
    return CliRunner().invoke(tokenlens, ["models", *words], catch_exceptions=False).output


def test_a_search_lists_what_can_be_hosted() -> None:
    lines = said("vit_small_patch16_dinov3,beitv2_base", "nano-mi*").splitlines()
    assert [line.split()[0] for line in lines] == [
        "nano-micro", "vit_small_patch16_dinov3", "vit_small_patch16_dinov3_qkvb", "beitv2_base_patch16_224"
    ]  # fmt: skip
    assert lines[1].endswith("timm Eva       class token, positions in blocks")
    (row,) = json.loads(said("vit_base_patch16_siglip_224", "--json"))
    assert row["family"] == "timm ViT" and not row["class token"] and not row["positions in every block"]


def test_what_is_none_of_them_is_told_why() -> None:
    for word, reason in (
        ("swin_tiny_patch4", "SwinTransformer, which attends within windows .* it would take tokens that are put back"),
        ("samvit_base", "VisionTransformerSAM, which attends within windows"),
        ("hiera_tiny", "Hiera, which pools its tokens over the grid"),
        ("resnet18", "ResNet, which tokenlens does not understand"),
    ):
        with pytest.raises(BadInput, match=reason):
            said(word)
    with pytest.raises(UnknownName, match="did you mean vit_small_patch16_dinov3"):
        said("vit_smal_patch16_dinov3")
