"""ImageNet: the same images, classes and ids from every layout that users have, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timm.data import ImageNetInfo

from tokenlens.data import check_apart, open_data
from tokenlens.errors import BadInput

WNIDS = ("n01440764", "n01443537", "n02085620")
VAL = "ILSVRC2012_val_0000000"


def test_every_layout_gives_the_same(imagenet: Path, seen: Any) -> None:
    val, train = open_data(f"imagenet:{imagenet}"), open_data(f"imagenet:{imagenet}", "train")
    assert val.classes == train.classes == WNIDS and not val.multi_label
    assert val.ids == (f"{VAL}2", f"{VAL}4", f"{VAL}3", f"{VAL}1")  # by class, then id
    assert [val.label(i) for i in range(4)] == [0, 0, 1, 2]
    assert np.allclose(seen(val), [102, 104, 103, 101], atol=2)
    assert train.ids == tuple(f"{wnid}_{number}" for wnid in WNIDS for number in range(2))
    assert [train.label(i) for i in range(6)] == [0, 0, 1, 1, 2, 2]
    assert open_data(f"imagenet:{imagenet}", limit=2).ids == (f"{VAL}2", f"{VAL}3")
    check_apart(train, val)


def test_flat_images_alone_have_imagenets_classes(imagenet_of: Any, tmp_path: Path) -> None:
    root = imagenet_of(tmp_path / "in", "val_map.txt")
    (root / "train").rename(tmp_path / "train")
    data = open_data(f"imagenet:{root}")
    assert len(data.classes) == 1000 and list(data.classes) == ImageNetInfo().label_names()
    assert [data.classes[int(data.label(i))] for i in range(4)] == [WNIDS[0], WNIDS[0], *WNIDS[1:]]


def test_other_class_folders(tmp_path: Path, imagenet_of: Any) -> None:
    root = imagenet_of(tmp_path / "in", "folders")
    for folder in (*(root / "train").iterdir(), *(root / "val").iterdir()):
        for number, file in enumerate(sorted(folder.iterdir())):
            file.rename(folder / f"{number}.JPEG")
    (root / "val/n02085620").rename(root / "val/n01443538")
    with pytest.raises(BadInput, match=r"n01443538/0\.JPEG is in none of the 3 class folders that .*train has"):
        open_data(f"imagenet:{root}")
    (root / "train/n01443538").mkdir()  # the classes are those of train, the empty ones too
    data = open_data(f"imagenet:{root}")
    assert data.classes == (*WNIDS[:2], "n01443538", WNIDS[2]) and [data.label(i) for i in range(4)] == [0, 0, 1, 2]
    assert data.ids[2:] == ("val/n01443537/0.JPEG", "val/n01443538/0.JPEG")
    assert len(open_data(f"imagenet:{root / 'train'}")) == 6  # a folder without splits


def test_a_test_split_has_no_labels(tmp_path: Path, imagenet_of: Any) -> None:
    root = imagenet_of(tmp_path / "in", "solution")
    (root / "val").rename(root / "test")
    data = open_data(f"imagenet:{root}", "test")
    assert [data.label(i) for i in range(len(data))] == [-1] * 4 and data.classes == WNIDS


def rewrite(file: str, text: str) -> Any:
    return lambda root: (root / file).write_text(text)


DEVKIT = "ILSVRC2012_devkit_t12/data"


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        (
            "val.txt",
            lambda root: (root / "val.txt").unlink(),
            "nothing says of which classes the images in .*val are: put",
        ),
        ("val.txt", rewrite("val.txt", f"{VAL}1.JPEG 0\n{VAL}2.JPEG\n"), r"line 2 of .*val\.txt is .* and not like"),
        (
            "val.txt",
            rewrite("val.txt", f"{VAL}1.JPEG 3\n"),
            r"line 1 of .*val\.txt is 'ILSVRC2012_val_00000001.JPEG 3'",
        ),
        ("val.txt", rewrite("val.txt", f"{VAL}1.JPEG n0\n"), r"line 1 of .*val\.txt is .* and not like"),
        ("val.txt", rewrite("val.txt", f"{VAL}1.JPEG 1\n"), "does not say of which class ILSVRC2012_val_00000002 is"),
        ("solution", rewrite("LOC_val_solution.csv", "a,b\n"), r"line 1 of .*csv has no column ImageId"),
        ("solution", rewrite("LOC_val_solution.csv", f"ImageId,PredictionString\n{VAL}1,\n"), r"line 2 of .*csv is"),
        (
            "synsets",
            rewrite("imagenet_2012_validation_synset_labels.txt", "n02085620\n3\n"),
            r"line 2 of .*labels\.txt is",
        ),
        (
            "devkit",
            lambda root: (root / DEVKIT / "meta.mat").unlink(),
            r"there is no .*meta\.mat, which says what the num",
        ),
        (
            "devkit",
            rewrite(f"{DEVKIT}/meta.mat", "no matrix"),
            r"meta\.mat cannot be read as the devkit's meta\.mat \(",
        ),
        ("devkit", rewrite(f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt", "1\n4\n"), r"line 2 of .*truth\.txt is"),
    ],
)
def test_every_fault_is_told_with_its_place(
    tmp_path: Path, imagenet_of: Any, layout: str, damage: Any, message: str
) -> None:
    root = imagenet_of(tmp_path / "in", layout)
    damage(root)
    with pytest.raises(BadInput, match=message) as told:
        open_data(f"imagenet:{root}")
    assert "\n" not in str(told.value)


def test_one_id_twice_is_refused(tmp_path: Path, imagenet_of: Any) -> None:
    root = imagenet_of(tmp_path / "in", "folders")
    (root / f"val/n01440764/{VAL}2.JPEG").rename(root / f"val/n01443537/{VAL}4.JPEG")
    with pytest.raises(BadInput, match=f"{VAL}4.JPEG and .*{VAL}4.JPEG are both called {VAL}4: rename one"):
        open_data(f"imagenet:{root}")


def test_a_bad_image_is_met_when_it_is_read_or_left_out(tmp_path: Path, imagenet_of: Any) -> None:
    root = imagenet_of(tmp_path / "in", "folders")
    (root / f"val/n01440764/{VAL}2.JPEG").write_bytes(b"")
    data = open_data(f"imagenet:{root}")
    with pytest.raises(BadInput, match=f"{VAL}2.JPEG cannot be read as an image .the file is empty.: mend"):
        data.image(0)
    left: Any = open_data(f"imagenet:{root}", skip_bad=True)
    assert left.ids == data.ids[1:] and left.bad == [(f"{VAL}2", "the file is empty")] and left.label(0) == 0
