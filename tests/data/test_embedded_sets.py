"""The embedded sets: the same pictures for everybody, labels and masks that agree with what is painted, no shortcut."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from tokenlens.data import open_data
from tokenlens.data.embedded import birds, scenes, tags
from tokenlens.data.embedded.open import SETS, SIZES, drawn
from tokenlens.data.embedded.paint import PATCH, SIDE, empty_cover
from tokenlens.data.embedded.parts import Pose, paint_parts
from tokenlens.data.embedded.scene_objects import THINGS

PICTURES = [("val", 0), ("val", 123), ("test", 5), ("train", 7)]
MEANS = {
    "birds": [156.81, 111.53, 84.51, 102.0],
    "scenes": [158.25, 163.9, 153.75, 117.77],
    "tags": [207.63, 44.72, 141.09, 173.24],
}
COVERED = {"birds": [19, 20, 28, 25, 23, 26, 20, 27], "scenes": [35, 47, 27, 13, 5, 29, 27, 30]}
SUM = """
import sys
from hashlib import sha256
from tokenlens.data.embedded.open import drawn
digest = sha256()
for split, index in [("test", 5), ("val", 0), ("train", 7), ("val", 123)]:
    image, label, mask = drawn(sys.argv[1], split, index, float(sys.argv[2]))
    digest.update(image.tobytes() + str(label).encode() + str(mask).encode())
print(digest.hexdigest())
"""
Draw = Callable[..., tuple[Any, Any, Any]]


def picture(name: str, split: str, index: int, bias: float = 0.0) -> tuple[Any, Any, Any]:
    """Drawn anew, without the cache that a set has."""
    return drawn.__wrapped__(name, split, index, bias)


@pytest.mark.parametrize(("name", "bias"), [("birds", 0.0), ("scenes", 0.4), ("tags", 0.0)])
def test_a_picture_is_the_same_in_another_process_and_in_another_order(name: str, bias: float) -> None:
    pictures = {key: picture(name, *key, bias) for key in PICTURES}
    digest = sha256()
    for key in [("test", 5), ("val", 0), ("train", 7), ("val", 123)]:
        image, label, mask = pictures[key]
        digest.update(image.tobytes() + str(label).encode() + str(mask).encode())
    words = [sys.executable, "-c", SUM, name, str(bias)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == digest.hexdigest()


@pytest.mark.parametrize("name", MEANS)
def test_pictures_do_not_change_from_one_version_to_the_next(name: str) -> None:
    """Means, not bytes: sine and tangent differ in the last bit between machines."""
    assert [picture(name, *key)[0].mean() for key in PICTURES] == pytest.approx(MEANS[name], abs=0.02)
    if name in COVERED:
        assert [int(picture(name, "val", index)[2].sum()) for index in range(8)] == COVERED[name]


@pytest.mark.parametrize("name", SETS)
def test_splits_share_no_picture(name: str) -> None:
    seen = {picture(name, split, index)[0].tobytes() for split in SIZES for index in range(20)}
    assert len(seen) == 60


@pytest.mark.parametrize("name", SETS)
def test_a_set_keeps_its_promises(name: str) -> None:
    data, more = open_data(f"embedded:{name}", "test", 7), open_data(f"embedded:{name}", "test")
    assert (data.name, data.split, len(data), len(more)) == (f"embedded:{name}", "test", 7, SIZES["test"])
    assert data.ids[6] == f"{name}/test/000006" == more.ids[6] and len(set(more.ids)) == len(more)
    assert data.image(6).mode == "RGB" and data.image(6).size == (SIDE, SIDE)
    image, label, mask = picture(name, "test", 6)
    assert (np.asarray(data.image(6)) == image).all() and np.array_equal(data.label(6), label)
    if data.multi_label:
        assert label.shape == (len(data.classes),) and label.dtype == bool
    else:
        assert label == 6 % len(data.classes)
    found = data.mask(6)
    assert (found is None) == (not SETS[name].objects) and np.array_equal(found, mask)  # type: ignore[arg-type]


def test_an_answer_is_the_callers_own() -> None:
    data = open_data("embedded:tags", limit=1)
    first = np.array(data.label(0))
    data.label(0)[:] = False  # type: ignore[index]
    assert (data.label(0) == first).all() and first.any()


@pytest.mark.parametrize(("module", "least"), [(birds, birds.LEAST), (scenes, 0.25)])
def test_the_mask_is_where_objects_are_seen(module: Any, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is taken from the pixels: a picture less the same picture without its objects."""
    name = module.__name__.rpartition(".")[2]
    whole = [picture(name, "val", index) for index in range(30)]
    monkeypatch.setattr(module, "paint_parts", lambda *_: None)
    bare = [picture(name, "val", index)[0] for index in range(30)]
    for (image, _, mask), without in zip(whole, bare, strict=True):
        changed = (abs(image.astype(int) - without) > 4).any(-1)
        share = changed.reshape(SIDE // PATCH, PATCH, SIDE // PATCH, PATCH).mean((1, 3))
        assert mask[share > least + 0.25].all(), "a patch full of an object is not on the mask"
        assert (share[mask] > 0.4 * least).all(), "a patch of the mask shows no object"


def test_two_kinds_of_birds_share_one_part_at_most() -> None:
    kinds = [birds.ways(label) for label in range(len(birds.CLASSES))]
    shared = [sum(a == b for a, b in zip(*pair, strict=True)) for pair in combinations(kinds, 2)]
    assert max(shared) == 1 and len(set(birds.CLASSES)) == 20
    for part in zip(*kinds, strict=True):
        assert min(np.bincount(part)) >= 4, "a part that tells the kind by itself"


PARTS: dict[str, list[Any]] = {
    "beak": [birds._beak(way, 0, 0) for way in range(5)],
    "tail": [birds._tail(way, 150) for way in range(4)],
    "wing": [birds._wing(way, 0, 0, 158) for way in range(5)],
    "crest": [birds._crest(way, 0, 0) for way in range(5)],
    "eye": [birds._eye(way, 0, 0) for way in range(5)],
}


@pytest.mark.parametrize("part", PARTS)
def test_every_way_of_a_part_looks_different(part: str) -> None:
    """In the smallest bird, painted alone."""
    palette = birds._palette(np.random.default_rng(0))
    looks = []
    for way in PARTS[part]:
        canvas = np.full((SIDE, SIDE, 3), 0.5, np.float32)
        paint_parts(canvas, empty_cover(), Pose(56, 56, 28, 0.3, False), way, palette)
        looks.append(canvas)
    apart = [(abs(a - b).max(-1) > 0.1).sum() for a, b in combinations(looks, 2)]
    assert min(apart) > 15, apart


def test_labels_of_scenes_are_what_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []

    def spy(canvas: Any, cover: Any, pose: Any, parts: Any, palette: Any) -> None:
        painted.append(next(thing for thing, own in THINGS.items() if own == parts))
        paint_parts(canvas, cover, pose, parts, palette)

    monkeypatch.setattr(scenes, "paint_parts", spy)
    for index in range(30):
        painted.clear()
        label = picture("scenes", "val", index)[1]
        assert {scenes.CLASSES[which] for which in np.flatnonzero(label)} == set(painted)
        assert label[index % 10], "classes take turns"


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_every_object_of_a_scene_is_in_sight(bias: float) -> None:
    for index in range(40):
        covers: list[Any] = []
        for which, pose in scenes.arrange(np.random.default_rng(index), index % 10, bias):
            cover = empty_cover()
            thing = THINGS[scenes.CLASSES[which]]
            paint_parts(np.zeros((SIDE, SIDE, 3), np.float32), cover, pose, thing, [np.zeros(3, np.float32)] * 4)
            covers.append(cover)
        for i, cover in enumerate(covers):
            seen = cover * np.prod([1 - later for later in covers[i + 1 :]], axis=0)
            assert seen.sum() > 0.3 * cover.sum()


def test_tags_are_seen_in_the_pixels() -> None:
    sides: dict[str, list[bool]] = {"warm": [], "cool": []}
    facts: dict[str, list[tuple[bool, float]]] = {tag: [] for tag in ("grey", "night", "mirror")}
    for index in range(400):
        image, label, _ = picture("tags", "train", index)
        pixels, has = image.astype(float), dict(zip(tags.CLASSES, label, strict=True))
        red, _, blue = np.median(pixels, axis=(0, 1))
        facts["grey"].append((has["grey"], -np.median(np.ptp(pixels, axis=-1))))
        facts["night"].append((has["night"], -pixels.mean()))
        for tag, redder in (("warm", red - blue), ("cool", blue - red)):
            if has[tag]:
                sides[tag].append(redder > 0)
        if not (has["fog"] or has["night"] or has["rain"] or has["snow"]):
            apart = min(np.median(abs(pixels - pixels[:, ::-1])), np.median(abs(pixels - pixels[::-1])))
            facts["mirror"].append((has["mirror"], -apart))
    assert np.mean(sides["warm"]) > 0.95 and np.mean(sides["cool"]) > 0.95
    for tag, pairs in facts.items():
        there, absent = ([v for h, v in pairs if bool(h) is want] for want in (True, False))
        assert len(there) >= 5 and np.mean([a > b for a in there for b in absent]) > 0.9, tag


def test_labels_are_balanced() -> None:
    of_tags = np.mean([picture("tags", "train", index)[1] for index in range(480)], axis=0)
    of_scenes = np.mean([picture("scenes", "train", index)[1] for index in range(300)], axis=0)
    assert of_tags.min() > 0.14 and of_tags.max() < 0.29
    assert of_scenes.min() > 0.2 and of_scenes.max() < 0.42


@pytest.mark.parametrize(("name", "at_most"), [("shapes", 0.2), ("birds", 0.12)])
def test_pixels_do_not_tell_the_class(name: str, at_most: float) -> None:
    def pixels(split: str, count: int) -> tuple[Any, Any]:
        pictures = [picture(name, split, index) for index in range(count)]
        small = np.stack([image for image, _, _ in pictures]).reshape(count, 28, 4, 28, 4, 3).mean((2, 4))
        return small.reshape(count, -1) / 127.5 - 1, np.array([label for _, label, _ in pictures])

    seen = pixels("train", 800)
    probe = RidgeClassifier(alpha=300).fit(*seen)
    assert probe.score(*seen) > 0.4, "the probe learns something, by heart"
    assert probe.score(*pixels("val", 300)) < at_most
