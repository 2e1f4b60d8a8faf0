"""Folders as users have them: which are splits, which are classes and in which order, and which are neither."""

from pathlib import Path

import pytest
from PIL import Image
from timm.data.readers.reader_image_folder import find_images_and_targets

from tokenlens.data import left_out, open_data
from tokenlens.data.names import is_left_over, natural_order, split_of
from tokenlens.errors import BadInput


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4)).save(path, "PNG")
    return path


@pytest.mark.parametrize("names", [tuple(map(str, range(12))), ("a10", "A9", "b1", "007", "n02", "n1")])
@pytest.mark.parametrize("kind", ["folder", "imagenet"])
def test_classes_are_numbered_as_timm_numbers_them(tmp_path: Path, names: tuple[str, ...], kind: str) -> None:
    for name in names:
        save(tmp_path / name / f"{name}.png")
    images, theirs = find_images_and_targets(str(tmp_path))
    expected = {Path(path).stem: label for path, label in images}
    data = open_data(f"{kind}:{tmp_path}")
    assert {Path(name).stem: data.label(i) for i, name in enumerate(data.ids)} == expected
    assert data.classes == tuple(sorted(theirs, key=lambda name: theirs[name]))
    assert sorted(data.classes, key=natural_order) == list(data.classes)


@pytest.mark.parametrize(
    ("folders", "split", "chosen"),
    [
        (("train", "Val"), "val", "Val"),
        (("train2017", "val2017", "annotations"), "val", "val2017"),
        (("train_set", "val_set"), "val", "val_set"),
        (("seg_train", "seg_test", "seg_pred"), "test", "seg_test"),
        (("train", "dev"), "val", "dev"),
        (("TRAIN", "EVAL"), "val", "EVAL"),
        (("Training", "Testing"), "train", "Training"),
    ],
)
def test_splits_in_other_words_are_read_as_splits_and_told(
    tmp_path: Path, folders: tuple[str, ...], split: str, chosen: str
) -> None:
    for folder in folders:
        for name in ("cat", "dog"):
            save(tmp_path / folder / name / "1.png")
    data = open_data(f"folder:{tmp_path}", split)
    assert data.classes == ("cat", "dog") and data.ids == (f"{chosen}/cat/1.png", f"{chosen}/dog/1.png")
    assert left_out(data) == f"{tmp_path / chosen} is read as the split {split}"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("Training", "Testing"), "has the splits test, train and not val: choose the split train"),
        (("train", "val2014", "val2017"), "has several folders for the split val, val2014, val2017"),
    ],
)
def test_splits_that_are_not_there_or_twice_are_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    for folder in folders:
        save(tmp_path / folder / "cat" / "1.png")
    with pytest.raises(BadInput, match=message):
        open_data(f"folder:{tmp_path}")


def test_a_train_beside_a_bus_is_a_class(tmp_path: Path) -> None:
    for name in ("Train", "bus", "tram"):
        save(tmp_path / name / "1.png")
    assert open_data(f"folder:{tmp_path}").classes == ("bus", "Train", "tram")
    assert [split_of(name) for name in ("trainer", "testicle", "valley", "train-test", "set")] == [None] * 5


def test_what_file_systems_leave_behind_is_neither_class_nor_image(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "1.png")
    for name in ("lost+found", "$RECYCLE.BIN", "__MACOSX", "@eaDir", ".Trash-1000", "System Volume Information"):
        save(tmp_path / name / "x.png")
        save(tmp_path / "cat" / name / "x.png")
        assert is_left_over(name)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "cat" / name).write_text("")
    data = open_data(f"folder:{tmp_path}")
    assert (data.classes, data.ids, left_out(data)) == (("cat",), ("cat/1.png",), "")


def test_images_of_kinds_that_are_not_read_are_counted_in_one_line(tmp_path: Path) -> None:
    for name in ("a.HEIC", "b.heic", "c.jxl", "d.tga", "notes.txt"):
        (tmp_path / name).write_text("")
    told = r"left out 4 images of kinds that are not read (2 .heic, 1 .jxl, 1 .tga): convert them to have them read"
    with pytest.raises(BadInput) as refused:
        open_data(f"folder:{tmp_path}")
    assert f"holds no images ({told}): files that end in" in str(refused.value)
    save(tmp_path / "e.png")
    data = open_data(f"folder:{tmp_path}")
    assert data.ids == ("e.png",) and left_out(data) == told
