"""Off the shelf against the published code: JoakimHaurum/ATC@227c94b, on AugReg's, MAE's and SWAG's models.

A setting is `<weights>__<method>__<schedule>__r<tokens removed>`; sizes are read off the weights. As published
there, ATC removes one token fewer than ToMe.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

import tokenlens
from tokenlens.extraction.batch import canonical
from tokenlens.hosts.torchvision_vit import from_swag

from .conftest import golden_folder

FOLDER = golden_folder() / "systems"
SETTING = re.compile(r"(\w+?)__(tome|atc-\w+?)__(constant|decrease)__r(\d+)")


@cache
def recorded() -> dict[str, np.ndarray]:
    """The arrays by name; empty where the folder has no such part."""
    if not (FOLDER / "ots").exists():
        return {}
    file = FOLDER / "ots" / "ots.npz"
    found = dict(np.load(file)) if file.is_file() else {}
    if not any(SETTING.match(name) for name in found):
        raise pytest.UsageError(f"{FOLDER / 'ots'} holds nothing to compare; add ots.npz, or remove the folder")
    return found


def settings() -> list[Any]:
    found = dict.fromkeys(match[0] for name in recorded() if (match := SETTING.match(name)))
    absent = pytest.param(None, marks=pytest.mark.skip(f"{FOLDER} has no ots"), id="none")
    return list(found) or [absent]


def _shared(name: str) -> Path:
    """What the systems share with the walk, where they have none of their own."""
    return FOLDER / name if (FOLDER / name).is_file() else FOLDER.parent / name


def plain(heads: int, mae: bool) -> nn.Module:
    """Timm's ViT; as MAE has it, with an average of the patches, normed after it."""
    state, (height, width) = load_file(_shared("backbone.safetensors")), images("augreg").shape[-2:]
    made = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=(height, width),
        patch_size=state["patch_embed.proj.weight"].shape[-1],
        embed_dim=len(state["norm.weight"]),
        depth=1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
        num_heads=heads,
        mlp_ratio=len(state["blocks.0.mlp.fc1.bias"]) / len(state["norm.weight"]),
        num_classes=len(state["head.bias"]),
        global_pool="avg" if mae else "token",
    )
    made.load_state_dict({f"fc_{name}" if mae and name.startswith("norm.") else name: state[name] for name in state})
    return made.eval()


@cache
def images(weights: str) -> torch.Tensor:
    """(B, 3, H, W) float32."""
    found = recorded()["swag__image"] if weights == "swag" else np.load(_shared("images.npz"))["images"]
    return torch.from_numpy(found)


@cache
@torch.no_grad()
def model(weights: str) -> nn.Module:
    """The un-reduced one. Weights do not tell the number of heads, but only one number gives the recorded logits."""
    known = "swag" if weights == "swag" else "augreg"
    state = load_file(FOLDER / "ots" / "ots_swag_tiny.safetensors") if known == "swag" else {}

    def build(heads: int, mae: bool = False) -> nn.Module:
        return from_swag(state, heads) if state else plain(heads, mae)

    logits = torch.from_numpy(recorded()[f"{known}__none__logits"])
    width = next(len(value) for name, value in build(1).named_parameters() if "norm" in name or "ln" in name)
    counts = [heads for heads in range(1, width + 1) if width % heads == 0]
    found = min(counts, key=lambda heads: float((build(heads)(images(known)) - logits).abs().max()))
    return build(found, mae=weights == "mae")


@pytest.mark.parametrize("setting", settings())
@torch.no_grad()
def test_agrees_with_the_published_code(setting: str, tolerance: float) -> None:
    weights, method, schedule, removed = SETTING.fullmatch(setting).groups()  # type: ignore[union-attr]
    options: dict[str, Any] = {"compat": True} if method.startswith("atc") else {}
    if weights == "mae":
        options |= {"proportional": False, "remember": True}
    reduced = tokenlens.reduce(
        model(weights), method, remove=int(removed), decreasing=schedule == "decrease", **options
    )
    logits, trace = reduced.trace(images(weights))
    there = {name: recorded()[f"{setting}__{name}"] for name in ("logits", "tokens", "token_of_input")}
    assert np.abs(logits.numpy() - there["logits"]).max() <= tolerance
    assert (trace.tokens_left.numpy() + 1 == there["tokens"]).all()  # theirs with the class token
    theirs = torch.from_numpy(there["token_of_input"][:, 1:].astype(np.int64) - 1)  # without the class token
    assert torch.equal(canonical(trace.group[:, -1]), canonical(theirs))


@pytest.mark.parametrize("weights", dict.fromkeys(n.split("__")[0] for n in recorded() if "__none__logits" in n))
@torch.no_grad()
def test_the_unreduced_model_agrees(weights: str, tolerance: float) -> None:
    off = model(weights)(images(weights)).numpy() - recorded()[f"{weights}__none__logits"]
    assert np.abs(off).max() <= tolerance
