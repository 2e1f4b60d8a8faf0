"""A file is whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from tokenlens.errors import BadInput
from tokenlens.records.atomic import whole, write


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "out" / "a.svg", "before")

    def full(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(BadInput, match=r"the disk is full while writing .*out"):
            write(tmp_path / "out" / "a.svg", "after")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.svg"]
    assert (tmp_path / "out" / "a.svg").read_text() == "before"
    assert write(tmp_path / "out" / "a.svg", b"after").read_bytes() == b"after"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / "a.svg").mkdir(parents=True)
    for path in (tmp_path / "file" / "below" / "a.svg", tmp_path / "out" / "a.svg"):
        with pytest.raises(BadInput, match=r"(below|out) cannot be written .*choose another folder"):
            write(path, "")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "a.svg"]


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "a", "before")
    (tmp_path / ".a.partial").write_text("what a killed writer left")
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "a") as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "before"
