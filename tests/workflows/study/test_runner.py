"""Tasks in processes: in order, in parallel, noted, and never done twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tokenlens.errors import BadInput
from tokenlens.signals import Request, Terminated
from tokenlens.workflows.study.matrix import Study
from tokenlens.workflows.study.runner import Note, Notes, Task, Worker, execute_tasks, lock
from tokenlens.workflows.study.tasks import STEPS, conclusion, runs

Write = Callable[..., Study]
GOOD, OTHER, BAD = "logging:warning", "logging:error", f"{STEPS}:report"
SAYS = {"msg": "all is well"}


def good(name: str, **rest: Any) -> Task:
    return Task(name, GOOD, SAYS, **rest)


def bad(name: str) -> Task:
    """Neither runs nor tables: a refusal."""
    return Task(name, BAD, {"runs": "nowhere", "results": "nowhere", "out": "nowhere.html"})


def noted(task: Task, code: int = 0) -> Note:
    return Note(task.call, task.arguments, code, 1.0, "")


def carried(tasks: list[Task], out: Path, jobs: int = 2) -> tuple[list[str], list[tuple[str, int]]]:
    """Names of what is unfinished, and (name, code) of what ended, in order."""
    ended: list[tuple[str, int]] = []
    unfinished = execute_tasks(tasks, out, jobs, [], lambda task, note: ended.append((task.name, note.code)), Request())
    return [task.name for task in unfinished], ended


@pytest.mark.long
def test_a_request_to_end_reaches_the_commands_and_leaves_no_note(tmp_path: Path) -> None:
    task = Task(
        "a", f"{STEPS}:extract", {"method": "topk", "keep_rate": 0.5, "limit": 99999, "out": str(tmp_path / "runs")}
    )
    request, notes = Request(), Notes(tmp_path)

    def come() -> None:
        while not (tmp_path / "runs").is_dir():  # it has begun
            time.sleep(0.05)
        request.came = True

    threading.Thread(target=come, daemon=True).start()
    with pytest.raises(Terminated):
        list(execute_tasks([task], tmp_path, 1, [], lambda *_: None, request))
    assert notes.read(task) is None


@pytest.mark.long
def test_a_failure_is_noted_the_rest_goes_on_and_the_next_call_tries_again(tmp_path: Path) -> None:
    tasks = [bad("a"), good("b", needs=("a",)), good("c"), good("d", needs=("c",))]
    unfinished, ended = carried(tasks, tmp_path)
    assert unfinished == ["a", "b"] and dict(ended) == {"a": 2, "c": 0, "d": 0}
    assert [name for name, _ in ended].index("c") < [name for name, _ in ended].index("d")
    notes = Notes(tmp_path)
    failed = notes.read(tasks[0])
    assert failed is not None and failed.last.startswith("Error: there are neither runs in nowhere nor tables")
    assert "all is well" in notes.log(tasks[2]).read_text()
    tasks[0] = good("a")
    unfinished, ended = carried(tasks, tmp_path)
    assert not unfinished and ended == [("a", 0), ("b", 0)]  # c and d are not done again


def test_a_task_counts_as_done_only_with_its_arguments_and_what_it_makes(tmp_path: Path) -> None:
    notes, made = Notes(tmp_path), tmp_path / "made"
    task = Task("a/b", GOOD, {"whole": 1, "rates": [0.1, 0.7], "off": False, "none": None}, makes=(made,))
    notes.write(task, noted(task))
    assert not notes.ended([task])
    made.touch()
    assert notes.ended([task]) == {"a/b"}
    assert not notes.ended([replace(task, arguments={**task.arguments, "whole": 2})])
    assert not notes.ended([replace(task, call=OTHER)])
    for text in ("{", "[]", '{"call": 1}', '{"call": "a", "arguments": 1}'):  # half a note is none
        notes.log(task).with_suffix(".json").write_text(text)
        assert notes.read(task) is None


def test_what_follows_from_a_task_that_is_done_anew_is_done_anew(tmp_path: Path) -> None:
    tasks = [good("a"), good("b", needs=("a",)), good("c")]
    assert carried(tasks, tmp_path, jobs=1) == ([], [("a", 0), ("b", 0), ("c", 0)])
    tasks[0] = Task("a", OTHER, SAYS)
    assert Notes(tmp_path).ended(tasks) == {"c"}
    assert carried(tasks, tmp_path, jobs=1) == ([], [("a", 0), ("b", 0)])


def test_what_follows_is_done_anew_though_what_it_needs_was_carried_out_alone(tmp_path: Path) -> None:
    notes, tasks = Notes(tmp_path), [good("a"), good("b", needs=("a",)), bad("c")]
    for task, code in zip(tasks, (0, 0, 2), strict=True):
        notes.write(task, noted(task, code))
    tasks[0] = Task("a", OTHER, SAYS)
    notes.clear(tasks)
    notes.write(tasks[0], noted(tasks[0]))
    assert notes.ended(tasks) == {"a"}
    failed = notes.read(tasks[2])
    assert failed is not None and failed.code == 2  # is still told as failed


def test_arguments_are_those_of_the_study(write: Write, tmp_path: Path) -> None:
    study = write(backbone={"recipe": "shapes", "set": {"schedule.epochs": 2}}, finetune={"recipe": "shapes"})
    every = {task.name: task for task in runs(study, tmp_path)}
    assert len(every) == 2 + 2 * len(study.cells)
    backbone, tuned = every["backbone/embedded-birds/nano"], every["finetune/embedded-birds/nano/topk-0.5-s0"]
    extracted = every["extract/embedded-birds/nano/topk-0.5-s0"]
    assert tuned.needs == (backbone.name,) and extracted.needs == (tuned.name,)
    assert tuned.arguments["weights"] == str(backbone.makes[0])
    assert extracted.arguments["weights"] == str(tuned.makes[0]) and "model" not in extracted.arguments
    assert (
        backbone.arguments["aside"] is tuned.arguments["aside"] is True
    )  # or a changed recipe would be refused for good
    assert backbone.arguments["changes"] == ["schedule.epochs=2"] and tuned.arguments["changes"] == []
    assert all(json.loads(json.dumps(task.arguments)) == task.arguments for task in every.values())
    # cheaper by the tokens that are gone, and by two epochs of ten
    whole = every["finetune/embedded-birds/nano/none-1-s0"]
    assert backbone.cost == pytest.approx(whole.cost / 5) and tuned.cost < whole.cost


def test_a_method_may_be_trained_with_values_of_its_own(write: Write, tmp_path: Path) -> None:
    values = {"set": {"schedule.epochs": 2}, "methods": {"tome": {"schedule.epochs": 5, "optimizer.lr": 0.1}}}
    every = {task.name: task for task in runs(write(finetune={"recipe": "shapes", **values}), tmp_path)}
    topk, tome = (every[f"finetune/embedded-birds/nano/{name}-0.5-s0"] for name in ("topk", "tome"))
    assert topk.arguments["changes"] == ["schedule.epochs=2"]
    assert tome.arguments["changes"] == ["schedule.epochs=5", "optimizer.lr=0.1"]
    assert tome.cost > 2 * topk.cost


def test_a_backbone_may_start_from_that_of_another_set(write: Write, tmp_path: Path) -> None:
    start = {"embedded:birds": "embedded:tags", "embedded:tags": "embedded:shapes"}
    study = write(backbone={"recipe": "nano", "start": start}, finetune={"recipe": "shapes"})
    every = {task.name: task for task in runs(study, tmp_path)}
    names = [f"backbone/embedded-{data}/nano" for data in ("shapes", "tags", "birds")]
    assert [name for name in every if name.startswith("backbone")] == names  # tags too, though no run is asked of it
    assert [every[name].needs for name in names] == [(), (names[0],), (names[1],)]
    begin = [every[name].arguments["weights"] for name in names]
    assert begin == ["random", *(str(every[name].makes[0]) for name in names[:2])]
    assert every["finetune/embedded-birds/nano/topk-0.5-s0"].needs == (names[2],)


def test_off_the_shelf_methods_are_only_extracted(write: Write, tmp_path: Path) -> None:
    study = write()
    tasks = {task.name: task.arguments for task in runs(study, tmp_path)}  # all amounts of a method in one pass
    ours = [f"extract/embedded-{data}/nano/{name}-s0" for data in ("shapes", "birds")
            for name in ("none-1", "topk-0.25+0.5", "tome-0.25+0.5")]  # fmt: skip
    assert list(tasks) == ours and tasks[ours[1]]["keep_rate"] == "0.25,0.5"


def test_settings_that_are_null_are_left_out_or_null(write: Write, tmp_path: Path) -> None:
    off = {"limit": None, "features": False, "split": "test"}
    study = write(backbone={"recipe": "shapes", "set": {"data.limit": None}}, extract=off, compare={"chunk": None})
    every = {task.name: task for task in (*runs(study, tmp_path), *conclusion(study, tmp_path))}
    assert every["backbone/embedded-birds/nano"].arguments["changes"] == ["data.limit=null"]
    assert not {"limit", "features", "chunk"} & {key for task in every.values() for key in task.arguments}
    assert every["extract/embedded-birds/nano/none-1-s0"].arguments["split"] == "test"
    assert every["figures"].makes == (tmp_path / "figures",)


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (
            {"data": ["folder:/a_b", "folder:/a-b"]},
            "two tasks would be .*folder--a-b.*, with folder:/a_b and folder:/a-b",
        ),
        ({"keep_rates": [0.5, 0.50000001]}, "two tasks would be .*topk-0.5-s0, with 0.5 and 0.50000001"),
        ({"models": ["resnet18"]}, "resnet18 is a ResNet, which tokenlens does not understand"),
        ({"models": ["swin_tiny_patch4_window7_224"]}, "is a SwinTransformer, which"),
    ],
)
def test_runs_that_cannot_be_are_refused(write: Write, tmp_path: Path, axes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        runs(write(axes), tmp_path)


def test_one_study_is_worked_on_by_one_process(tmp_path: Path) -> None:
    program = f"""from pathlib import Path; from tokenlens.workflows.study.runner import lock
lock(Path({str(tmp_path)!r})); print('held', flush=True); input()"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(BadInput, match="another process works on the study"):
            lock(tmp_path)
        other.kill()
    lock(tmp_path)  # the lock goes with its holder


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc for children")
def test_tasks_end_with_the_process_that_asked_for_them(tmp_path: Path) -> None:
    """A task that outlived it would write beside the next one's."""
    given = {"method": "topk", "keep_rate": 0.5, "limit": 99999, "out": str(tmp_path / "runs")}
    log = tmp_path / "log"
    program = f"""import pathlib
from tokenlens.workflows.study.runner import Task, Worker
Worker(None).run(Task("a", {f"{STEPS}:extract"!r}, {given!r}), pathlib.Path({str(log)!r}))"""
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        until = time.monotonic() + 120
        while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        (worker,) = _children(parent.pid)
        (command,) = _children(worker)
        parent.kill()
    until = time.monotonic() + 60
    while (_lives(worker) or _lives(command)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _lives(worker) and not _lives(command)


def test_a_worker_that_was_killed_is_replaced(tmp_path: Path) -> None:
    worker, log = Worker(None), tmp_path / "log"
    assert worker.run(good("a"), log).code == 0
    assert worker.process is not None
    worker.process.kill()
    worker.process.wait()
    assert worker.run(good("a"), log).code == -signal.SIGKILL
    assert worker.run(good("a"), log).code == 0 and worker.close() == 0


def test_a_worker_whose_study_was_killed_ends_without_a_word(tmp_path: Path) -> None:
    heard, told = os.pipe()
    os.close(heard)
    line = json.dumps([GOOD, SAYS, str(tmp_path / "log")])
    command = [sys.executable, "-m", "tokenlens.workflows.study.child"]
    ended = subprocess.run(command, input=line + "\n", stdout=told, stderr=subprocess.PIPE, text=True)
    os.close(told)
    assert (ended.returncode, ended.stderr) == (0, "") and (tmp_path / "log").exists()


def _stat(process: int | str) -> list[str]:
    """State and parent of a process, and more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["gone", "0"]


def _children(process: int) -> list[int]:
    every = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [int(name) for name in every if _stat(name)[1] == str(process)]


def _lives(process: int) -> bool:
    """Whether it runs: a process that has ended stays listed where nobody asks how."""
    return _stat(process)[0] not in ("gone", "Z", "X")
