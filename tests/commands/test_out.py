"""`--out` is looked at before anything is computed, by every command that writes: one sentence, and nothing is made."""

import os
import re
from pathlib import Path

import pytest

from tokenlens.errors import BadInput
from tokenlens.records.out import check_file, check_folder

from .conftest import Call

FOLDERS = ("extract", "compare", "figures", "report --split", "demo", "study embedded", "study embedded --dry-run",
           "finetune", "bench", "synthesize", "detect", "swap", "fid embedded:shapes runs")  # fmt: skip
FILES = ("report", "export")


def there(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
@pytest.mark.parametrize(
    ("place", "fact"),
    [
        ("ftp://host/x", r"ftp:/host/x is an address to which no \w+ are written; give a place on this machine with"),
        ("file:///x", r"file:/x is an address to which no"),
        ("thesis.txt/x", r"thesis\.txt is a file, not a folder, so no \w+ can be written there; give a folder with"),
        ("x" * 300, r"cannot be written \(File name too long\); choose another folder with --out"),
    ],
)
def test_what_can_hold_no_results(call: Call, here: Path, command: str, place: str, fact: str) -> None:
    (here / "thesis.txt").write_text("42")
    before = there(here)
    assert re.search(fact, call(*command.split(), "--out", place).sentence)
    assert there(here) == before and (here / "thesis.txt").read_text() == "42"


@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_is_no_folder(call: Call, here: Path, command: str) -> None:
    (here / "thesis.txt").write_text("42")
    assert "thesis.txt is a file, not a folder, so no " in call(*command.split(), "--out", "thesis.txt").sentence
    assert (here / "thesis.txt").read_text() == "42"


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_devices_and_pipes_stay_what_they_are(call: Call, here: Path, command: str) -> None:
    os.mkfifo(here / "pipe")
    assert re.search("pipe is (a file|a device or a pipe)", call(*command.split(), "--out", "pipe").sentence)
    assert (here / "pipe").is_fifo()


@pytest.mark.parametrize("command", FILES)
def test_a_folder_is_no_file(call: Call, here: Path, command: str) -> None:
    (here / "mine").mkdir()
    assert "mine is a folder" in call(*command.split(), "--out", "mine").sentence


def test_places_that_will_do(tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("")
    for place in (tmp_path, tmp_path / "new" / "newer", tmp_path / "C:", Path("relative")):
        check_folder(place, "runs")
    for place in (tmp_path / "old.html", tmp_path / "new" / "x.html"):
        check_file(place, "reports")
    (tmp_path / "lost").symlink_to("nowhere")
    with pytest.raises(BadInput, match="lost is a link, and only a plain file is ever replaced"):
        check_file(tmp_path / "lost", "reports")
