"""Learning to find objects, over the same loop: it goes on to the same bits, and its weights are a detector's."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tokenlens.detection.checkpoints import load_detector, tuned_for
from tokenlens.detection.interaction import AdapterConfig
from tokenlens.detection.mask_rcnn import DetectorConfig, MaskRCNN, Objects
from tokenlens.errors import BadInput
from tokenlens.training import finetune as loop
from tokenlens.training.detection import ObjectDetection, cropped, padded, resized
from tokenlens.training.finetune import finetune
from tokenlens.training.load_recipe import load_recipe
from tokenlens.training.recipe import Recipe

pytest.importorskip("pycocotools", reason="the extra detection is not installed")
TINY = DetectorConfig(
    AdapterConfig(12, 2, 2, 1.0, pretrained=(4, 4), stem=4, deform_heads=2, spans=((0, 0), (1, 1))),
    channels=8, hidden=8, classes=10, proposals=12, sampled=8, long=64, short=64,
)  # fmt: skip
CHANGES = {
    "data.limit": 4, "data.val_limit": 1, "train.batch_size": 2, "train.accumulate": 1, "reduction.blocks": [1],
    "reduction.method": "tome", "optimizer.lr": 1e-2, "model.heads": 2, "detection.sides": [64, 96],
    "detection.long": 128, "detection.largest": 64, "detection.warmup_steps": 1, "train.save_steps": 1,
    "schedule.epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector as `finetune` writes it: its header says its sizes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(MaskRCNN(TINY).state_dict(), path, {"tokenlens": json.dumps({"format": 1, "detector": asdict(TINY)})})
    return path


@pytest.fixture
def tiny(weights: Path) -> Callable[..., Recipe]:
    def made(**changes: Any) -> Recipe:
        said = {key.replace("__", "."): value for key, value in changes.items()}
        return load_recipe("scenes-detection", {**CHANGES, "model.weights": str(weights), **said})

    return made


def test_killed_and_gone_on_is_the_same_to_the_last_bit(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path, same_weights: Any
) -> None:
    recipe, step = tiny(), loop.Training._step
    whole = finetune(recipe, tmp_path / "whole", device="cpu", progress=False)

    def killed(self: Any, number: int) -> None:
        if number == 1:  # within the epoch
            raise KeyboardInterrupt
        step(self, number)

    monkeypatch.setattr(loop.Training, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, tmp_path / "killed", device="cpu", progress=False)
    monkeypatch.undo()
    finetune(recipe, tmp_path / "killed", device="cpu", progress=False)
    for name in ("last", "best", "best-model"):
        same_weights(tmp_path / "whole" / f"{name}.safetensors", tmp_path / "killed" / f"{name}.safetensors")
    before, after = load_file(weights), load_file(tmp_path / "whole" / "last.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("mask_head" in name for name in changed) and any("backbone.blocks" in name for name in changed)
    assert not any("running_mean" in name for name in changed)
    assert whole.measure == "box_AP" and load_detector(str(whole.checkpoint)).config == TINY
    asked = tuned_for(str(whole.checkpoint))  # so `detect` reduces as was learned
    assert asked is not None and asked["method"] == "tome" and asked["keep_rate"] == recipe.reduction.keep_rate


@pytest.mark.long
def test_two_batches_a_step_are_what_two_processes_see(tiny: Any, tmp_path: Path, two_processes: Any) -> None:
    plain = {**CHANGES, "optimizer.name": "sgd", "optimizer.lr": 0.1, "model.weights": tiny().model.weights}
    plain |= {"train.batch_size": 1, "data.epoch": 4, "reduction.keep_rate": 0.5}
    two_processes(tmp_path / "two", plain, recipe="scenes-detection")
    finetune(load_recipe("scenes-detection", {**plain, "train.accumulate": 2}), tmp_path / "one", "cpu", progress=False)
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_boxes_and_masks_go_where_pixels_go() -> None:
    mask = torch.zeros(2, 40, 60, dtype=torch.bool)
    mask[0, 10:20, 30:50] = mask[1, :4, :4] = True
    objects = Objects(torch.tensor([[30.0, 10, 50, 20], [0, 0, 4, 4]]), torch.tensor([3, 4]), mask)
    pixels, larger = resized(mask[:1].float(), objects, 80, 1000)
    assert pixels.shape == (1, 80, 120) and larger.boxes[0].tolist() == [60, 20, 100, 40]
    assert torch.equal(pixels[0] > 0.5, larger.masks[0])
    assert resized(pixels, larger, 80, 60)[0].shape == (1, 40, 60)
    part, there = cropped(pixels, larger, [60, 100])
    for box, shown in zip(there.boxes.int().tolist(), there.masks, strict=True):
        rows, columns = (np.flatnonzero(shown.any(axis).numpy()) for axis in (1, 0))
        assert [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] == box
    images, wide = padded([(part, there), (pixels[:, :20, :20], there)])
    assert images.shape == (2, 1, 64, 128) and wide[0].masks.shape[1:] == (64, 128)


def test_the_rate_grows_and_falls_by_steps(tiny: Any, tmp_path: Path) -> None:
    training = loop.Training(tiny(detection__warmup_steps=2, train__batch_size=1), tmp_path, "cpu", (), False)
    assert training.order.steps_an_epoch == 4
    rates = [training.pace.set(step) for step in range(8)]
    assert rates[0] == pytest.approx(1e-8) and rates[2:4] == pytest.approx([6.25e-4] * 2)
    assert rates[4:] == pytest.approx([6.25e-5] * 4)


def test_what_has_no_effect_or_cannot_be_is_refused(tiny: Any, weights: Path, tmp_path: Path) -> None:
    for changes, words in (
        ({"augment__mixup": 0.8}, "augment.mixup has no effect on a detector"),
        ({"data__stratify": True}, "without strata"),
        ({"data__name": "embedded:birds"}, "does not know its objects apart"),
        ({"reduction__method": "sinkhorn"}, "has parameters of its own"),
    ):
        with pytest.raises(BadInput, match=words):
            ObjectDetection(tiny(**changes), None)
    with pytest.raises(BadInput, match=r"detection.crop is \[9, 3\]"):
        tiny(detection__crop=[9, 3])
    with pytest.raises(BadInput, match="detection"):
        load_recipe("shapes", {"detection.long": 9})
    state = load_file(weights)
    for said, words in (({**asdict(TINY), "channels": 1e9}, "no number up to"), ({**asdict(TINY), "hidden": 9}, "is")):
        path = tmp_path / "wrong.safetensors"
        save_file(state, path, {"tokenlens": json.dumps({"format": 1, "detector": said})})
        with pytest.raises(BadInput, match=words):
            load_detector(str(path))
