"""The loop: exactly timm's without reduction, the same in two processes, and what it learns is found again."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.optim
import torch
from safetensors.torch import load_file
from timm.layers.patch_dropout import PatchDropout
from timm.loss import LabelSmoothingCrossEntropy
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3

from tokenlens.errors import BadInput
from tokenlens.extraction.jobs import Job
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts.header import finetuned
from tokenlens.hosts.loading import input_of
from tokenlens.methods import method
from tokenlens.training.draws import BATCH, Order, Parts, seed_with
from tokenlens.training.finetune import Training, finetune
from tokenlens.training.images import train_loader
from tokenlens.training.saving import Folder
from tokenlens.training.setup import labels_of, open_sets, set_drop_path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "name, rate, left_out", [("none", 0.5, []), ("none", 0.5, [0.5, 0.0]), ("topk", 1.0, []), ("tome", 1.0, [])]
)
def test_a_model_that_keeps_every_token_trains_exactly_as_timms_own(
    name: str, rate: float, left_out: list[float], small: Any, tmp_path: Path
) -> None:
    changes = {"reduction__method": name, "reduction__keep_rate": rate, "augment__patch_drop": left_out}
    recipe = small(**changes, model__drop_path=0.2, schedule__epochs=1)
    tuned = finetune(recipe, tmp_path, device="cpu", progress=False)
    vit = open_host("nano").vit.train()
    set_drop_path(vit, 0.2)
    optimizer = timm.optim.create_optimizer_v2(vit, "adamw", lr=1e-3 * 4 / 64, weight_decay=0.05)
    schedule = CosineLRScheduler(optimizer, 4, 1e-5, warmup_t=4, warmup_lr_init=1e-6, t_in_epochs=False)
    average = ModelEmaV3(vit, 0.99, use_warmup=True)
    train, _ = open_sets(recipe)
    parts = Parts(Order(24, 16, 4, 1, 1, 0), 0, 4, 0, 1)
    for step, (images, labels) in enumerate(train_loader(train, parts, recipe, input_of(vit))):
        seed_with(BATCH, 0, step, 0)
        if left_out:
            vit.patch_drop = PatchDropout(left_out[step // 2])
        loss = LabelSmoothingCrossEntropy(0.05)(vit(images), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step_update(step + 1)
        average.update(vit, step + 1)
    for file, model in (("last", vit), ("best-ema", average.module)):
        found = load_file(tuned.folder / f"{file}.safetensors")
        for key, value in model.state_dict().items():
            assert torch.equal(found[f"vit.{key}"], value), f"{key} differs"


def test_patches_are_not_left_out_where_a_method_chooses(small: Any, tmp_path: Path) -> None:
    recipe = small(reduction__method="topk", augment__patch_drop=[0.5])
    with pytest.raises(BadInput, match=r"no method chooses among them; train with --method none, or set .*drop=\[\]$"):
        finetune(recipe, tmp_path, device="cpu", progress=False)


@pytest.mark.parametrize("name", ["dynamicvit", "dpcknn", "sit", "patchmerger", "sinkhorn"])
def test_what_a_method_has_of_its_own_is_learned(name: str, small: Any, tmp_path: Path) -> None:
    assert method(name).reducer.trained
    recipe = small(reduction__method=name, schedule__epochs=1, optimizer__freeze_epochs=1)
    tuned = finetune(recipe, tmp_path, device="cpu", progress=False)
    found, host = load_file(tuned.folder / "last.safetensors"), open_host("nano").vit.state_dict()
    for key, value in host.items():  # the backbone rests in this epoch
        assert torch.equal(found[f"vit.{key}"], value), f"{key} moved"
    state = torch.load(tuned.folder / "state.pt", weights_only=True)
    own = [key for key in found if key.startswith("reducers.")]
    assert own
    moments = [entry["exp_avg_sq"] for entry in state["optimizer"]["state"].values()]
    assert len(moments) == len(found) and all(bool((moment > 0).any()) for moment in moments)
    thawed = finetune(
        small(reduction__method=name, schedule__epochs=1), tmp_path / "thawed", device="cpu", progress=False
    )
    other = load_file(thawed.folder / "last.safetensors")
    assert not torch.equal(other["vit.blocks.0.attn.qkv.weight"], found["vit.blocks.0.attn.qkv.weight"])


def test_the_better_of_model_and_average_is_kept_and_extracted(small: Any, tmp_path: Path) -> None:
    recipe = small(
        reduction__method="dpcknn", reduction__keep_rate=[0.5, 0.2, 0.1], reduction__blocks=[2, 5, 8],
        reduction__options={"neighbours": 3}, optimizer__lr=0.05, data__val_limit=20,
    )  # fmt: skip
    tuned = finetune(recipe, tmp_path / "tuned", device="cpu", progress=False)
    scores = {name: [float(row[f"{name}_top1"]) for row in rows(tuned.folder)] for name in ("model", "ema")}
    assert tuned.best == {name: (max(values), 1 + int(np.argmax(values))) for name, values in scores.items()}
    assert len(set(scores["model"] + scores["ema"])) > 1
    best = min(tuned.best, key=lambda name: (-tuned.best[name][0], tuned.best[name][1]))
    assert tuned.checkpoint.read_bytes() == (tuned.folder / f"best-{best}.safetensors").read_bytes()
    for name in ("model", "ema"):
        weights = str(tuned.folder / f"best-{name}.safetensors")
        said = finetuned(weights)
        assert said is not None
        assert (said["ema"], said["metrics"]["top1"], said["epoch"]) == (name == "ema", *tuned.best[name])
        assert said["recipe"] == recipe.values() == json.loads((tuned.folder / "recipe.json").read_text())
        job = Job(weights=weights, limit=20, batch_size=4, out=tmp_path / "runs", progress=False)
        ((run, result),) = job.results()
        assert (run.method, run.blocks, run.keep, run.model) == ("dpcknn", (2, 5, 8), (98, 39, 19), "nano")
        assert run.options == {"neighbours": 3} and run.dataset == "embedded:shapes"
        assert result.metrics["top1"] == said["metrics"]["top1"]
    job = Job(methods=["topk"], keep_rates=[0.5], weights=weights, limit=4, out=tmp_path / "runs", progress=False)
    ((run, _),) = job.results()
    assert (run.method, run.blocks, run.keep, run.options) == ("topk", (2, 5, 8), (98, 49, 24), {})


def test_several_labels_are_learned_and_judged_by_map(several: None, small: Any, tmp_path: Path) -> None:
    recipe = small(reduction__method="sit", schedule__epochs=1, data__limit=24)
    tuned = finetune(recipe, tmp_path, device="cpu", progress=False)
    said = finetuned(str(tuned.checkpoint))
    assert said is not None and said["multi_label"] and said["classes"] == ["a", "b", "c"]
    assert tuned.measure == "mAP" and 0 < tuned.best["model"][0] <= 100
    assert {"model_mAP", "ema_mAP"} <= set(rows(tmp_path)[0]) and "model_top1" not in rows(tmp_path)[0]
    assert len(load_file(tuned.checkpoint)["vit.head.weight"]) == 3


def test_a_measure_that_comes_and_goes_is_a_column(small: Any, tmp_path: Path) -> None:
    """Torchmetrics' mAP is given where it differs only, which half precision makes now and then."""
    folder = Folder(tmp_path, small(), {})
    folder.log({"epoch": 1, "mAP": 1.0, "mAP_torchmetrics": 1.2})
    folder.log({"epoch": 2, "mAP": 2.0})
    folder.log({"epoch": 3, "mAP": 3.0, "more": 0.5})
    assert [list(row.values()) for row in rows(tmp_path)] == [
        ["1", "1.0", "1.2", ""], ["2", "2.0", "", ""], ["3", "3.0", "", "0.5"],
    ]  # fmt: skip


def test_what_is_told_is_on_the_bar_in_the_log_and_in_tensorboard(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finetune(small(data__epoch=40), tmp_path, device="cpu")
    said = capsys.readouterr().err
    assert all(word in said for word in ("20/20", "loss ", "accuracy ", "images/s"))
    told = EventAccumulator(str(tmp_path / "tensorboard" / "tokenlens")).Reload()
    for name in ("loss", "train_top1", "lr", "model_top1", "ema_top1"):
        values = [(event.step, event.value) for event in told.Scalars(name)]
        assert values == [(int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)) for row in rows(tmp_path)], name
    assert [row["step"] for row in rows(tmp_path)] == ["10", "20"]


def test_another_tracker_is_told_the_same(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    told: list[tuple[int, dict[str, Any]]] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step: told.append((step, values)))
    finetune(small(), tmp_path, device="cpu", progress=False)
    assert [(str(step), str(values["loss"])) for step, values in told] == [
        (row["step"], row["loss"]) for row in rows(tmp_path)
    ]


def test_what_the_recipe_says_of_the_order_is_followed(small: Any, tmp_path: Path) -> None:
    recipes = small(augment__repeats=3), small(data__stratify=True)
    often, strata = (Training(recipe, tmp_path / "x", "cpu", (), progress=False).order for recipe in recipes)
    assert (often.repeats, often.labels, strata.repeats) == (3, None, 1)
    assert strata.labels == labels_of(open_sets(recipes[1])[0]) is not None


@pytest.mark.long
def test_two_processes_give_what_one_gives(begin: Any, small: Any, tmp_path: Path, two_processes: Any) -> None:
    """One that accumulates two batches sees the same; sums are rounded in another order. The two stop on the way."""
    changes = {"reduction.method": "dynamicvit", "train.batch_size": 2, "augment.mixup": 0.8, "model.drop_path": 0.1}
    changes |= {"optimizer.name": "sgd", "optimizer.lr": 1.0}  # Adam divides by what rounding is large against
    alone = begin(tmp_path / "one", {**changes, "train.accumulate": 2})
    two_processes(tmp_path / "two", {**changes, "train.save_steps": 3}, stop=7)  # saved within the second epoch
    two_processes(tmp_path / "two", {**changes, "train.save_steps": 3})
    alone.join(300)
    assert alone.exitcode == 0, alone.said.read_text()
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    start = open_host("nano").vit.state_dict()
    moved = 0.0
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
        if key.startswith("vit."):
            moved = max(moved, float((value - start[key.removeprefix("vit.")]).abs().max()))
    assert moved > 1e-3  # far beyond that tolerance
    for left, right in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert float(left["loss"]) == pytest.approx(float(right["loss"]), rel=1e-3)
        assert left["model_top1"] == right["model_top1"]
    said = [path.read_text() for path in tmp_path.glob("two-?.best")]
    assert len(said) == 2 and said[0] == said[1] and "model" in said[0]
