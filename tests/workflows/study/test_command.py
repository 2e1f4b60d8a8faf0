"""`tokenlens study` before it does anything: what it says of a study, and what it refuses."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tokenlens.cli import tokenlens
from tokenlens.commands.study import study
from tokenlens.errors import BadInput
from tokenlens.workflows.study.execute import estimate, execute, select_tasks
from tokenlens.workflows.study.matrix import read
from tokenlens.workflows.study.runner import Note, Notes

TINY = Path(__file__).with_name("tiny.yaml")


def said(*words: str) -> str:
    return CliRunner().invoke(study, [str(TINY), "--dry-run", *words], catch_exceptions=False).output


def test_a_dry_run_says_what_there_is_to_do_and_touches_nothing(tmp_path: Path) -> None:
    lines = said("--out", str(tmp_path / "out"), "--list").splitlines()
    assert lines[0].startswith("tiny: 8 runs of 2 data sets, 1 model, 4 methods, 1 keep rate, 1 seed.")
    rows = {line.split()[0]: line.split()[1:5] for line in lines[2:7]}
    assert rows["finetune"] == ["8", "0", "0", "8"] and rows["backbone"] == ["2", "0", "0", "2"]
    assert sum(": tokenlens " in line for line in lines) == 2 + 8 + 8
    assert not (tmp_path / "out").exists()


def test_only_takes_what_is_needed_too(tmp_path: Path) -> None:
    names = [task.name for task in select_tasks(read(TINY), tmp_path, ["extract/embedded-shapes/nano-tiny/topk"])]
    place = "embedded-shapes/nano-tiny"
    assert names == [f"backbone/{place}", f"finetune/{place}/topk-0.5-s0", f"extract/{place}/topk-0.5-s0"]
    with pytest.raises(BadInput, match="no task of tiny has 'evit' in its name"):
        select_tasks(read(TINY), tmp_path, ["evit"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--list"], "--list goes with --dry-run"),
        (["--dry-run", "--only", ""], "--only '' names nothing"),
        (["--dry-run", "--only", ","], "--only ',' names nothing"),
    ],
)
def test_options_that_cannot_be_meant(tmp_path: Path, words: list[str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        CliRunner().invoke(study, [str(TINY), "--out", str(tmp_path / "out"), *words], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_a_value_that_cannot_be_is_told_before_anything_is_done(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TINY.read_text().replace("resamples: 20", "resamples: 0"))
    for words in ([], ["--dry-run"]):
        with pytest.raises(
            BadInput, match=r"mine\.yaml: the resamples of compare is 0; give a whole number of at least 1"
        ):
            CliRunner().invoke(study, [str(path), "--out", str(tmp_path / "out"), *words], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_what_is_listed_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    lines = said("--out", str(tmp_path / "my study"), "--list").splitlines()
    (line,) = [line for line in lines if line.startswith("backbone/embedded-shapes")]
    words = shlex.split(line.partition(": ")[2])
    assert words[0] == "tokenlens" and str(tmp_path / "my study/models/embedded-shapes/nano-tiny/backbone") in words
    for line in lines:  # each is a command that takes what it is given
        if ": tokenlens " in line:
            _, name, *words = shlex.split(line.partition(": ")[2])
            command = tokenlens.get_command(None, name)
            assert command is not None
            command.make_context(name, words)


def test_whatever_is_carried_out_first_forgets_what_follows_from_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = read(TINY)
    every, notes = select_tasks(declared, tmp_path, []), Notes(tmp_path)
    for task in every:
        notes.write(task, Note(task.call, task.arguments, 0, 1.0, ""))
        for made in task.makes:
            made.parent.mkdir(parents=True, exist_ok=True)
            made.touch()
    stale = next(task for task in every if task.name == "backbone/embedded-shapes/nano-tiny")
    notes.write(stale, Note(stale.call, {"other": "arguments"}, 0, 1.0, ""))
    monkeypatch.setattr(
        "tokenlens.workflows.study.execute.execute_tasks", lambda *_: iter(())
    )  # killed before anything ends
    execute(declared, tmp_path, [stale], 1, [], print)
    notes.write(stale, Note(stale.call, stale.arguments, 0, 1.0, ""))
    ended = notes.ended(every)
    assert ended == {task.name for task in every if "scenes" in task.name} | {stale.name}


def test_the_time_left_comes_from_what_was_done(tmp_path: Path) -> None:
    todo, notes = select_tasks(read(TINY), tmp_path, []), Notes(tmp_path)
    assert estimate(todo, notes) is None
    backbones = [task for task in todo if task.name.startswith("backbone")]
    for made in backbones[0].makes:
        made.parent.mkdir(parents=True)
        made.touch()
    notes.write(backbones[0], Note(backbones[0].call, backbones[0].arguments, 0, 60.0, ""))
    # the other backbone costs the same; the rest is taken to go as fast
    left = estimate(todo, notes)
    share = sum(task.cost for task in todo if task is not backbones[0]) / backbones[0].cost
    assert left == pytest.approx(60 * share)
    assert "by the 1 task done" in said("--out", str(tmp_path))


def test_an_unknown_study_offers_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"no study file called 'embeded'; did you mean embedded\?"):
        CliRunner().invoke(study, ["embeded"], catch_exceptions=False)
