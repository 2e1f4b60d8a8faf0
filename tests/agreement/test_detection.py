"""ATC's detectors against the published code: ViT-Adapter with reducers, and Mask R-CNN over it.

Every setting is read from the keys of the recording, `<linkage>[-prop|-noprop]__r<rate>__<array>`, and every size from
its tensors or from the config beside them.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tokenlens.core.trace import Trace
from tokenlens.detection.adapter import ViTAdapter, reduced
from tokenlens.detection.checkpoints import config_of, fill
from tokenlens.detection.interaction import AdapterConfig
from tokenlens.detection.mask_rcnn import Frame, MaskRCNN

JITTER, TIMES = 5e-6, 3
FEATURES, BOXES = 1e-5, 2e-3  # of maps; of boxes, in pixels
SETTING = re.compile(r"(?P<method>none|tome|single|complete|average)(?:-(?P<prop>no)?prop)?(?:__r(?P<rate>[\d.]+))?")


def part(golden: Path, name: str) -> Path:
    """A folder of the recordings of other systems; a folder that is there is not empty."""
    folder = golden / "systems" / name
    if not folder.exists():
        pytest.skip(f"{golden} has no systems/{name}")
    assert list(folder.glob("*.npz")), f"{folder} holds nothing to compare; fill it, or remove it"
    return folder


def settings(data: Any, needed: str) -> dict[str, re.Match[str]]:
    """The recorded settings, of which none is passed over."""
    names = sorted({key.rpartition("__")[0] for key in data.files if "__" in key})
    found = {name: SETTING.fullmatch(name) for name in names}
    assert all(found.values()), f"settings that this test does not know: {[n for n in found if not found[n]]}"
    assert any(f"{name}__{needed}" in data.files for name in names)
    return found  # type: ignore[return-value]


def as_recorded(adapter: ViTAdapter, setting: re.Match[str], config: dict[str, Any]) -> ViTAdapter:
    if setting["method"] == "none":
        return adapter
    method = "tome" if setting["method"] == "tome" else f"atc-{setting['method']}"
    proportional = config["proportional_attn"] if "prop" not in setting[0] else setting["prop"] is None
    blocks, rate = config["reduction_loc"], float(setting["rate"])
    return reduced(adapter, method, rate, blocks, proportional=proportional)


@pytest.fixture(scope="module")
def config(golden: Path) -> dict[str, Any]:
    (path,) = part(golden, "adapter").glob("*.json")
    read: dict[str, Any] = json.loads(path.read_text())["config"]
    return read


@pytest.fixture(scope="module")
def weights(golden: Path, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    (path,) = part(golden, "adapter").glob("*.safetensors")
    return {f"backbone.{name}": value for name, value in load_file(path).items()}


@pytest.fixture(scope="module")
def sizes(config: dict[str, Any]) -> AdapterConfig:
    assert not config["layer_scale"] and not any(config["window_attn"])
    patch = config["patch_size"]
    return AdapterConfig(
        width=config["embed_dim"],
        heads=config["num_heads"],
        depth=config["depth"],
        mlp_ratio=config["mlp_ratio"],
        patch=patch,
        pretrained=(config["pretrain_size"] // patch,) * 2,
        stem=config["conv_inplane"],
        deform_heads=config["deform_num_heads"],
        points=config["n_points"],
        deform_ratio=config["deform_ratio"],
        ffn_ratio=config["cffn_ratio"],
        spans=tuple(map(tuple, config["interaction_indexes"])),
    )


@torch.no_grad()
def test_the_backbone_agrees(
    golden: Path, config: dict[str, Any], weights: dict[str, torch.Tensor], sizes: AdapterConfig
) -> None:
    adapter = ViTAdapter(sizes).eval()
    fill(torch.nn.ModuleDict({"backbone": adapter}), weights, "the recording")
    (path,) = part(golden, "adapter").glob("*.npz")
    data = np.load(path)
    images = torch.from_numpy(data["image"])
    patches = np.arange(images.shape[2] // sizes.patch * (images.shape[3] // sizes.patch))
    compared = settings(data, "f2")
    unsure = []
    for name, setting in compared.items():
        model = as_recorded(adapter, setting, config)
        maps, trace = model.trace(images)
        homes = np.tile(patches, (len(images), 1))
        for stage in range(len(trace.blocks)):
            labels = data[f"{name}__labels{stage}"].astype(int)
            homes = np.take_along_axis(labels, homes, 1)
            ours = trace.group[:, stage].numpy()
            if not all(same_partition(*pair) for pair in zip(ours, homes, strict=True)):
                assert hangs_on_rounding(model, images, trace), f"{name}, stage {stage}"
                unsure.append(name)
                break
        if name in unsure:
            continue
        for number, found in enumerate(maps, 1):
            if f"{name}__f{number}" in data.files:
                recorded = data[f"{name}__f{number}"]
                off = np.abs(found.numpy() - recorded).max()
                assert off <= FEATURES * max(1, np.abs(recorded).max()), f"{name}, map {number}: {off}"
    assert len(unsure) <= len(compared) / 10, unsure


def hangs_on_rounding(model: ViTAdapter, images: torch.Tensor, trace: Trace) -> bool:
    """Whether images that are moved by next to nothing are grouped otherwise; no flags of it are recorded here."""
    rng = torch.Generator().manual_seed(0)
    moved = (images + JITTER * torch.randn(images.shape, generator=rng) for _ in range(TIMES))
    others = [model.trace(more)[1].group.numpy().reshape(-1, trace.group.shape[-1]) for more in moved]
    ours = trace.group.numpy().reshape(-1, trace.group.shape[-1])
    return not all(same_partition(*pair) for other in others for pair in zip(ours, other, strict=True))


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return len(np.unique(np.stack([one, other]), axis=1).T) == len(np.unique(one)) == len(np.unique(other))


def matched(ours: np.ndarray, theirs: np.ndarray, name: str) -> np.ndarray:
    """For each of their rows the one of ours that is the same but for rounding, which may change the order."""
    assert ours.shape == theirs.shape, name
    apart = np.abs(theirs[:, None] - ours[None]).max(-1)
    assert apart.min(1).max() <= BOXES, name
    order = apart.argmin(1)
    assert len(np.unique(order)) == len(order), name
    return order


@torch.no_grad()
def test_the_detector_agrees(
    golden: Path, config: dict[str, Any], weights: dict[str, torch.Tensor], sizes: AdapterConfig
) -> None:
    folder = part(golden, "maskrcnn")
    (path,) = folder.glob("*.safetensors")
    state = {**weights, **load_file(path)}
    (path,) = folder.glob("*.npz")
    data = np.load(path)
    (path,) = part(golden, "adapter").glob("*.npz")
    images = torch.from_numpy(np.load(path)["image"][:1])
    detector = MaskRCNN(config_of(state, "the recording", sizes)).eval()
    fill(detector, state, "the recording")
    whole = detector.backbone
    compared = 0
    far = np.concatenate([data[key] for key in data.files if key.endswith("__proposals")]).max(0)
    size = (round(far[3]), round(far[2]))  # of the image in its padding: boxes are clipped to it
    for name, setting in settings(data, "boxes").items():
        detector.backbone = as_recorded(whole, setting, config)
        pyramid = detector.neck(detector.backbone(images))
        for level, found in enumerate(pyramid):
            recorded = data[f"{name}__fpn{level}"]
            near = 2e-3 if recorded.dtype == np.float16 else FEATURES  # of its largest; processors round otherwise
            off = np.abs(found[0].numpy() - recorded).max() / np.abs(recorded).max()
            assert off <= near, f"{name}, level {level}: {off}"
        if not data[f"{name}__stable"]:
            continue
        compared += 1
        rows = data[f"{name}__masks"].shape[1]
        original = (rows, round(rows * size[1] / size[0]))
        proposals = detector.rpn_head.propose(detector.rpn_head(pyramid), 0, size)
        matched(proposals.numpy(), data[f"{name}__proposals"], name)
        (seen,) = detector.detect(pyramid, [proposals[:, :4]], [Frame(size, original)])
        boxes = torch.cat([seen.boxes, seen.scores[:, None], seen.classes[:, None]], 1)
        recorded = np.column_stack([data[f"{name}__boxes"], data[f"{name}__labels"]])
        order = matched(boxes.numpy(), recorded, name)
        masks = np.unpackbits(data[f"{name}__masks"], axis=-1)[..., : original[1]].astype(bool)
        assert (masks != seen.masks[order].numpy()).mean() <= 1e-5, name
    assert compared, "no setting is stable"
