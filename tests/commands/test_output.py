"""What a command prints may go nowhere: that is one sentence and an exit code, and a closed pipe is no matter."""

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from tokenlens.cli import main, tokenlens

from .conftest import Call

FULL = Path("/dev/full")
COMMANDS = tokenlens.list_commands(None)  # type: ignore[arg-type]
PRINTED = [
    "--help", "--version", *(f"{name} --help" for name in COMMANDS), "methods", "methods topk", "metrics --json",
    "data", "hosts", "figures --list", "figures --json", "finetune --show",
]  # fmt: skip


def ended(monkeypatch: pytest.MonkeyPatch, words: str, stdout: TextIO) -> int:
    """The exit code of a command whose standard output is another."""
    monkeypatch.setattr(sys, "argv", ["tokenlens", *words.split()])
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def full() -> Iterator[TextIO]:
    if not FULL.is_char_device():
        pytest.skip("this system has no device that is always full")
    with FULL.open("w") as device:
        yield device


@pytest.mark.parametrize("words", PRINTED)
def test_a_full_output_is_one_sentence(
    words: str, full: TextIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, words, full) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(
        "Error: standard output cannot be written (No space left on device)"
    )


@pytest.mark.parametrize("words", PRINTED)
def test_a_closed_pipe_is_silent(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    assert ended(monkeypatch, words, os.fdopen(write, "w")) == 1
    assert capsys.readouterr().err == ""


def test_what_the_output_cannot_spell_is_written_in_letters_that_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "said").open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "argv", ["tokenlens", "methods", "linf"])
        monkeypatch.setattr(sys, "stdout", file)
        main()
    assert "linf" in (tmp_path / "said").read_text("ascii")


def test_what_a_machine_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, said in (
        (PermissionError(13, "Permission denied", "/a/b"), "Error: /a/b cannot be used (Permission denied); look at"),
        (OSError("so"), "Error: the machine refuses (so); look at"),
        (MemoryError("1 TiB"), "Error: the memory does not suffice (1 TiB); give fewer"),
    ):
        monkeypatch.setattr("tokenlens.commands.listing.show", lambda *_, error=error: (_ for _ in ()).throw(error))
        assert ended(monkeypatch, "data", sys.stdout) == 2
        told = capsys.readouterr().err
        assert told.startswith(said) and told.count("\n") == 1


def test_many_warnings_of_a_kind_are_three_and_a_number(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*_: object) -> None:
        for number in range(5000):
            warnings.warn(f"file {number} is damaged", stacklevel=1)
        warnings.warn("another", stacklevel=1)

    monkeypatch.setattr("tokenlens.commands.listing.show", show)
    said = [f"file {number} is damaged" for number in range(3)] + ["another", "4,997 more of this kind, 5,000 in all"]
    assert call("data").err.splitlines() == [f"Warning: {line}" for line in said]


def test_a_folder_of_very_many_folders_is_one_line(call: Call, here: Path) -> None:
    (here / "many").mkdir()
    for number in range(2000):
        (here / "many" / f"{number:04}").mkdir()
    ended = call("compare", "many")
    fact = "2000 folders in many cannot be read as runs, having no zarr.json, and are left out: 0000, 0001, 0002, ..."
    assert ended.err.splitlines()[0] == f"Warning: {fact}" and "many holds no run that can be read" in ended.sentence
    assert len(ended.err.splitlines()) == 2


def test_very_many_words_are_not_repeated(call: Call) -> None:
    words = [f"folder-{number}" for number in range(5000)]
    sentence = call("compare", *words).sentence
    assert sentence.startswith("Got unexpected extra arguments (folder-1 folder-2 ") and len(sentence) < 1010
