"""What is drawn depends on the seed and the place in the order alone."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tokenlens
from tokenlens.data import open_data
from tokenlens.data.files import BadImage
from tokenlens.data.folder import open_folder
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts.loading import input_of
from tokenlens.training.draws import IMAGE, Order, Parts, seed_with, shuffled
from tokenlens.training.images import train_loader
from tokenlens.training.load_recipe import load_recipe


def order(**changes: Any) -> Order:
    return Order(**{"images": 50, "epoch": 50, "batch_size": 8, "parts": 1, "repeats": 1, "seed": 0, **changes})


def test_every_image_once_in_a_pass_and_passes_differ() -> None:
    first, second = ([o[2] for step in range(t, t + 6) for o in order().part(step, 0)] for t in (0, 6))
    assert len(set(first)) == len(set(second)) == 48 and first != second
    assert first != [o[2] for step in range(6) for o in order(seed=1).part(step, 0)]


def test_an_epoch_can_be_a_part_of_the_set() -> None:
    short = order(epoch=16)
    assert (short.steps_an_epoch, order().steps_an_epoch) == (2, 6)
    assert [short.part(step, 0) for step in range(12)] == [order().part(step, 0) for step in range(12)]


@pytest.mark.parametrize("parts", [2, 4])
def test_how_a_step_is_split_does_not_change_it(parts: int) -> None:
    split = order(batch_size=8 // parts, parts=parts)
    for step in range(12):
        assert sorted(order().part(step, 0)) == sorted(d for p in range(parts) for d in split.part(step, p))


def test_processes_share_the_parts_of_accumulated_batches() -> None:
    split = order(batch_size=2, parts=4)
    alone = list(Parts(split, 3, 9, rank=0, processes=1))
    two = [list(Parts(split, 3, 9, rank, processes=2)) for rank in (0, 1)]
    assert alone == [part for pair in zip(*two, strict=True) for part in pair]
    assert len(two[0]) == len(Parts(split, 3, 9, 0, 2)) == 12


def test_repeated_augmentation_shows_an_image_to_several_parts() -> None:
    repeated = order(repeats=3, batch_size=2, parts=3)
    images = [[draw[2] for draw in repeated.part(0, part)] for part in range(3)]
    assert images[0] == images[1] == images[2]
    assert len(shuffled(50, 3, 0, 0)) == 50 and len(set(shuffled(50, 3, 0, 0))) == 17


def test_a_stratified_batch_holds_every_class_by_its_share() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 20])
    plain, even = order(batch_size=10), order(batch_size=10, labels=labels.tobytes())
    parts = [[image for _, _, image in even.part(step, 0)] for step in range(10)]
    assert all(np.bincount(labels[part]).tolist() == [2, 4, 4] for part in parts)
    once = [image for part in parts[:5] for image in part]
    assert sorted(once) == list(range(50)) and parts[:5] != parts[5:]
    # within a class the order is that without strata
    usual = [image for step in range(5) for _, _, image in plain.part(step, 0)]
    for label in range(3):
        assert [i for i in usual if labels[i] == label] == [i for i in once if labels[i] == label]
    with pytest.raises(tokenlens.BadInput, match="cannot be stratified and hold several draws of an image"):
        order(repeats=3, labels=labels.tobytes()).check()


def test_a_set_smaller_than_a_step_is_refused() -> None:
    with pytest.raises(tokenlens.BadInput, match=r"5 images make no step of 8 .*; give a smaller --batch-size"):
        order(images=5).check()
    with pytest.raises(tokenlens.BadInput, match="7 images make no step of 8"):
        order(epoch=7).check()


def test_all_generators_are_seeded() -> None:
    drawn = []
    for _ in range(2):
        seed_with(IMAGE, 3, 1, 4)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
    seed_with(IMAGE, 3, 1, 5)
    assert drawn[0] == drawn[1] != (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002


@pytest.mark.parametrize("recipe", ["imagenet", "coco"])
def test_an_image_is_augmented_the_same_wherever_training_goes_on(recipe: str) -> None:
    """All of the protocol's draws, from the start and from the middle; other places draw otherwise."""
    chosen = load_recipe(recipe, {"data.workers": 0, "augment.repeats": 3})
    data, config = open_data("embedded:shapes", "train", 6), input_of(open_host("nano").vit)
    plan = order(images=6, epoch=6, batch_size=3, repeats=3)
    whole = list(train_loader(data, Parts(plan, 0, 4, 0, 1), chosen, config))
    random.random()
    rest = list(train_loader(data, Parts(plan, 2, 4, 0, 1), chosen, config))
    for (images, labels), (again, same) in zip(whole[2:], rest, strict=True):
        assert torch.equal(images, again) and torch.equal(labels, same)
    first = whole[0][0]
    assert [d[2] for d in plan.part(0, 0)] == [plan.part(0, 0)[0][2]] * 3  # one image, drawn three times
    assert not torch.equal(first[0], first[1]) and first.shape == (3, 3, 112, 112)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_names_a_bad_file_from_whichever_process(tmp_path: Path, workers: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    chosen = load_recipe("imagenet", {"data.workers": workers})
    data = open_folder(str(tmp_path), check=False)
    parts = Parts(order(images=1, epoch=1, batch_size=1), 0, 1, 0, 1)
    with pytest.raises(BadImage, match=r"x\.png cannot be read as an image \(the file is empty\): mend") as told:
        next(iter(train_loader(data, parts, chosen, input_of(open_host("nano").vit))))
    assert "Traceback" not in str(told.value)
