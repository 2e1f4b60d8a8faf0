"""COCO: labels and sizes, which images stay, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenlens.data import check_apart, open_data
from tokenlens.data.coco import NO_OUTLINE, OUTLINE, open_coco
from tokenlens.errors import BadInput

CLASSES = ("person", "stop sign", "dog", "toothbrush")  # in ascending id, whatever the file's order


def test_labels_sizes_and_ids(coco: Path, seen: Any) -> None:
    data = open_coco(str(coco))
    assert data.multi_label and data.classes == CLASSES
    assert data.ids == ("9", "42", "581929")  # without 25, which has no annotation
    assert np.allclose(seen(data), [30, 0, 90], atol=2)
    found = [[CLASSES[i] for i in np.flatnonzero(data.label(row))] for row in range(3)]
    assert found == [["toothbrush"], ["person", "dog"], ["person", "stop sign"]]
    assert data.label(0).dtype == bool and data.label(0).shape == (4,)
    # below 32 x 32 is small, below 96 x 96 medium; a class can be there in several sizes
    assert data.sizes[1].astype(int).tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert data.sizes[0].astype(int).tolist() == [[0] * 4, [0, 0, 0, 1], [0] * 4]
    assert data.sizes[2].astype(int).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_a_label_cannot_be_changed_from_outside(coco: Path) -> None:
    data = open_coco(str(coco))
    data.label(0)[:] = True
    assert data.label(0).sum() == 1


def test_train_and_val_are_apart(coco: Path) -> None:
    train, val = open_data(f"coco:{coco}", "train"), open_data(f"coco:{coco}")
    assert train.ids == ("7", "8") and train.classes == val.classes
    check_apart(train, val)


def test_2014_is_read_before_2017_unless_it_is_named(coco: Path, coco_of: Any) -> None:
    coco_of(coco, "val2017", {139: [(139, 1, 5.0)]})
    assert len(open_data(f"coco:{coco}")) == 3
    assert open_data(f"coco:{coco}", "val2017").ids == ("139",)
    (coco / "annotations/instances_val2014.json").unlink()
    (coco / "images").mkdir()
    (coco / "val2017").rename(coco / "images/val2017")
    data = open_data(f"coco:{coco}")
    assert data.ids == ("139",) and data.image(0).size == (9, 6)


def test_a_limit_keeps_rows_together(coco: Path) -> None:
    whole, part = open_coco(str(coco)), open_coco(str(coco), limit=2)
    assert part.ids == ("9", "42") and np.array_equal(part.sizes, whole.sizes[:2])


IMAGES, CATEGORIES = (3, 20, 100, 101), (1, 5, 90)
annotations = st.lists(st.tuples(st.sampled_from(IMAGES), st.sampled_from(CATEGORIES), st.floats(0, 20000)), min_size=1)


@given(annotations)
def test_grouping_is_what_a_plain_loop_finds(tmp_path_factory: Any, found: list[tuple[int, int, float]]) -> None:
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "val2014").mkdir()
    table: dict[int, np.ndarray] = {}
    for image, category, area in found:
        size = 0 if area < 1024 else 1 if area < 9216 else 2
        table.setdefault(image, np.zeros((3, 3), bool))[size, CATEGORIES.index(category)] = True
        (root / f"val2014/{image}.jpg").touch()
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in reversed(IMAGES)],
        "categories": [{"id": n, "name": f"c{n}"} for n in reversed(CATEGORIES)],
        "annotations": [{"area": a, "image_id": i, "category_id": c, "segmentation": []} for i, c, a in found],
    }
    (root / "annotations/instances_val2014.json").write_text(json.dumps(content))
    data = open_coco(str(root))
    assert data.ids == tuple(str(image) for image in sorted(table))
    assert np.array_equal(data.sizes, [table[image] for image in sorted(table)])
    assert np.array_equal(data.labels, data.sizes.any(1))


@pytest.mark.parametrize(
    ("box", "size"), [([0, 0, 40, 40], "medium"), ([0, 0, 200, 200.5], "large"), (None, "small"), ([1], "small")]
)
@pytest.mark.parametrize("area", [None, "left out"])
def test_without_an_area_the_box_tells_the_size(tmp_path: Path, box: Any, size: str, area: Any) -> None:
    note = {"image_id": 1, "category_id": 1, "bbox": box} | ({"area": None} if area is None else {})
    image = {"id": 1, "file_name": "a.jpg", "image_id": 1}  # a labelling program's field too many
    content = {"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": [note]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(content))
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017/a.jpg").touch()
    data = open_coco(str(tmp_path))
    assert data.sizes[0, :, 0].tolist() == [size == name for name in ("small", "medium", "large")]


numbers = st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)), max_size=4)
entry = st.fixed_dictionaries(
    {"segmentation": st.lists(numbers, max_size=2), "note": st.sampled_from(['"segmentation": [1],', "]", "\\", "é"])},
    optional={"segmentation ": st.none(), "a": numbers},
)


@given(st.lists(entry), st.sampled_from([(",", ":"), (", ", ": "), (",\n ", " : ")]), st.booleans())
def test_leaving_outlines_out_loses_nothing_else(entries: list[Any], separators: Any, in_order: bool) -> None:
    text = json.dumps(entries, separators=separators, sort_keys=in_order).encode()
    slim = json.loads(OUTLINE.sub(NO_OUTLINE, text))
    for before, after in zip(entries, slim, strict=True):
        assert {**before, "segmentation": 0} == after


def change(table: str, place: int, key: str, value: Any) -> Any:
    def changed(path: Path) -> None:
        content = json.loads(path.read_text())
        content[table][place][key] = value
        if value is None:
            del content[table][place][key]
        path.write_text(json.dumps(content))

    return changed


def without(table: str) -> Any:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), table: []}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"there is no .*instances_val2014\.json, nor one of 2017: .* than val"),
        (lambda path: path.write_text(""), "is not JSON"),
        (lambda path: path.write_text(path.read_text()[:-30]), "is not JSON"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"dog", b"d\xffg")), "is not JSON"),
        (lambda path: path.write_text("[1, 2]"), "has no images, so it is not one of COCO's"),
        (without("annotations"), "has no annotations, so"),
        (without("categories"), "has no categories, so"),
        (without("images"), "has no images, so"),
        (change("annotations", 3, "category_id", None), "entry 3 of annotations in .* has no image_id, category_id or"),
        (change("annotations", 1, "area", "big"), "entry 1 of annotations in "),
        (change("annotations", 1, "image_id", [4]), "entry 1 of annotations in "),
        (change("annotations", 2, "image_id", 10**400), "entry 2 of annotations in .* has no image_id, category_id or"),
        (change("annotations", 2, "area", math.inf), "entry 2 of annotations in .* has no image_id, category_id or"),
        (lambda path: path.write_text("[" * 100_000), r"is not JSON \(maximum recursion depth exceeded"),
        (change("annotations", 4, "image_id", 43), "entry 4 of annotations in .* the id 43, which is not among its im"),
        (change("annotations", 4, "image_id", 10**7), "the id 10000000, which is not among its images"),
        (change("annotations", 0, "category_id", 2), "entry 0 of annotations in .* the id 2, .* among its categories"),
        (change("images", 1, "file_name", None), "entry 1 of images in .* has no file_name or no usable id"),
        (change("categories", 3, "id", "90"), "entry 3 of categories in .* has no name or no usable id"),
        (change("images", 1, "id", 10**400), "entry 1 of images in .* has no file_name or no usable id"),
        (change("images", 1, "id", 42), "has the id 42 twice in images, at last in entry 1"),
        (lambda path: (path.parents[1] / "val2014/COCO_val2014_000000000009.jpg").unlink(), "1 of 3 images in .* no"),
    ],
)  # fmt: skip
def test_every_fault_is_told_with_its_place(coco: Path, damage: Any, message: str) -> None:
    damage(coco / "annotations/instances_val2014.json")
    with pytest.raises(BadInput, match=message) as told:
        open_data(f"coco:{coco}")
    assert "\n" not in str(told.value)
