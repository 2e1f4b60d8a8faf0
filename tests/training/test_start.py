"""What training starts from, and what is refused before an image is read: each refusal one sentence with a way out."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import tokenlens
from tokenlens.data import open_data
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts.header import finetuned
from tokenlens.training import distribution
from tokenlens.training import setup as start
from tokenlens.training.finetune import Training, finetune
from tokenlens.training.images import mixing, train_transform
from tokenlens.training.load_recipe import load_recipe

OTHER = [("image size", {"img_size": 32}), ("grid of patches", {"patch_size": 16}), ("width", {"embed_dim": 96})]


def pictures(root: Path, counts: dict[str, int]) -> str:
    """Class folders below splits, of small noisy images."""
    rng = torch.Generator().manual_seed(0)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = torch.randint(0, 256, (40, 56, 3), dtype=torch.uint8, generator=rng).numpy()
            Image.fromarray(pixels).save(root / folder / f"{folder.replace('/', '-')}-{index}.png")
    return f"folder:{root}"


def begun(small: Any, spec: str, **changes: Any) -> start.Start:
    recipe = small(data__name=spec, **changes)
    return start.start(recipe, start.open_sets(recipe)[0])


def test_other_classes_get_a_new_head_and_a_checkpoint_of_them_goes_on(small: Any, tmp_path: Path) -> None:
    spec = pictures(tmp_path / "set", {"train/a": 3, "train/b": 3, "train/c": 2, "val/a": 2, "val/b": 1, "val/c": 1})
    changes = {"data__name": spec, "data__epoch": 8, "schedule__epochs": 1}
    whole = finetune(
        small(reduction__method="none", schedule__warmup_epochs=0, **changes),
        tmp_path / "none", device="cpu", progress=False,
    )  # fmt: skip
    said = finetuned(str(whole.checkpoint))
    assert said is not None and said["classes"] == ["a", "b", "c"]
    assert tokenlens.load(str(whole.checkpoint)).vit.num_classes == 3
    with pytest.raises(tokenlens.BadInput, match=r"head of nano knows 10 classes, not the 3 .* --method none first"):
        begun(small, spec, reduction__method="dynamicvit")
    here = begun(small, spec, reduction__method="dynamicvit", model__weights=str(whole.checkpoint))
    assert not here.new_head and here.teacher is not None and here.teacher.num_classes == 3
    assert not any(parameter.requires_grad for parameter in here.teacher.parameters())
    named = begun(small, spec, reduction__method="dynamicvit", loss__teacher=str(whole.checkpoint))
    assert named.new_head and named.teacher is not None
    silent = {"loss__class_distillation": 0.0, "loss__token_distillation": 0.0}
    assert begun(small, spec, reduction__method="dynamicvit", **silent).teacher is None
    with pytest.raises(tokenlens.BadInput, match=r"teacher .* tells 3 classes apart and embedded:shapes has 10"):
        begun(small, "embedded:shapes", loss__distill="hard", loss__teacher=str(whole.checkpoint))


def test_distillation_that_cannot_be_is_refused(small: Any) -> None:
    with pytest.raises(tokenlens.BadInput, match=r"teaches one class an image, .* leave it out with --distill none"):
        begun(small, "embedded:scenes", loss__distill="soft")
    with pytest.raises(tokenlens.BadInput, match=r"knows 10 classes, not the 20 .* leave it out with --distill none$"):
        begun(small, "embedded:birds", loss__distill="soft")
    small_vit: dict[str, Any] = {
        "img_size": 64,
        "patch_size": 8,
        "embed_dim": 48,
        "depth": 4,
        "num_heads": 3,
        "num_classes": 10,
    }
    teachers = {what: timm.create_model("vit_tiny_patch16_224", **{**small_vit, **change}) for what, change in OTHER}
    model = tokenlens.reduce(timm.create_model("vit_tiny_patch16_224", **small_vit), "dynamicvit", 0.5, blocks=(1,))
    for what, teacher in teachers.items():
        with pytest.raises(tokenlens.BadInput, match=f"the {what} of the teacher t.pth is .* give a teacher of the"):
            start.check_teacher(teacher, model, "t.pth")
    plain = tokenlens.reduce(model.vit, "topk", 0.5, blocks=(1,))
    start.check_teacher(teachers["width"], plain, "t.pth")  # only its classes are learned


def test_sets_of_several_labels_have_no_strata() -> None:
    assert start.labels_of(open_data("embedded:scenes", "train", 8)) is None
    labels = start.labels_of(open_data("embedded:shapes", "train", 20))
    assert labels is not None and np.frombuffer(labels, np.int64).tolist() == [*range(10), *range(10)]


def test_learned_parameters_are_taken_over_or_begun_anew(small: Any, tmp_path: Path) -> None:
    fresh = [begun(small, "embedded:shapes", reduction__method="sit", train__seed=seed) for seed in (0, 0, 1)]
    first = [begin.model.state_dict()["reducers.3.weight.1.weight"] for begin in fresh]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    shipped = begun(small, "embedded:shapes", reduction__method="sit", model__fresh=False)
    assert not torch.equal(shipped.model.state_dict()["reducers.3.weight.1.weight"], first[0])
    recipe = small(reduction__method="sit", schedule__epochs=1)
    tuned = finetune(recipe, tmp_path, device="cpu", progress=False)
    again = begun(
        small, "embedded:shapes", reduction__method="sit", model__fresh=False, model__weights=str(tuned.checkpoint)
    )
    loaded = tokenlens.load(str(tuned.checkpoint)).state_dict()
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, loaded[name]), name


@pytest.mark.parametrize(
    "counts, says",
    [
        ({"train": 3, "val": 3}, "says no classes, so there is nothing to learn"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "val/c": 1}, r"other classes \('b' is in one of them only\)"),
        (
            {"train/a": 2, "train/b": 1, "train": 1, "val/a": 1, "val/b": 1},
            r"1 images of .* are of no class",
        ),
    ],
)
def test_sets_that_nothing_can_be_learned_from(counts: dict[str, int], says: str, small: Any, tmp_path: Path) -> None:
    with pytest.raises(tokenlens.BadInput, match=says):
        start.open_sets(small(data__name=pictures(tmp_path, counts)))


def test_what_is_left_out_is_told(small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = pictures(tmp_path / "set", {"train/a": 4, "train/b": 4, "val/a": 1, "val/b": 1})
    (tmp_path / "set" / "train" / "a" / "broken.png").touch()
    recipe = small(data__name=where, data__skip_bad=True, data__limit=None, data__epoch=4)
    Training(recipe, tmp_path / "out", "cpu", (), progress=True)
    said = capsys.readouterr().out
    assert "left out 1 files that cannot be read: " in said and "a/broken.png (the file is empty)" in said


def test_a_set_must_be_named() -> None:
    with pytest.raises(tokenlens.BadInput, match="say what to learn from with --data, for example imagenet:PATH"):
        start.open_sets(load_recipe("imagenet"))


def test_what_cannot_be_mixed_is_refused(small: Any) -> None:
    with pytest.raises(tokenlens.BadInput, match="mixup and cutmix blend single labels"):
        mixing(small(augment__mixup=0.8), 80, multi_label=True)
    with pytest.raises(tokenlens.BadInput, match="mixup blends images in pairs; give an even --batch-size, not 3"):
        mixing(small(augment__cutmix=0.8, train__batch_size=3), 10, multi_label=False)
    assert mixing(small(), 10, multi_label=False) is None
    config = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(tokenlens.BadInput, match=r"timm knows no augmentation 'foo' .* for example rand-m9"):
        train_transform(small(augment__randaugment="foo").augment, config)


@pytest.mark.parametrize(
    "rate, rests",
    [(0.5, False), (0.1, True), (0.999, True), (1, True), ([1, 0.5, 0.25], True), ([0.5, 0.5, 0.25], True)],
)
def test_a_stage_that_rests_is_told_to_ddp(rate: Any, rests: bool, small: Any, tmp_path: Path) -> None:
    accelerator = distribution.make_accelerator(small(), tmp_path, "cpu", ())
    distribution.tell_ddp(accelerator, tokenlens.reduce(open_host("nano").vit, "sit", rate))
    assert accelerator.ddp_handler.find_unused_parameters == rests


def test_a_checkpoint_without_the_methods_parameters_says_how_to_start_them_anew(small: Any, tmp_path: Path) -> None:
    tuned = finetune(small(reduction__method="sit", schedule__epochs=1), tmp_path, device="cpu", progress=False)
    recipe = small(reduction__method="dpcknn", model__weights=str(tuned.checkpoint), model__fresh=False)
    with pytest.raises(tokenlens.BadInput, match=r"; or start its parameters anew with --set model.fresh=true$"):
        start.start(recipe, start.open_sets(recipe)[0])


@pytest.mark.parametrize("package", ["accelerate", "tensorboard"])
def test_without_the_extra_it_says_what_to_install(
    package: str, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(distribution, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(tokenlens.BadInput, match=rf"needs {package}; .* pip install tokenlens-vit\[train\]"):
        finetune(small(), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_precision_and_trackers(small: Any, tmp_path: Path) -> None:
    with pytest.raises(tokenlens.BadInput, match="float16 needs a GPU to train on; use --precision float32"):
        distribution.make_accelerator(small(train__precision="float16"), tmp_path, "cpu", ())
    with pytest.raises(tokenlens.BadInput, match="there is no tracker called 'wandbb'; did you mean wandb"):
        distribution.make_accelerator(small(), tmp_path, "cpu", ("wandbb",))
    half = distribution.make_accelerator(small(train__precision="bfloat16"), tmp_path, "cpu", ())
    assert half.mixed_precision == "bf16"
    assert distribution.make_accelerator(small(), tmp_path, "cpu", ()).mixed_precision == "no"


@pytest.mark.long
def test_half_precision_learns_the_same_to_its_rounding(small: Any, tmp_path: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        recipe = small(reduction__method="dynamicvit", schedule__epochs=1, train__precision=precision)
        tuned = finetune(recipe, tmp_path / precision, device="cpu", progress=False)
        losses.append(float((tuned.folder / "log.csv").read_text().splitlines()[1].split(",")[3]))
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.1)
