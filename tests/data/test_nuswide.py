"""NUS-WIDE in the CSV of Alibaba-MIIL: what is read, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenlens.data import check_apart, open_data
from tokenlens.errors import BadInput


def test_labels_and_ids(nuswide: Path, seen: Any) -> None:
    data = open_data(f"nuswide:{nuswide}")
    assert data.classes == ("boat's", "clouds", "person", "sky", "water") and data.multi_label  # of both splits
    assert data.ids == ("images/0002_b.jpg", "images/0003_c.jpg") and np.allclose(seen(data), [100, 0], atol=2)
    assert np.array([data.label(i) for i in range(2)]).astype(int).tolist() == [[1, 1, 1, 0, 0], [0, 1, 0, 1, 0]]
    train = open_data(f"nuswide:{nuswide}", "train")
    assert train.ids == ("images/0000_d.jpg", "images/0001_a.jpg") and train.classes == data.classes
    check_apart(train, data)


def test_columns_are_found_by_name_and_an_image_may_have_no_label(nuswide: Path) -> None:
    (nuswide / "nus_wid_data.csv").write_text(
        "split_name, label, filepath\nval, [], images/0002_b.jpg\n\nval, \"['sky', 'b']\", images/0003_c.jpg\n"
    )
    data = open_data(f"nuswide:{nuswide}")
    assert data.classes == ("b", "sky") and not np.any(data.label(0)) and np.all(data.label(1))


def test_the_mark_that_some_editors_put_first_is_no_part_of_it(nuswide: Path) -> None:
    path = nuswide / "nus_wid_data.csv"
    before = open_data(f"nuswide:{nuswide}")
    path.write_text(path.read_text(), "utf-8-sig")
    assert open_data(f"nuswide:{nuswide}").ids == before.ids


def replace(old: str, new: str) -> Any:
    def change(root: Path) -> None:
        text = (root / "nus_wid_data.csv").read_text()
        assert old in text
        (root / "nus_wid_data.csv").write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "nus_wid_data.csv").unlink(),
            r"there is no .*nus_wid_data\.csv, which says which images",
        ),
        (
            lambda root: (root / "nus_wid_data.csv").write_text(""),
            r"line 1 of .*csv has no column filepath, only nothing",
        ),
        (replace("label,split", "tags,split"), r"line 1 of .*csv has no column label, only filepath, tags, split_name"),
        (replace("\"['sky']\"", "['sky'"), r"line 3 of .*csv is \"\['sky'\" and not like"),
        (replace("['water']", "water"), r"line 5 of .*csv is 'water' and not like"),
        (replace("['water']", "[1]"), r"line 5 of .*csv is '\[1\]' and not like"),
        (replace("['water'],train", "['water']"), r"line 5 of .*csv is \"images/0000_d.jpg,\['water'\]\" and not like"),
        (
            replace("['water'],train\n", "['water'],train\n\"images/4,[],val\n" + 9000 * "images/5.jpg,[],val\n"),
            r"line 6 of .*csv does not end \(field larger than field limit \(131072\)\): close its quote",
        ),
        (replace("\"['sky']\"", "\"['sky']"), r"line 3 of .*csv is .* and not like"),
        (replace("0001_a", "0003_c"), r"line 3 of .*csv names images/0003_c.jpg again, after line 2"),
        (lambda root: (root / "images/0003_c.jpg").unlink(), r"1 of 2 images in .* no file .*0003_c.jpg"),
    ],
)
def test_every_fault_is_told_with_its_line(nuswide: Path, change: Any, message: str) -> None:
    change(nuswide)
    with pytest.raises(BadInput, match=message) as told:
        open_data(f"nuswide:{nuswide}")
    assert "\n" not in str(told.value)


def test_a_split_that_is_not_there(nuswide: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no split of .*csv called 'test'; known: train, val"):
        open_data(f"nuswide:{nuswide}", "test")
