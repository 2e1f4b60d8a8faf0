"""WebDataset shards: samples, labels, keys, and what is refused."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import webdataset.cache

from tokenlens.data import check_apart, open_data, tar, wds
from tokenlens.errors import BadInput
from tokenlens.training.load_recipe import load_recipe
from tokenlens.training.setup import open_sets


@pytest.fixture
def shards(tmp_path: Path, shard: Any, encoded: Any) -> Path:
    """Two training shards of two samples and one for validation; keys repeat between the splits."""
    for split, number, values in (("train", 0, (1, 2)), ("train", 1, (3, 4)), ("val", 0, (200, 201))):
        files = [
            (f"{number}{value % 2}.{ending}", content)
            for value in values
            for ending, content in (("cls", str(value % 3).encode()), ("png", encoded(value)), ("txt", b"a word"))
        ]
        shard(tmp_path / f"{split}-{number:04d}.tar", files)
    return tmp_path


def test_samples_are_read_in_place(shards: Path, seen: Any) -> None:
    data = open_data(f"wds:{shards}/train-{{0000..0001}}.tar", "train")
    assert data.ids == ("01", "00", "11", "10") and seen(data) == [1, 2, 3, 4]
    assert [data.label(i) for i in range(4)] == [1, 2, 0, 1] and not data.multi_label
    assert seen(pickle.loads(pickle.dumps(data))) == [1, 2, 3, 4]  # as a worker process gets it
    assert seen(open_data(f"wds:{shards}/train-{{0000..0001}}.tar", "train", limit=2)) == [1, 3]


def test_the_split_chooses_shards(shards: Path, seen: Any) -> None:
    spec = f"wds:{shards}/{{split}}-0000.tar"
    train, val = open_data(spec, "train"), open_data(spec)
    assert seen(val) == [200, 201] and val.ids == ("val/00", "val/01") and train.ids == ("train/01", "train/00")
    check_apart(train, val)


def test_timms_folder_with_info(shards: Path, seen: Any) -> None:
    splits = {
        "train": {"filenames": ["train-0000.tar", "train-0001.tar"]},
        "validation": {"filenames": ["val-0000.tar"]},
    }
    (shards / "_info.json").write_text(json.dumps({"splits": splits}))
    assert seen(open_data(f"wds:{shards}")) == [200, 201] and len(open_data(f"wds:{shards}", "train")) == 4
    with pytest.raises(BadInput, match=r"_info\.json has the splits train, validation and not test: choose one"):
        open_data(f"wds:{shards}", "test")
    (shards / "_info.json").write_text("{}")
    with pytest.raises(BadInput, match=r"_info\.json has no splits with filenames"):
        open_data(f"wds:{shards}")


def info(root: Path, **more: Any) -> str:
    splits = {"train": {"filenames": ["train-0000.tar", "train-0001.tar"]}, "val": {"filenames": ["val-0000.tar"]}}
    (root / "_info.json").write_text(json.dumps({"splits": splits, **more}))
    return f"wds:{root}"


def test_classes_without_a_name_are_numbers_and_the_same_for_every_split(
    shards: Path, shard: Any, encoded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(shards / "train-0001.tar", [("a.cls", b"6"), ("a.png", encoded(3))])
    numbers = tuple("0123456")
    read: list[str] = []
    monkeypatch.setattr(wds, "samples", lambda path: read.append(path) or tar.samples(path))
    for spec in (f"wds:{shards}/{{split}}-{{0000..0001}}.tar", info(shards)):
        shard(shards / "val-0001.tar", [("b.cls", b"1"), ("b.png", encoded(3))])
        read.clear()
        train, val = open_data(spec, "train"), open_data(spec)
        assert train.classes == val.classes == numbers and max(val.label(i) for i in range(len(val))) == 2
        assert len(read) == len(set(read))  # each shard once
    assert open_data(f"wds:{shards}/val-{{0000..0001}}.tar").classes == ("0", "1", "2")  # train is not told
    (shards / "_info.json").unlink()
    shard(shards / "val-0001.tar", [("b.cls", b"9"), ("b.png", encoded(3))])
    assert len(open_data(f"wds:{shards}/{{split}}-{{0000..0001}}.tar").classes) == 10


def test_a_split_alone_and_one_without_labels(shards: Path, shard: Any, encoded: Any) -> None:
    for name in ("train-0000.tar", "train-0001.tar"):
        (shards / name).unlink()
    assert open_data(f"wds:{shards}/{{split}}-0000.tar").classes == ("0", "1", "2")
    (shards / "_info.json").write_text(json.dumps({"splits": {"val": {"filenames": ["val-0000.tar"]}}}))
    assert open_data(f"wds:{shards}").classes == ("0", "1", "2")
    assert open_data(f"wds:{shard(shards / 'x.tar', [('a.png', encoded(1))])}").classes == ()


def test_names_of_classes(shards: Path) -> None:
    spec = info(shards, classes=["a", "b", "c", "d"])
    assert open_data(spec, "train").classes == open_data(spec).classes == ("a", "b", "c", "d")
    with pytest.raises(BadInput, match=r"_info\.json names 2 classes, and an image has the label 2: name all"):
        open_data(info(shards, classes=["a", "b"]), "train")
    with pytest.raises(BadInput, match=r"classes in .*_info\.json is no list of names: mend it, or take it out"):
        open_data(info(shards, classes={"a": 0}))


def test_shards_can_be_learned_from(shards: Path) -> None:
    changes = {"data.name": f"wds:{shards}/{{split}}-0000.tar"}
    train, val = open_sets(load_recipe("shapes", changes))
    assert train.classes == val.classes == ("0", "1", "2") and len(train) == len(val) == 2


def test_labels_in_json_and_none_at_all(tmp_path: Path, shard: Any, encoded: Any) -> None:
    files = [("a/x.v1.png", encoded(9)), ("a/x.png", encoded(5)), ("a/x.json", b'{"label": 7}'), ("b.JPG", encoded(6))]
    data = open_data(f"wds:{shard(tmp_path / 'a.tar', files)}")
    assert data.ids == ("a/x", "b") and [data.label(0), data.label(1)] == [7, -1]


@pytest.mark.parametrize(
    ("ending", "content"),
    [("CLS", b"3\n"), ("cls", b"3.0"), ("cls", b" 3 "), ("json", b'{"label": 3.0}'), ("JSON", b'{"label": "3"}')],
)
def test_a_class_is_read_however_it_is_written(
    tmp_path: Path, shard: Any, encoded: Any, ending: str, content: bytes
) -> None:
    data = open_data(f"wds:{shard(tmp_path / 'a.tar', [('x.png', encoded(9)), (f'x.{ending}', content)])}")
    assert data.label(0) == 3


def test_what_lies_behind_an_address_is_fetched_once(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Any
) -> None:
    monkeypatch.setenv("WDS_CACHE", str(tmp_path / "cache"))
    away = "https://example.org/sets"
    monkeypatch.setattr(
        webdataset.cache, "download", lambda url, dest, **_: shutil.copy(url.replace(away, str(shards)), dest)
    )
    assert seen(open_data(f"wds:{away}/val-0000.tar")) == [200, 201]
    (shards / "val-0000.tar").unlink()
    assert seen(open_data(f"wds:{away}/val-0000.tar")) == [200, 201]
    with pytest.raises(BadInput, match=r"none\.tar cannot be fetched \(.*: check the address"):
        open_data(f"wds:{away}/none.tar")


@pytest.mark.parametrize(
    ("files", "mode", "message"),
    [
        ([("a.cls", b"1")], "w:", r"the sample of a\.cls in .*x\.tar has no image"),
        ([("a.png", b""), ("a.cls", b"dog")], "w:", r"a\.cls in .*x\.tar tells no class"),
        ([("a.png", b""), ("a.json", b"{")], "w:", r"a\.json in .*x\.tar tells no class"),
        ([("a.png", b""), ("a.json", b"[]")], "w:", r"a\.json in .*x\.tar tells no class"),
        ([("a.png", b""), ("a.json", b"[" * 100_000)], "w:", r"a\.json in .*x\.tar tells no class"),
        ([("a.png", b""), ("a.cls", b"-2")], "w:", r"a\.cls in .*x\.tar tells no class \(.* not below 1000000\)"),
        ([("a.png", b""), ("a.cls", b"9999999999")], "w:", r"a\.cls in .*x\.tar tells no class \(.* not below"),
        ([("a.png", b""), ("a.cls", b"1.5")], "w:", r"a\.cls in .*x\.tar tells no class \(it is '1\.5'\)"),
        ([("a.png", b""), ("a.cls", b"nan")], "w:", r"a\.cls in .*x\.tar tells no class"),
        ([("a.png", b""), ("a.CLS", b"dog")], "w:", r"a\.CLS in .*x\.tar tells no class"),
        ([("a.png", b""), ("a.json", b'{"label": "dog"}')], "w:", r"a\.json in .*x\.tar tells no class"),
        ([("a.png", b""), ("a.json", b'{"label": [1]}')], "w:", r"a\.json in .*x\.tar tells no class \(it is \[1\]\)"),
        ([("a.png", b""), ("a.json", b'{"label": true}')], "w:", r"a\.json in .*x\.tar tells no class \(it is True"),
        ([("a.png", b"")], "w:gz", r"cannot be read as a tar archive .*: unpack it with gunzip"),
        ([], "w:", "hold no samples: give other shards"),
    ],
)
def test_what_is_wrong_with_a_shard_is_told(tmp_path: Path, shard: Any, files: Any, mode: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as told:
        open_data(f"wds:{shard(tmp_path / 'x.tar', files, mode)}")
    assert "\n" not in str(told.value)


def test_missing_cut_and_repeated_shards_are_refused(shards: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no shard .*val-0001\.tar: check the path and the numbers"):
        open_data(f"wds:{shards}/val-{{0000..0001}}.tar")
    with pytest.raises(BadInput, match=r"is a folder without _info\.json: name its shards"):
        open_data(f"wds:{shards}")
    whole = (shards / "val-0000.tar").read_bytes()
    (shards / "cut.tar").write_bytes(whole[:2000])
    with pytest.raises(BadInput, match=r"cut\.tar cannot be read as a tar archive \(unexpected end of data\): fetch"):
        open_data(f"wds:{shards}/cut.tar")
    with pytest.raises(BadInput, match=r"0.\.png and .*0.\.png are both called 0.: rename one"):
        open_data(f"wds:{shards}/{{val,train}}-0000.tar")


def test_a_bad_image_is_named_or_left_out(tmp_path: Path, shard: Any, encoded: Any) -> None:
    path = shard(tmp_path / "a.tar", [("a.png", b"no image"), ("a.cls", b"1"), ("b.png", encoded(7)), ("b.cls", b"2")])
    with pytest.raises(BadInput, match=r"a\.tar/a\.png cannot be read as an image \(not an image"):
        open_data(f"wds:{path}").image(0)
    left: Any = open_data(f"wds:{path}", skip_bad=True)
    assert left.ids == ("b",) and left.label(0) == 2 and left.image(0).getpixel((0, 0))[0] == 7


def test_without_the_extra_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "webdataset", None)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    for spec, package in (("wds:a.tar", "webdataset"), ("hf:a/b", "datasets")):
        with pytest.raises(BadInput, match=rf"^{spec} needs the package {package}, .* its extra hub: pip install"):
            open_data(spec)
