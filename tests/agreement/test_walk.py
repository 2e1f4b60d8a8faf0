"""The walk against the published code: JoakimHaurum/TokenReduction@88fe07e and JoakimHaurum/ATC@227c94b."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import tokenlens
from tokenlens.checkpoints import load_reducers, rename
from tokenlens.vit import ReducedViT

TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def vit(golden: Path) -> torch.nn.Module:
    state = load_file(golden / "backbone.safetensors")
    dim, classes = state["cls_token"].shape[-1], len(state["head.bias"])
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    made = timm.create_model("vit_tiny_patch16_224", embed_dim=dim, depth=depth, num_heads=4, num_classes=classes)
    made.load_state_dict(state)
    return made.eval()


@pytest.fixture(scope="module")
def images(golden: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(golden / "images.npz")["images"])


def method_of(tag: str) -> tuple[str, dict[str, Any]]:
    """The golden data's name of a method -> ours, with options."""
    if found := re.fullmatch(r"atc-(\w+)-(prop|noprop)", tag):
        return f"atc-{found[1]}", {"proportional": found[2] == "prop"}
    if found := re.fullmatch(r"heuristic-(\w+)-(c|nc)", tag):
        return found[1], {"contiguous": found[2] == "c"}
    if tag.endswith("_eq"):
        return tag.removesuffix("_eq"), {"equal_weight": True}
    if tag.startswith("sinkhorn_eps"):
        return "sinkhorn", {"eps": float(tag.removeprefix("sinkhorn_eps"))}
    return {"dyvit": "dynamicvit"}.get(tag, tag), {}


def build(vit: torch.nn.Module, file: Path) -> tuple[ReducedViT, Any, str]:
    """The model that a golden file describes, its arrays, and the method's name there."""
    data = np.load(file)
    tag, rate = re.fullmatch(r"golden-(.+)-r([^-]+(?:-loc.+)?)", file.stem).groups()  # type: ignore[union-attr]
    name, options = method_of(tag)
    rates, blocks = data["keep_rate"].tolist(), data["stages"].tolist()
    if radius := re.match(r"mr([\d.]+)", rate):
        options["min_radius"] = float(radius[1])
    if len(rates) == 1:
        amount: dict[str, Any] = {"keep_rate": rates[0]}
    elif max(rates) > 1:
        amount = {"keep": [int(count) for count in rates]}
    else:
        amount = {"keep_rate": rates}
    model = tokenlens.reduce(vit, name, blocks=blocks, **amount, **options)
    extras = file.with_name(file.name.replace("golden-", "extras-")).with_suffix(".safetensors")
    if extras.exists():
        load_reducers(model, rename(load_file(extras)), extras.name)
    if "init_idx" in data:
        for block, first in zip(blocks, data["init_idx"].tolist(), strict=True):
            model.reducers[str(block)].first = first
    return model, data, tag


def partition(labels: np.ndarray) -> list[int]:
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(label), len(numbers)) for label in labels]


@torch.no_grad()
def test_agreement(golden_file: Path, vit: torch.nn.Module, images: torch.Tensor) -> None:
    model, data, tag = build(vit, golden_file)
    logits, trace = model.trace(images, features=True)
    exact = "exactdist_" if tag == "ats" else ""  # ATS as published depends on the rounding of a matrix product
    stable = data[f"{exact}stable"]
    if tag != "sinkhorn":  # whose later assignments are rounding noise, while its logits are not
        assert stable.any()
    whole = stable if tag != "sinkhorn" else np.ones_like(stable)
    assert np.abs(logits.numpy() - data[f"{exact}logits"])[whole].max() <= TOLERANCE
    for block, feature in trace.features.items():
        if f"{exact}cls_{block}" in data:
            assert np.abs(feature.numpy() - data[f"{exact}cls_{block}"])[whole].max() <= TOLERANCE
    assert trace.blocks == data["stages"].tolist()
    stages = data["stages"].tolist()[: 1 if tag == "sinkhorn" else None]
    compared = 0
    for stage, block in enumerate(stages):
        for image in np.flatnonzero(data[f"{exact}stable_{block}"]):
            if f"{exact}abs_kept_{block}" in data:
                there = data[f"{exact}abs_kept_{block}"][image]
                assert set(np.flatnonzero(trace.kept[image, stage])) == set(there[there >= 0].tolist())
                compared += 1
            if f"canon_assign_{block}" in data:
                assert partition(trace.group[image, stage].numpy()) == data[f"canon_assign_{block}"][image].tolist()
                compared += 1
        if not tag.startswith("heuristic") and tag != "ats":  # published patterns mask, and pad to the widest image
            assert (trace.tokens_left[:, stage] == int(data["n_tokens"][stage])).all()
    assert compared > 0


@torch.no_grad()
def test_soft_maps_agree(golden: Path, vit: torch.nn.Module, images: torch.Tensor) -> None:
    compared = 0
    for file in sorted(golden.glob("golden-*-r*.npz")):
        data = np.load(file)
        blocks = [block for block in data["stages"].tolist() if f"soft_assign_{block}" in data]
        if not blocks:
            continue
        model, _, _ = build(vit, file)
        _, trace = model.trace(images[:1], soft=True)
        for block in blocks:
            assert np.abs(trace.soft[block].numpy() - data[f"soft_assign_{block}"]).max() < 1e-4
            compared += 1
    assert compared > 0


@torch.no_grad()
def test_unreduced_model_agrees(golden: Path, vit: torch.nn.Module, images: torch.Tensor) -> None:
    data = np.load(golden / "golden-deit.npz")
    logits, trace = tokenlens.reduce(vit, "none").trace(images, features=True)
    assert np.abs(logits.numpy() - data["logits"]).max() <= TOLERANCE
    for block in (3, 6, 9, 11):
        assert np.abs(trace.features[block].numpy() - data[f"cls_{block}"]).max() <= TOLERANCE


def test_mass_is_the_published_policy_softmax(golden: Path) -> None:
    """DynamicViT's training policy as an additive log-mass, for the rows of tokens that stay."""
    from tokenlens.attention import bias

    data = np.load(golden / "metrics" / "synthetic.npz")
    logits, policy = torch.from_numpy(data["policy_logits"]), torch.from_numpy(data["policy_mask"])[..., 0]
    ours = (logits + bias(policy.clone().requires_grad_(), 0, logits.dtype)).softmax(-1)  # type: ignore[operator]
    rows = policy.bool()[:, None, :].expand(-1, logits.shape[1], -1)
    assert (ours - torch.from_numpy(data["policy_softmax"])).abs()[rows].max() < 1e-5


@torch.no_grad()
def test_published_checkpoints_agree(checkpoint_folder: Path, images: torch.Tensor) -> None:
    data = np.load(checkpoint_folder / "golden.npz")
    model = tokenlens.load(str(checkpoint_folder / "best_checkpoint.pth"), heads=int(data["num_heads"]))
    logits, trace = model.trace(images)
    assert np.abs(logits.numpy() - data["logits"]).max() <= TOLERANCE
    other = data["logits_model" if data["ema_best"] else "logits_ema"]
    assert np.abs(logits.numpy() - other).max() > TOLERANCE, "the file's other weights must be told apart"
    home = np.broadcast_to(np.arange(trace.kept.shape[-1]), (len(images), trace.kept.shape[-1]))
    for stage, block in enumerate(trace.blocks):
        if f"raw_assign_{block}" not in data:
            continue
        raw = data[f"raw_assign_{block}"]
        if checkpoint_folder.name.startswith("atc"):  # there the class token comes first, as cluster 0
            raw = raw[:, 1:] - 1
        home = np.take_along_axis(raw, home, 1)
        for image in range(len(images)):
            assert partition(trace.group[image, stage].numpy()) == partition(home[image])
