"""Newer methods against their authors' code: the repositories that each method's card names.

A recording holds settings of methods, `<method>__<setting>__<array>`, and a backbone of its own; nothing here knows how
many settings there are. What a setting's name does not say, as the options of a whole preset, stands in PRESETS.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import tokenlens
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.core.reducer import Stage
from tokenlens.core.trace import Trace
from tokenlens.core.view import View
from tokenlens.methods import method

Arrays = dict[str, np.ndarray]


def number(setting: str) -> float:
    """The one number in a setting's name."""
    (found,) = re.findall(r"\d+(?:\.\d+)?", setting)
    return float(found)


def by_ratio(setting: str, data: Arrays, patches: int, with_class: bool) -> dict[str, Any]:
    """At each block a share goes, rounded down, of the tokens there."""
    ratio, left, counts = number(setting), patches, []
    for _ in data["tokens"]:
        there = left + with_class
        left -= min(floor(there - there * ratio), left // 2)
        counts.append(left)
    return {"keep": counts}


def by_removal(removed: int, blocks: range, patches: int) -> dict[str, Any]:
    """At each block so many go, at most half."""
    left, counts = patches, []
    for _ in blocks:
        left -= min(removed, left // 2)
        counts.append(left)
    return {"blocks": blocks, "keep": counts}


def diffrate(setting: str, data: Arrays, patches: int) -> dict[str, Any]:
    return {"keep": (data["merge_kept"] - 1).tolist()}


def mctf(setting: str, data: Arrays, patches: int) -> dict[str, Any]:
    """The published list of options: tokens to remove, ..., attention ahead, temperatures, both ways, pooling."""
    removed, _, _, _, ahead, similarity, information, size, both, pooling, *_ = data["type"].tolist()
    options = {"similarity": float(similarity), "information": float(information), "size": float(size)}
    options |= {"both_ways": bool(both), "ahead": ("none", "reuse", "again")[ahead]}
    options |= {"pooling": {0: "size", 1: "attention", 3: "mean"}[pooling]}
    return by_removal(removed, range(1, len(data["tokens"])), patches) | options | {"compat": True}


def by_stage(setting: str, blocks: tuple[int, ...], patches: int) -> dict[str, Any]:
    """At each of some blocks a share stays, of all patches; one number is for all blocks."""
    shares = [float(share) for share in setting.split("-")]
    shares = shares if len(shares) > 1 else shares * len(blocks)
    return {"blocks": blocks, "keep": [int(patches * share) for share in shares]}


ASKED: dict[str, Callable[[str, Arrays, int], dict[str, Any]]] = {
    "pitome": lambda setting, data, patches: by_ratio(setting, data, patches, with_class=False),
    "tofu": lambda setting, data, patches: by_ratio(setting, data, patches, with_class=True),
    "diffrate": diffrate,
    "mctf": mctf,
    "dtem": lambda setting, data, patches: by_removal(int(number(setting)), range(len(data["tokens"])), patches),
    "gtp": lambda setting, data, patches: {"keep": (data["tokens"] - 1).tolist(), **PRESETS["gtp"][setting]},
    "tps": lambda setting, data, patches: {"blocks": (3, 6, 9), "keep_rate": float(setting)},
    "evovit": lambda setting, data, patches: by_stage(setting, (4, 8), patches),
    "ltmp": lambda setting, data, patches: {"keep": [patches - 1] * len(data["tokens"])},
}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "gtp": {
        "mixed": {"rank": "mixed-max", "graph": "mixed", "sparsity": 0.6},
        "spatial-noscale": {"rank": "class-mean", "graph": "spatial", "alpha": 0.2, "scales": False},
        "prune": {"rank": "diagonal-mean", "alpha": 0.0, "scales": False},
    }
}
OURS = {"tps": "dtps"}  # where the recording calls it otherwise
PARAMETERS = {  # the recording's name of a reducer's parameters, by its block and its stage
    "dtem": "dtem.blocks.{block}.attn.qkv.",
    "tps": "tps.score_predictor.{stage}.",
    "ltmp": "ltmp.blocks.{block}.",
}


def build(vit: Any, name: str, setting: str, data: Arrays, extras: dict[str, Tensor]) -> ReducedViT:
    """The model that a setting describes."""
    patches, depth = vit.patch_embed.num_patches, len(vit.blocks)
    asked = {"blocks": range(depth), **ASKED[name](setting, data, patches)}
    if name == "dtem":
        asked["width"] = len(extras["dtem.blocks.0.attn.qkv.metric_layer.bias"])
    if name == "evovit":  # which pools the patches, and normalises the mean
        vit = copy.deepcopy(vit)
        vit.global_pool, vit.fc_norm, vit.norm = "avg", vit.norm, nn.Identity()
    model = tokenlens.reduce(vit, OURS.get(name, name), **asked)
    for stage, block in enumerate(model.blocks):
        if name in PARAMETERS:
            start = PARAMETERS[name].format(block=block, stage=stage)
            own = {key.removeprefix(start): value for key, value in extras.items() if key.startswith(start)}
            own = {key.replace("_masker.", "_"): value for key, value in own.items()}
            if name == "ltmp":  # counted in shares of the mean importance
                own["prune_share"] = own.pop("prune_threshold") * patches
            model.reducer(block).load_state_dict(own)
    if name == "diffrate":  # of the tokens that go, so many merge
        before = np.append(patches, data["merge_kept"][:-1] - 1)
        for block, pruned, left, came in zip(
            model.blocks, data["prune_kept"] - 1, data["merge_kept"] - 1, before, strict=True
        ):
            model.reducer(block).merged = float(pruned - left) / max(came - left, 1)
    return model


@pytest.fixture(scope="module")
def systems_images(golden: Path) -> Tensor:
    """(B, 3, H, W) float32."""
    return torch.from_numpy(np.load(of_systems(golden, "images.npz"))["images"])


def of_systems(golden: Path, name: str) -> Path:
    """A file that the recordings of systems share, where they do not take the walk's."""
    own = golden / "systems" / name
    return own if own.exists() else golden / name


@pytest.fixture(scope="module")
def systems_vit(
    golden: Path, systems_images: Tensor, read_backbone: Callable[..., nn.Module], newer_walks: Any
) -> nn.Module:
    """The un-reduced model; the number of its heads is read off the first setting that needs no other weights."""
    file, name, setting = next(one for one in newer_walks if one[1] in ("pitome", "tofu", "diffrate"))
    data = arrays(file, name, setting)
    return read_backbone(
        of_systems(golden, "backbone.safetensors"), systems_images, torch.from_numpy(data["logits"]),
        lambda vit: build(vit, name, setting, data, {})(systems_images),
    )  # fmt: skip


@dataclass
class Walk:
    """A setting and our walk over the same images."""

    data: Arrays
    logits: Tensor
    trace: Trace
    model: ReducedViT


@pytest.fixture(scope="module")
def walk(newer_setting: tuple[Path, str, str], systems_vit: nn.Module, systems_images: Tensor) -> Walk:
    file, name, setting = newer_setting
    data, extras = arrays(file, name, setting), file.with_name(f"{file.stem}_extras.safetensors")
    model = build(systems_vit, name, setting, data, load_file(extras) if extras.exists() else {})
    alone = re.fullmatch(r"image(\d+)", setting)  # of a method whose lengths differ one image was recorded at a time
    images = systems_images[int(alone[1])][None] if alone else systems_images
    with torch.no_grad():
        logits, trace = model.trace(images)
    return Walk(data, logits, trace, model)


def arrays(file: Path, name: str, setting: str) -> Arrays:
    start = f"{name}__{setting}__" if setting else f"{name}__"
    with np.load(file) as stored:
        return {key.removeprefix(start): stored[key] for key in stored.files if key.startswith(start)}


def test_logits(walk: Walk, tolerance: float, differences: Any) -> None:
    off = np.abs(walk.logits.numpy() - walk.data["logits"]).max()
    differences.note(walk.model.method, off)
    assert off <= tolerance


def test_tokens_left(walk: Walk) -> None:
    """After each block, with the class token."""
    trace, left = walk.trace, torch.full((len(walk.logits),), walk.model.patches)
    stages = dict(zip(trace.blocks, trace.tokens_left.T, strict=True))
    for block, count in enumerate(walk.data["tokens"]):
        left = stages.get(block, left)
        assert (left == int(count) - 1).all(), block


def test_where_patches_end(walk: Walk) -> None:
    """The token that each patch is in at the end, how much it counts, and in which order tokens stayed."""
    data, trace = walk.data, walk.trace
    group = trace.group.numpy()
    if "token_of_input" in data:
        assert (np.where(group[:, -1] < 0, -1, group[:, -1] + 1) == data["token_of_input"][:, 1:]).all()
    if "size" in data:
        last = trace.mass.get(trace.blocks[-1], torch.ones(len(group), trace.tokens_left[0, -1]))
        np.testing.assert_allclose(last.numpy(), data["size"][:, 1:, 0], rtol=1e-4)
    patch = np.broadcast_to(np.arange(walk.model.patches), group[:, 0].shape)
    for stage, block in enumerate(trace.blocks):
        if f"order{stage}" in data:  # of all: those that wait come behind
            patch = np.take_along_axis(patch, data[f"order{stage}"].astype(int), 1)
            went = int(trace.tokens_left[0, stage])
            assert (np.take_along_axis(group[:, stage], patch[:, :went], 1) == np.arange(went)).all()
        if f"kept_relative{block}" in data:
            chosen = data[f"kept_relative{block}"].astype(int) - 1  # which counts the class token
            ours, theirs = standing(trace, stage), np.take_along_axis(standing(trace, stage - 1), chosen, 1)
            assert (np.sort(ours) == np.sort(theirs)).all()
            assert np.abs(ours.argsort() - theirs.argsort()).max() <= 1  # near ties may change places


def standing(trace: Trace, stage: int) -> np.ndarray:
    """(B, K): the patches that stand for themselves after a stage of one that drops, in their order; -1: before all."""
    group = trace.group.numpy()
    if stage < 0:
        return np.broadcast_to(np.arange(group.shape[2]), group[:, 0].shape)
    rows = [np.flatnonzero(kept) for kept in trace.kept[:, stage].numpy()]
    return np.stack([row[group[i, stage, row].argsort()] for i, row in enumerate(rows)])


class Recorded:
    """An attention that was written down, for a method that is given no model."""

    def __init__(self, weights: Tensor, keys: Tensor) -> None:
        self.weights, self.mean_keys = weights, keys
        self.received = weights.sum((1, 2))[:, 1:]

    def rows(self, queries: slice) -> Tensor:
        return self.weights[:, :, queries]


def viewed(tokens: Tensor, keep: int, attended: Any = None) -> View:
    batch, count, _ = tokens.shape
    return View(tokens, torch.arange(count).expand(batch, -1), None, (1, count), keep, count, 1, attended)


def selections(golden: Path, name: str, array: str) -> Arrays:
    """What a method chose that was given tokens and no model."""
    for file in sorted((golden / "systems" / "methods").glob("*.npz")):
        data = arrays(file, name, "")
        if array in data:
            return data
    pytest.skip(f"{golden} has no choices of {name}")


def test_visionzip(golden: Path, differences: Any) -> None:
    data = selections(golden, "visionzip", "attention")
    attention, hidden, metric = (torch.from_numpy(data[name]) for name in ("attention", "hidden", "metric"))
    for setting in sorted({key.split("__")[0] for key in data if "__" in key}):
        dominant, contextual = map(int, re.fullmatch(r"d(\d+)c(\d+)", setting).groups())  # type: ignore[union-attr]
        keep = dominant + contextual
        stage = Stage(0, 0, keep, hidden.shape[1] - 1, hidden.shape[2])
        reducer = method("visionzip").reducer(stage, contextual=contextual / keep)  # type: ignore[call-arg]
        plan = reducer(viewed(hidden[:, 1:], keep, Recorded(attention, metric[:, 1:])))
        there = np.sort(data[f"{setting}__dominant"], 1)[:, 1:] - 1
        assert (plan.kept[:, :dominant].numpy() == there).all()
        new = plan.carry(hidden, 1)
        differences.note("visionzip", np.abs(new.numpy() - data[f"{setting}__tokens"]).max())
        np.testing.assert_allclose(new.numpy(), data[f"{setting}__tokens"], atol=1e-5, rtol=1e-5)


def test_divprune(golden: Path, differences: Any) -> None:
    data = selections(golden, "divprune", "tokens")
    tokens = torch.from_numpy(data["tokens"])[None]
    settings = [key.split("__")[0] for key in data if key.endswith("__selected")]
    assert settings
    for setting in settings:
        keep = round(number(setting) * tokens.shape[1])
        plan = method("divprune").reducer(Stage(0, 0, keep, tokens.shape[1], tokens.shape[2]))(viewed(tokens, keep))
        assert plan.kept[0].tolist() == data[f"{setting}__selected"].tolist()
        differences.note("divprune", 0.0)  # the same tokens, in their order
