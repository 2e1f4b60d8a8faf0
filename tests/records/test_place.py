"""A place on a store answers as one of this machine does; what a store cannot do is said in one sentence."""

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tokenlens.errors import BadInput
from tokenlens.records import leases, place
from tokenlens.records.atomic import scratch, whole, write
from tokenlens.records.leases import Leaseholder, check_exclusive, lock


@pytest.fixture(params=["here", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, bucket: Path) -> Path:
    return tmp_path if request.param == "here" else bucket / "some" / "folder"


def test_files_are_the_same_here_and_there(folder: Path) -> None:
    file = write(folder / "one" / "a.txt", "12345")
    with whole(folder / "b.bin") as made:
        made.write_bytes(b"\x00\x01")
    assert (file.name, file.stem, file.suffixes, file.parent.name) == ("a.txt", "a", [".txt"], "one")
    assert file.is_file() and not file.is_dir() and file.exists() and file.parent.is_dir()
    assert not (folder / "c").exists() and not (folder / "c").is_file()
    assert [path.name for path in sorted(folder.iterdir())] == ["b.bin", "one"]
    assert [path.name for path in folder.glob("*.bin")] == ["b.bin"]
    assert [path for path in folder.rglob("*.txt")] == [file]
    assert place.size(file) == 5 and place.pieces(file, [(1, 3), (4, 5)]) == [b"23", b"5"]
    assert place.first_gone(folder, [Path("b.bin"), Path("one/a.txt")]) is None
    assert place.first_gone(folder, [Path("b.bin"), Path("one/c.txt")]) == Path("one/c.txt")
    file.replace(folder / "one" / "d.txt")
    assert (folder / "one" / "d.txt").read_text() == "12345" and not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    with pytest.raises(FileNotFoundError):
        file.unlink()
    file.unlink(missing_ok=True)
    place.remove_tree(folder / "one")
    assert [path.name for path in folder.iterdir()] == ["b.bin"]


def test_a_folder_moves_there_with_what_tells_of_the_others_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    order = list[str]()
    put = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda *a, **k: (order.append(a[1]), put(*a, **k))[1])
    with scratch(folder / "run", folder=True) as making:
        (making / "kept" / "c").mkdir(parents=True)
        for name in ("zarr.json", "kept/zarr.json", "kept/c/0"):
            (making / name).write_text(name)
        place.move(making, folder / "run")
    there = {str(path) for path in (folder / "run").rglob("*") if path.is_file()}
    assert there == {str(folder / "run" / name) for name in ("zarr.json", "kept/zarr.json", "kept/c/0")}
    if place.is_remote(folder):
        assert order[-1].endswith("run/zarr.json") and order[0].endswith("kept/c/0")


def test_only_one_creates_a_file(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    place.create(folder / "lease", "mine")
    with pytest.raises(FileExistsError):
        place.create(folder / "lease", "yours")
    assert (folder / "lease").read_text() == "mine"


@pytest.mark.parametrize("where", ["s3://", "memory:///", "gs://"])
def test_a_store_without_a_place_is_refused(where: str) -> None:
    with pytest.raises(BadInput, match="names no place in a store; give one such as"):
        place.place(where)


def test_what_is_no_address_of_a_store_is_a_path() -> None:
    for where in ("runs", "C:/runs", "ftp://host/x", "s3:/bucket"):
        assert isinstance(place.place(where), Path)
    assert place.place(there := place.place("s3://bucket/runs/")) is there and str(there) == "s3://bucket/runs"


def test_what_a_store_does_not_answer_is_one_sentence_and_never_not_there(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("the line is cut\nand more")

    monkeypatch.setattr(MemoryFileSystem, "info", away)
    said = r"memory://bucket cannot be read or written there \(the line is cut\); what was written is kept"
    for asked in (bucket.exists, bucket.is_file, bucket.is_dir):
        with pytest.raises(place.Unreachable, match=said):
            asked()


def test_who_lives_has_the_lease_and_the_silent_lose_it(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Leaseholder(bucket, {"job": 1}) as one, Leaseholder(bucket, {"job": 2}) as two:
        assert one.take("run/0") and not two.take("run/0") and two.take("run/1")
        assert [*two.others().values()] == [{"job": 1}] and two.holder("run") is not None
        one.give("run/0")
        assert two.take("run/0")
        monkeypatch.setattr(leases, "EXPIRY", 0.0)  # whoever was not heard of in this instant
        assert one.take("run/0")
    assert [*bucket.rglob("*")] == []


def test_an_answer_that_was_lost_loses_no_lease(bucket: Path) -> None:
    with Leaseholder(bucket, {}) as here:
        place.create(here.folder / "run" / "0", here.name)  # the store has it; its answer did not come
        assert here.take("run/0") and not here.take("run/0")


def test_without_conditional_writes_no_lock_is_to_be_had(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = MemoryFileSystem.pipe_file
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda self, path, value, **_: put(self, path, value))
    with Leaseholder(bucket, {}) as here, pytest.raises(BadInput, match="no lock is to be had there and several"):
        check_exclusive(here, many=True)
    with pytest.warns(UserWarning, match="takes no conditional writes"), lock(bucket / ".lock", "the tables"):
        pass
