"""A run that is killed anywhere goes on to the bit-identical result; a finished one is left alone."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tokenlens.records.store import open_run, open_runs

SETTINGS = ("extract", "--method", "random,sit", "--limit", 26, "--batch-size", 3, "--features", "--soft")

# SIGKILL at the given count of file replacements, when the new content lies beside and the old is still in place
KILLED_WRITING = """
import pathlib
replace, count = pathlib.Path.replace, [0]
def counted(self, target):
    count[0] += 1
    if count[0] == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = counted
"""
# after five batches of each of two runs; what a shell put into the background ignores Ctrl-C
WAITS_TO_BE_STOPPED = """
signal.signal(signal.SIGINT, signal.default_int_handler)
import time, tokenlens.extraction.feed as module
record, calls = module.record, [0]
def waiting(*given, **more):
    calls[0] += 1
    if calls[0] > 10:
        time.sleep(300)
    return record(*given, **more)
module.record = waiting
"""


@pytest.fixture(scope="module")
def uninterrupted(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    process = start(*SETTINGS, "--out", out)
    process.join(300)
    assert process.exitcode == 0, process.said.read_text()
    return out


def compare(one: Path, other: Path, same_run: Any) -> None:
    folders = sorted(p.name for p in one.iterdir())
    assert len(folders) == 2 and folders == sorted(p.name for p in other.iterdir())  # the runs, and nothing beside
    assert not list(other.rglob("*.partial"))
    for name in folders:
        same_run(one / name, other / name)


@pytest.mark.long
def test_killed_at_many_writes(start: Any, uninterrupted: Path, same_run: Any, tmp_path: Path) -> None:
    out, kills = tmp_path / "killed", 0
    at = [1, 7, 23, 47, 61, 38, 75, 90, 52, 33, 44, 66]  # while making the group, in arrays, between chunks, at the end
    for count in [*at, 10_000]:
        process = start(*SETTINGS, "--out", out, before=KILLED_WRITING.format(at=count))
        process.join(300)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, process.said.read_text()
        kills += 1
        if out.is_dir():
            for run in open_runs(out, strict=True):  # readable after every kill, and only whole chunks
                assert run.attrs["written"] % 6 == 0 or run.attrs["written"] == 26
                assert (run["tokens_left"] > 0).all()
    assert kills >= 4
    compare(uninterrupted, out, same_run)


@pytest.mark.long
def test_killed_at_any_time(start: Any, uninterrupted: Path, same_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    for wait in (0.0, 0.7, 1.1, 1.6):
        process = start(*SETTINGS, "--out", out)
        time.sleep(wait)
        process.kill()
        process.join(300)
    process = start(*SETTINGS, "--batch-size", 7, "--out", out)  # a begun run goes on with its own batches
    process.join(300)
    assert process.exitcode == 0, process.said.read_text()
    if all(open_run(p).attrs["batch_size"] == 3 for p in out.iterdir() if not p.name.startswith(".")):
        compare(uninterrupted, out, same_run)


@pytest.mark.long
def test_interrupted_by_hand_with_another_batch_size(
    start: Any, uninterrupted: Path, same_run: Any, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    process = start(*SETTINGS, "--out", out, before=WAITS_TO_BE_STOPPED)
    until = time.monotonic() + 120
    while not (out.is_dir() and any(run.attrs["written"] for run in open_runs(out, strict=True))):
        assert time.monotonic() < until and process.is_alive(), process.said.read_text()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.join(300)
    last = process.said.read_text().replace("\r", "\n").strip().split("\n")[-1]
    assert process.exitcode == 130
    assert last == "Stopped. What was written is kept; the same command goes on from there."
    assert "Traceback" not in process.said.read_text()
    for begun in open_runs(out):
        assert begun.attrs["written"] in (6, 12)
    process = start(*SETTINGS, "--batch-size", 5, "--out", out)
    process.join(300)
    sizes = {run.attrs["run"]: run.attrs["batch_size"] for run in open_runs(out)}
    assert len(sizes) == 2 and 3 in sizes.values()
    for name, size in sizes.items():
        if size == 3:
            same_run(uninterrupted / name, out / name)


def test_a_finished_run_is_not_redone(call: Any, tmp_path: Path) -> None:
    words = ("extract", "--limit", 4, "--out", tmp_path)
    first = call(*words)
    assert first.code == 0 and "images/s ->" in first.out
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = call(*words, "--batch-size", 3, "--workers", 1)
    assert second.code == 0 and "already there ->" in second.out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    assert first.out.split(", ")[0] == second.out.split(", ")[0]  # the accuracy is told again


def test_a_changed_setting_makes_another_run(run_job: Any, tmp_path: Path) -> None:
    (first,) = run_job(tmp_path, methods=["random"], limit=1)
    weights = Path(__file__).parents[2] / "tokenlens" / "weights" / "nano.safetensors"
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"keep_rates": [0.25]},
        {"blocks": [2, 6, 9]},
        {"limit": 2},
        {"precision": "bfloat16"},
        {"features": "float16"},
        {"split": "test"},
        {"weights": "random"},
        {"weights": str(weights), "model": "nano"},
        {"keep": [98, 49, 23]},
    ]
    others = [run_job(tmp_path, **{"methods": ["random"], "limit": 1, **change})[0] for change in changes]
    others += run_job(tmp_path, methods=["kmedoids"], limit=1)
    others += run_job(tmp_path, methods=["kmedoids"], limit=1, options=["equal_weight=true"])
    assert len({first, *others}) == 1 + len(others)
    assert len(open_runs(tmp_path, strict=True)) == 1 + len(others)
