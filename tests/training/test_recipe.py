"""Recipes: every key is known, every value of its kind, and what one extends is what it says."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from click.testing import CliRunner

import tokenlens
from tokenlens.commands.extract import extract
from tokenlens.commands.finetune import finetune
from tokenlens.errors import UnknownName
from tokenlens.training.load_recipe import load_recipe, names
from tokenlens.training.options import Options


@pytest.mark.parametrize("name", names())
def test_a_recipe_comes_back_from_what_was_resolved(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(recipe.values()))
    assert load_recipe(str(file)) == recipe
    assert not recipe.differences(recipe.values())


def test_the_published_protocol() -> None:
    """study.md, section 3."""
    imagenet, birds, coco = load_recipe("imagenet"), load_recipe("nabirds"), load_recipe("coco")
    assert (imagenet.optimizer.lr, imagenet.optimizer.lr_images, imagenet.optimizer.weight_decay) == (1e-3, 1024, 0.05)
    assert (imagenet.schedule.epochs, imagenet.schedule.warmup_epochs) == (30, 20)
    assert imagenet.train.batch_size * imagenet.train.accumulate == 1024
    assert (imagenet.model.drop_path, imagenet.train.ema_decay, imagenet.loss.smoothing) == (0.1, 0.99996, 0.1)
    augment = imagenet.augment
    assert (augment.mixup, augment.cutmix, augment.erasing, augment.repeats) == (0.8, 1.0, 0.25, 3)
    assert augment.randaugment is not None and "m9" in augment.randaugment
    assert birds.augment.randaugment is None and birds.augment.mixup == 0.8
    assert (coco.augment.crop, coco.augment.cutout, coco.augment.mixes) == ("square", 0.5, False)
    assert (coco.loss.gamma_negative, coco.loss.gamma_positive, coco.loss.clip) == (4, 0, 0.05)
    assert (imagenet.loss.ratio, imagenet.loss.class_distillation, imagenet.loss.token_distillation) == (2, 0.5, 0.5)
    assert load_recipe("nuswide") == coco


@pytest.mark.parametrize("text, value", [("1e-4", 1e-4), ("1", 1.0), ("0.5", 0.5)])
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    assert load_recipe("shapes", {"optimizer.lr": 9.0}, [f"optimizer.lr={text}"]).optimizer.lr == value


@pytest.mark.parametrize(
    "word, says",
    [
        ("optimizer.rl=1", "no key of a recipe's section optimizer .* called 'rl'; did you mean lr"),
        ("optimiser.lr=1", "no section of a recipe .* called 'optimiser'; did you mean optimizer"),
        ("lr=1", "no section of a recipe"),
        ("optimizer.lr=fast", "optimizer.lr is 'fast'; it takes a number"),
        ("optimizer.betas=[0.9, 1]", r"optimizer.betas is \[0.9, 1.0\]; give two numbers from 0 to below 1, or null"),
        ("optimizer.lr=[1]", r"optimizer.lr is \[1\]; it takes a number"),
        ("train.batch_size=1.5", "train.batch_size is 1.5; it takes a whole number"),
        ("train.batch_size=0", "train.batch_size is 0; give at least 1"),
        ("train.save_steps=0", "train.save_steps is 0; give at least 1"),
        ("optimizer.lr_images=0", "optimizer.lr_images is 0; give at least 1"),
        ("schedule.min_lr=-1", "schedule.min_lr is -1.0; give at least 0"),
        ("data.workers=-1", "data.workers is -1; give at least 0"),
        ("loss.smoothing=1.5", "loss.smoothing is 1.5; give at least 0 and at most 0.9"),
        ("model.drop_path=.nan", "model.drop_path is nan; give at least 0 and at most 0.9"),
        ("loss.temperature=0", "loss.temperature is 0.0; give above 0$"),
        ("optimizer.layer_decay=0", "optimizer.layer_decay is 0.0; give above 0 and at most 1"),
        ("optimizer.layer_decay=1.1", "optimizer.layer_decay is 1.1; give above 0 and at most 1"),
        ("optimizer.lr=.inf", "optimizer.lr is inf; give a finite number"),
        ("optimizer.lr=.nan", "optimizer.lr is nan; give at least 0"),
        ("loss.ratio=.inf", "loss.ratio is inf; give a finite number"),
        (f"optimizer.lr=1{400 * '0'}", "optimizer.lr is 10+; it takes a number"),
        ("train.seed=99999999999999999999", "train.seed is 9+; give at least 0 and at most 9223372036854775807"),
        ("augment.scale=[0.1, .inf]", r"augment.scale is \[0.1, inf\]; give the least and the most"),
        ("augment.scale=[]", r"augment.scale is \[\]; give the least and the most"),
        ("augment.ratio=[2, 1]", r"augment.ratio is \[2.0, 1.0\]; give the least and the most"),
        ("augment.interpolation=cubic", "augment.interpolation is 'cubic'; choose one of nearest, bilinear"),
        ("augment.patch_drop=[0.5, 1]", r"augment.patch_drop is \[0.5, 1.0\]; give shares from 0 to below 1"),
        ("augment.crop=round", "augment.crop is 'round'; choose one of random, square"),
        ("model.fresh=1", "model.fresh is 1; it takes true or false"),
        ("optimizer.lr", "says no value; write section.key=value"),
        ("optimizer.lr=[1", "is not YAML"),
        ("optimizer.lr=2001-99-99", "is not YAML"),
        (f"optimizer.lr={5000 * '['}", "is not YAML"),
    ],
)
def test_what_makes_no_sense_is_refused(word: str, says: str) -> None:
    with pytest.raises(tokenlens.BadInput, match=says):
        load_recipe("shapes", words=[word])


@pytest.mark.parametrize(
    "name, takes", [("adamw", True), ("lookahead_lion", True), ("sgd", False), ("momentum", False)]
)
def test_betas_are_for_optimizers_that_take_them(name: str, takes: bool) -> None:
    changes = {"optimizer.name": name, "optimizer.betas": [0.9, 0.98]}
    if takes:
        assert load_recipe("shapes", changes).optimizer.betas == [0.9, 0.98]
        return
    with pytest.raises(
        tokenlens.BadInput, match=f"the optimizer {name} takes no betas; say --set optimizer.betas=null"
    ):
        load_recipe("shapes", changes)
    assert load_recipe("shapes", {**changes, "optimizer.betas": None}, ["optimizer.betas=null"]).optimizer.betas is None


def test_unknown_recipes(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no recipe called 'imagnet'; did you mean imagenet"):
        load_recipe("imagnet")
    with pytest.raises(UnknownName, match=r"no recipe called '.*none\.yaml'"):
        load_recipe(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "content, says",
    [
        ("extends: mine.yaml", r"mine\.yaml extends itself through .*mine\.yaml; name another"),
        ("extends: ../recipes/./mine.yaml", "extends itself through"),
        ("extends: imagnet", "no recipe called 'imagnet'; did you mean imagenet"),
        ("extends: 3", "mine.yaml extends 3; name one recipe, as in extends: imagenet"),
        ("extends: [imagenet]", r"mine.yaml extends \['imagenet'\]; name one recipe"),
        ("- 1", "is no recipe; write sections of keys"),
        ("optimizer: 3", r"optimizer in .* is 3; it takes keys: name, lr"),
        ("1: {a: 2}", r"there is no section of a recipe \(.*mine.yaml\) called '1'; known: augment"),
        ("optimizer: {1: 2}", "no key of a recipe's section optimizer .* called '1'"),
        ("optimizer: {name: caf\xe9}", r"mine.yaml is not UTF-8 \(.* position 21: .*\); save it as UTF-8"),
    ],
)
def test_files_that_are_no_recipe(content: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "recipes/mine.yaml"
    file.parent.mkdir()
    file.write_text(content, "latin-1")
    with pytest.raises(tokenlens.BadInput, match=says):
        load_recipe(str(file))


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(tokenlens.BadInput, match=r"mine.yaml cannot be read \(Is a directory\); check the path"):
        load_recipe(str(tmp_path / "mine.yaml"))


def test_a_file_is_extended_from_beside_the_one_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.yaml").write_text("extends: coco\noptimizer: {lr: 0.5}\n")
    (tmp_path / "deep/middle.yaml").write_text("extends: ../base.yaml\nloss: {clip: 0.25}\n")
    (tmp_path / "mine.yaml").write_text("extends: deep/middle.yaml\ntrain: {seed: 3}\n")
    monkeypatch.chdir(tmp_path / "deep")
    mine = load_recipe("../mine.yaml")
    assert (mine.optimizer.lr, mine.loss.clip, mine.train.seed, mine.augment.crop) == (0.5, 0.25, 3, "square")


def test_a_file_changes_only_what_it_says(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: coco\noptimizer: {lr: 5.0e-4}\n")
    mine, coco = load_recipe(str(file)), load_recipe("coco")
    assert mine.differences(coco.values()) == ["optimizer.lr 0.001 there, 0.0005 here"]


def test_the_command_line_says_every_value_anew() -> None:
    words: dict[str, Any] = {
        "--data": "folder:x", "--method": "sit", "--keep-rate": "0.7/0.5/0.3", "--blocks": "2,5,8",
        "--model": "deit_tiny_patch16_224", "--weights": "w.pth", "--heads": 6, "--epochs": 7, "--batch-size": 8,
        "--accumulate": 3, "--lr": 0.25, "--distill": "hard", "--teacher": "t.pth", "--workers": 0,
        "--precision": "bfloat16", "--seed": 4, "--set": "augment.flip=0.1",
    }  # fmt: skip
    line = [str(part) for pair in words.items() for part in pair]
    done = CliRunner().invoke(finetune, [*line, "--skip-bad", "--show"])
    assert done.exit_code == 0, done.output
    said = yaml.safe_load(done.output)
    assert said["reduction"] == {"method": "sit", "keep_rate": [0.7, 0.5, 0.3], "blocks": [2, 5, 8], "options": {}}
    assert said["model"]["name"] == "deit_tiny_patch16_224" and said["model"]["heads"] == 6
    assert (said["model"]["weights"], said["loss"]["teacher"], said["loss"]["distill"]) == ("w.pth", "t.pth", "hard")
    assert (said["data"]["name"], said["data"]["workers"], said["augment"]["flip"]) == ("folder:x", 0, 0.1)
    assert said["data"]["skip_bad"] and not load_recipe("shapes").data.skip_bad
    assert (said["schedule"]["epochs"], said["optimizer"]["lr"]) == (7, 0.25)
    assert said["train"] | {"batch_size": 8, "accumulate": 3, "precision": "bfloat16", "seed": 4} == said["train"]


def test_weights_of_ours_say_their_model_however_they_are_named(tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    header = {"tokenlens": '{"format": 1, "model": "deit_tiny_patch16_224"}'}
    safetensors.torch.save_file({"x": torch.zeros(1)}, file, header)
    (tmp_path / "mine.yaml").write_text(f"extends: shapes\nmodel: {{weights: {file}}}\n")
    says = [
        Options(weights=str(file)),
        Options(changes=[f"model.weights={file}"]),
        Options(recipe=str(tmp_path / "mine.yaml")),
    ]
    assert [options.resolved().model.name for options in says] == 3 * ["deit_tiny_patch16_224"]
    assert {options.resolved().model.weights for options in says} == {str(file)}
    others = [Options(model="nano", weights=str(file)), Options(weights=str(file), changes=["model.name=nano"])]
    assert [options.resolved().model.name for options in others] == ["nano", "nano"]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(tokenlens.BadInput, match=r"best\.safetensors is damaged or no checkpoint"):
        Options(weights=str(file)).resolved()


SILENT = ["loss.class_distillation=0", "loss.token_distillation=0"]
UNHEARD = "nothing is learned from the teacher t.pth: {} is trained without one; add --distill soft or .* out$"
RESTS = "optimizer.freeze_epochs is 5, and of {} epochs none is left to train the backbone; give fewer with --set opt"


@pytest.mark.parametrize(
    "options, says",
    [
        (Options(method="topkk"), "no method called 'topkk'; did you mean topk"),
        (Options(changes=["reduction.method=topkk"]), "no method called 'topkk'"),
        (Options(method="topk", teacher="t.pth"), UNHEARD.format("topk")),
        (Options(method="sit", changes=["loss.teacher=t.pth"]), UNHEARD.format("sit")),
        (Options(method="dynamicvit", teacher="t.pth", changes=SILENT), UNHEARD.format("dynamicvit")),
        (Options(method="topk", teacher="t.pth", distill="hard"), None),
        (Options(method="dynamicvit", teacher="t.pth"), None),
        (Options("imagenet", method="sit", epochs=2), RESTS.format(2)),
        (Options("imagenet", method="dynamicvit", epochs=5), RESTS.format(5)),
        (Options("imagenet", method="sit", epochs=6), None),
        (Options("imagenet", method="topk", epochs=2), None),
        (Options("imagenet", method="sit", epochs=2, changes=["optimizer.backbone_scale=0"]), None),
    ],
)
def test_what_would_have_no_effect_is_refused(options: Options, says: str | None) -> None:
    if says is None:
        options.resolved()
        return
    with pytest.raises(tokenlens.BadInput, match=says):
        options.resolved()


def test_a_seed_that_torch_cannot_take() -> None:
    for command in (finetune, extract):
        done = CliRunner().invoke(command, ["--seed", "99999999999999999999"])
        assert done.exit_code == 2 and "is not in the range 0<=x<=9223372036854775807" in done.output
