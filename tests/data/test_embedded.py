"""The embedded set `shapes`: the same picture for everybody."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from tokenlens.data import open_data
from tokenlens.data.embedded.open import CLASSES, SIZES, shapes

MEANS = [159.5, 90.28, 127.78, 156.56]  # of the pictures val 0, val 123, test 5, train 7
PATCHES = [22, 21, 8, 13, 16, 22, 26, 22, 14, 19, 34, 21]  # of the objects of the first pictures of val
SUM = """
from hashlib import sha256
from tokenlens.data.embedded import shapes
digest = sha256()
for split, index in [("test", 9), ("val", 0), ("train", 123_456), ("val", 77)]:
    digest.update(shapes(split, index)[0].tobytes())
print(digest.hexdigest())
"""


def test_a_picture_is_the_same_in_another_process_and_in_another_order() -> None:
    pictures = {key: shapes(*key)[0] for key in [("val", 77), ("train", 123_456), ("val", 0), ("val", 1), ("test", 9)]}
    digest = sha256()
    for key in [("test", 9), ("val", 0), ("train", 123_456), ("val", 77)]:
        digest.update(pictures[key].tobytes())
    other = subprocess.run([sys.executable, "-c", SUM], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest.hexdigest()


def test_pictures_do_not_change_from_one_version_to_the_next() -> None:
    """Means, not bytes: sine and tangent differ in the last bit between machines."""
    means = [shapes(split, index)[0].mean() for split, index in [("val", 0), ("val", 123), ("test", 5), ("train", 7)]]
    patches = [int(shapes("val", index)[2].sum()) for index in range(12)]
    assert means == pytest.approx(MEANS, abs=0.02)
    assert patches == PATCHES


@pytest.mark.parametrize("limit", [1, 25])
def test_a_limit_changes_no_picture(limit: int) -> None:
    data, whole = open_data("embedded:shapes", "val", limit), open_data("embedded:shapes", "val")
    assert len(data) == limit and list(data.ids) == list(whole.ids[:limit])
    index = limit - 1
    image, label, mask = shapes("val", index)
    assert (np.asarray(data.image(index)) == image).all() and data.label(index) == label == whole.label(index)
    assert (data.mask(index) == mask).all()


def test_the_set_says_what_it_is() -> None:
    data = open_data("embedded:shapes", "test")
    assert (data.name, data.split, data.classes) == ("embedded:shapes", "test", CLASSES)
    assert data.ids[123] == "shapes/test/000123" and len(set(data.ids)) == len(data) == SIZES["test"]
    assert data.image(3).mode == "RGB" and data.image(3).size == (112, 112)
    assert len(open_data("embedded:shapes", "val", 10**9)) == SIZES["val"]


def test_classes_take_turns() -> None:
    data = open_data("embedded:shapes", "val", 200)
    assert np.bincount([data.label(index) for index in range(200)]).tolist() == [20] * 10


def test_the_mask_lies_on_the_object() -> None:
    """The object is what has detail: its patches vary more than the rest, and it is one piece inside the frame."""
    for index in range(40):
        image, label, mask = shapes("val", index)
        assert 4 <= mask.sum() <= 60
        if CLASSES[label].startswith("shaded"):
            continue
        spread = image.reshape(14, 8, 14, 8, 3).astype(float).std((1, 3)).max(-1)
        assert np.median(spread[mask]) > 1.8 * np.median(spread[~mask]), index
        rows, columns = np.nonzero(mask)
        assert max(np.ptp(rows), np.ptp(columns)) <= 8, "an object is at most 58 pixels wide"


def test_splits_share_no_picture() -> None:
    seen = {shapes(split, index)[0].tobytes() for split in SIZES for index in range(30)}
    assert len(seen) == 90
    apart = [abs(shapes("val", i)[0].astype(float) - shapes("test", i)[0]).mean() for i in range(10)]
    assert min(apart) > 5


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("embeded:shapes", "val", "did you mean embedded:shapes"),
        ("embedded:shpes", "val", "did you mean shapes"),
        ("embedded:shapes", "vall", "did you mean val"),
        ("folder", "val", "did you mean folder:PATH"),
        ("nonsense:0", "val", "known: .*embedded:shapes, folder:PATH"),
    ],
)
def test_an_unknown_set_names_the_nearest(spec: str, split: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        open_data(spec, split)


def test_limits_and_places_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="limit must be at least 1"):
        open_data("embedded:shapes", limit=0)
    with pytest.raises(IndexError, match="the last is 4"):
        open_data("embedded:shapes", limit=5).image(5)
