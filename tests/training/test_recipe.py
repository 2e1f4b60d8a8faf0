"""Recipes: every key is known, every value of its kind, and what one extends is what it says."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import tokenlens
from tokenlens.commands.finetune import finetune
from tokenlens.errors import UnknownName
from tokenlens.training.reading import load_recipe, names


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
        ("loss.smoothing=1.5", "loss.smoothing is 1.5; give 0 to 0.9"),
        ("model.drop_path=.nan", "model.drop_path is nan; give 0 to 0.9"),
        ("augment.scale=[]", r"augment.scale is \[\]; give the least and the most"),
        ("augment.ratio=[2, 1]", r"augment.ratio is \[2.0, 1.0\]; give the least and the most"),
        ("augment.interpolation=cubic", "augment.interpolation is 'cubic'; choose one of nearest, bilinear"),
        ("augment.patch_drop=[0.5, 1]", r"augment.patch_drop is \[0.5, 1.0\]; give shares from 0 to below 1"),
        ("augment.crop=round", "augment.crop is 'round'; choose one of random, square"),
        ("model.fresh=1", "model.fresh is 1; it takes true or false"),
        ("optimizer.lr", "says no value; write section.key=value"),
        ("optimizer.lr=[1", "is not YAML"),
    ],
)
def test_what_makes_no_sense_is_refused(word: str, says: str) -> None:
    with pytest.raises(tokenlens.BadInput, match=says):
        load_recipe("shapes", words=[word])


def test_unknown_and_circular_recipes(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no recipe called 'imagnet'; did you mean imagenet"):
        load_recipe("imagnet")
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: {file}\n")
    with pytest.raises(tokenlens.BadInput, match="extends itself"):
        load_recipe(str(file))
    file.write_text("- 1\n")
    with pytest.raises(tokenlens.BadInput, match="is no recipe; write sections of keys"):
        load_recipe(str(file))
    file.write_text("optimizer: 3\n")
    with pytest.raises(tokenlens.BadInput, match=r"optimizer in .* is 3; it takes keys: name, lr"):
        load_recipe(str(file))


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
    done = CliRunner().invoke(finetune, [str(part) for pair in words.items() for part in pair] + ["--show"])
    assert done.exit_code == 0, done.output
    said = yaml.safe_load(done.output)
    assert said["reduction"] == {"method": "sit", "keep_rate": [0.7, 0.5, 0.3], "blocks": [2, 5, 8], "options": {}}
    assert said["model"]["name"] == "deit_tiny_patch16_224" and said["model"]["heads"] == 6
    assert (said["model"]["weights"], said["loss"]["teacher"], said["loss"]["distill"]) == ("w.pth", "t.pth", "hard")
    assert (said["data"]["name"], said["data"]["workers"], said["augment"]["flip"]) == ("folder:x", 0, 0.1)
    assert (said["schedule"]["epochs"], said["optimizer"]["lr"]) == (7, 0.25)
    assert said["train"] | {"batch_size": 8, "accumulate": 3, "precision": "bfloat16", "seed": 4} == said["train"]
