"""A file is whole or not there, whoever writes it, and nothing but plain files is ever replaced."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tokenlens.errors import BadInput
from tokenlens.records import atomic
from tokenlens.records.atomic import clean, lock, scratch, whole, write

DEAD = """
import os, signal, sys
from pathlib import Path
from tokenlens.records import atomic
with atomic.{how}:
    print("begun", flush=True)
    {then}
"""


def other(how: str, then: str) -> "subprocess.Popen[str]":
    """Another process that has begun `how`, and then does `then`."""
    code = DEAD.format(how=how, then=then)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


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
    with pytest.raises(BadInput, match=r"below cannot be written .*choose another folder"):
        write(tmp_path / "file" / "below" / "a.svg", "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_but_a_plain_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(path.name for path in tmp_path.iterdir())
    for place, kind in (
        (tmp_path / "folder", "a folder"),
        (tmp_path / "link", "a link"),
        (tmp_path / "dangling", "a link"),
        (tmp_path / "pipe", "a device or a pipe"),
        (Path("/dev/full"), "a device or a pipe"),
    ):
        with pytest.raises(BadInput, match=rf"{place} is {kind}, and only a plain file is ever replaced; give another"):
            write(place, "new")
    with pytest.raises(BadInput, match="is a link"), whole(tmp_path / "a") as partial:
        partial.write_text("new")
        (tmp_path / "a").symlink_to("precious")  # planted while it is written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", *before]
    assert (tmp_path / "precious").read_text() == "kept" and not (tmp_path / "nowhere").exists()


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "a", "before")
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "a") as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "before"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with whole(tmp_path / "a") as one:
        one.write_text("one")
        with whole(tmp_path / "a") as two, two.open("w") as half:
            half.write("tw")
            half.flush()
            os.link(one, tmp_path / "seen")
            half.write("o")
        assert one.name != two.name and (tmp_path / "seen").read_text() == "one"
        assert (tmp_path / "a").read_text() == "two"
    assert (tmp_path / "a").read_text() == "one"


@pytest.mark.parametrize("how", ["whole(Path('a'))", "scratch(Path('a'), folder=True)"])
def test_what_the_dead_left_goes_and_what_the_living_make_stays(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".a.partial").write_text("a stranger's")
    (tmp_path / f".a.{'0' * 16}.partial").symlink_to(".a.partial")  # nor is a link of ours
    living, dead = other(how, "sys.stdin.read()"), other(how, "os.kill(os.getpid(), signal.SIGKILL)")
    dead.communicate()
    assert dead.returncode == -signal.SIGKILL
    made = {path for path in tmp_path.glob(".a.*.partial") if not path.is_symlink()}
    assert len(made) == 2
    clean(tmp_path)
    (left,) = (path for path in tmp_path.glob(".a.*.partial") if not path.is_symlink())
    assert left in made
    living.communicate()
    assert not left.exists() and (tmp_path / ".a.partial").read_text() == "a stranger's"


def test_who_writes_is_told_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = other("lock(Path('l'), 'it')", "sys.stdin.read()")
    entered: list[bool] = []

    def enter() -> None:
        with lock(tmp_path / "l", "results"):
            entered.append(True)

    with pytest.warns(UserWarning, match=rf"process {process.pid} on \S+ is writing results; waiting until") as told:
        thread = threading.Thread(target=enter)
        thread.start()
        until = time.monotonic() + 60
        while not told and time.monotonic() < until:
            time.sleep(0.05)
        assert not entered
        process.communicate()
        thread.join(60)
    assert len(told) == 1 and entered
    assert (tmp_path / "l").read_text() == ""


def test_a_dead_writers_lock_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dead = other("lock(Path('l'), 'it')", "os.kill(os.getpid(), signal.SIGKILL)")
    dead.communicate()
    assert dead.returncode == -signal.SIGKILL
    with lock(tmp_path / "l", "it"):  # a warning would be an error
        pass


def test_a_name_is_not_used_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda _: "0" * 16)
    (tmp_path / "precious").write_text("kept")
    (tmp_path / f".a.{'0' * 16}.partial").symlink_to("precious")
    with pytest.raises(BadInput, match="cannot be written"):
        write(tmp_path / "a", "new")
    assert (tmp_path / "precious").read_text() == "kept"


def test_scratch_may_be_moved_away(tmp_path: Path) -> None:
    with scratch(tmp_path / "a", folder=True) as made:
        (made / "b").write_text("")
        made.rename(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a" / "b").exists()
