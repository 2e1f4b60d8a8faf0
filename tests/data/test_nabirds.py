"""NABirds: what is read of its five files, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenlens.data import check_apart, open_data
from tokenlens.errors import BadInput


def test_images_labels_and_taxonomy(nabirds: Path, seen: Any) -> None:
    data: Any = open_data(f"nabirds:{nabirds}")
    assert data.classes == ("Wood Duck", "Mallard", "Bald Eagle (Adult, subadult)") and data.class_ids == (9, 10, 817)
    assert data.ids == ("b7-c", "c2-d", "d9-e") and [data.label(i) for i in range(3)] == [0, 1, 2]
    assert np.allclose(seen(data), [40, 120, 160], atol=2)
    assert data.parents == {1: 0, 2: 0, 9: 1, 10: 1, 817: 2}
    assert not data.multi_label and data.mask(0) is None and data.name == f"nabirds:{nabirds}"


def test_train_and_val_are_apart_and_test_is_val(nabirds: Path) -> None:
    train, val, test = (open_data(f"nabirds:{nabirds}", split) for split in ("train", "val", "test"))
    assert train.ids == ("f0-b", "e1-a", "a3-f") and test.ids == val.ids and train.classes == val.classes
    check_apart(train, val)
    with pytest.raises(
        BadInput, match=r"^3 images of nabirds:.* \(test\) are in nabirds:.* \(val\) too, b7-c for one;"
    ):
        check_apart(val, test)


def test_the_published_order_of_classes_is_ours() -> None:
    """The docstring's claim: CPython's set of 555 integers below 1,011 is in ascending order."""
    ids = np.random.default_rng(0).permutation(1011)[:555].tolist()
    assert list(set(ids)) == sorted(ids) != ids


def replace(file: str, old: str, new: str) -> Any:
    def change(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((lambda root, n=name: (root / n).unlink(), f"there is no .*{name}, which says") for name in (
            "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "hierarchy.txt")),
        (replace("images.txt", " 0009/b7c.jpg", ""), r"line 2 of .*images\.txt is 'b7-c' and not like"),
        (replace("images.txt", "b7-c", "e1-a"), r"line 2 of .*images\.txt names e1-a again, after line 1"),
        (replace("image_class_labels.txt", "a3-f 817", "a3-f x"), r"line 3 of .*labels\.txt is 'x' and not like '817'"),
        (replace("image_class_labels.txt", "d9-e 817\n", ""), r"has no line for d9-e, which is on line 5 of images"),
        (replace("train_test_split.txt", "e1-a 1", "e1-a one"), r"line 1 of .*split\.txt is 'one' and not like '0'"),
        (replace("classes.txt", "10 Mallard\n", ""), r"classes\.txt has no class 10, which images are of"),
        (replace("hierarchy.txt", "9 1", "9 Ducks"), r"line 3 of .*hierarchy\.txt is 'Ducks' and not like '23'"),
        (lambda root: (root / "images/0010/c2d.jpg").unlink(), r"1 of 3 images in .* \(c2-d: there is no file .*c2d"),
        (lambda root: (root / "train_test_split.txt").write_text("".join(f"{n} 1\n" for n in (
            "e1-a", "b7-c", "a3-f", "c2-d", "d9-e", "f0-b"))), "gives the split val no image"),
    ],
)  # fmt: skip
def test_every_fault_is_told_with_its_place(nabirds: Path, change: Any, message: str) -> None:
    change(nabirds)
    with pytest.raises(BadInput, match=message) as told:
        open_data(f"nabirds:{nabirds}")
    assert "\n" not in str(told.value)


def test_an_unknown_split(nabirds: Path) -> None:
    with pytest.raises(BadInput, match="there is no split of nabirds called 'vall'; did you mean val"):
        open_data(f"nabirds:{nabirds}", "vall")


def test_bad_images_can_be_left_out(nabirds: Path) -> None:
    (nabirds / "images/0010/c2d.jpg").unlink()
    (nabirds / "images/0009/b7c.jpg").write_bytes(b"no image")
    data: Any = open_data(f"nabirds:{nabirds}", skip_bad=True)
    assert data.ids == ("d9-e",) and data.label(0) == 2
    assert dict(data.bad) == {
        "b7-c": "not an image, whatever its name says",
        "c2-d": "there is no file behind this name",
    }


def test_a_limit_is_spread_over_the_classes(nabirds: Path) -> None:
    assert open_data(f"nabirds:{nabirds}", limit=2).ids == ("b7-c", "c2-d")
    assert open_data(f"nabirds:{nabirds}", limit=99).ids == ("b7-c", "c2-d", "d9-e")
