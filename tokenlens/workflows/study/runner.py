"""Carry out the tasks of a study: what is missing, in parallel, with a note of each that ended.

A task is a call of a function that can be stopped and called again; so the runner needs no more than a note of what has
ended well. Everything it knows lies in files: it may be killed at any moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BadInput, disk_errors
from ...records.atomic import write
from ...signals import Request, Terminated

POLL = 0.5  # seconds between looks at whether this process was asked to end


@dataclass(frozen=True)
class Task:
    """One call."""

    name: str
    call: str
    """the function, as "module:function\""""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """its keywords, of what JSON has: words, numbers, lists, true and false"""
    needs: tuple[str, ...] = ()
    """tasks that have to end before"""
    makes: tuple[Path, ...] = ()
    """what must be there once it has ended"""
    cost: float = 0.0
    """10^9 multiply-adds of all forward and backward passes, about"""
    bytes: float = 0.0
    """on disk afterwards, about"""


@dataclass(frozen=True)
class Note:
    """What became of a task."""

    call: str
    arguments: Mapping[str, Any]
    code: int
    """exit code; 0: it ended well"""
    seconds: float
    last: str
    """the last line that it printed"""


class Notes:
    """The notes of a study, one file a task, below its folder."""

    def __init__(self, out: Path) -> None:
        """`out` is the study's folder."""
        self.folder = out / "tasks"

    def read(self, task: Task) -> Note | None:
        """What became of a task; None where nothing is known, or something else was called then."""
        try:
            found = json.loads(self._path(task).read_text())
            note = Note(
                str(found["call"]),
                dict(found["arguments"]),
                int(found["code"]),
                float(found["seconds"]),
                str(found["last"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return note if (note.call, note.arguments) == (task.call, task.arguments) else None

    def ended(self, tasks: Iterable[Task]) -> set[str]:
        """The names of those that ended well, whose makings are still there, and whose needs are all among these.

        `tasks` are in an order in which each comes after what it needs.
        """
        found: set[str] = set()
        for task in tasks:
            note = self.read(task)
            if note is not None and note.code == 0 and all(path.exists() for path in task.makes):
                found |= {task.name} if set(task.needs) <= found else set()
        return found

    def write(self, task: Task, note: Note) -> None:
        """Write a note, whole or not at all."""
        write(self._path(task), json.dumps(note.__dict__, indent=1) + "\n")

    def forget(self, task: Task) -> None:
        """Let a task be done again."""
        with disk_errors(self.folder):
            self._path(task).unlink(missing_ok=True)

    def clear(self, tasks: Sequence[Task]) -> None:
        """Forget all that has not ended, but for what failed; `tasks` in the order that `ended` takes.

        A note of success would count again as soon as what its task needs was done anew.
        """
        ended = self.ended(tasks)
        for task in tasks:
            note = self.read(task)
            if task.name not in ended and (note is None or note.code == 0):
                self.forget(task)

    def log(self, task: Task) -> Path:
        """Where a task's output goes."""
        return self._path(task).with_suffix(".log")

    def _path(self, task: Task) -> Path:
        return self.folder / f"{task.name}.json"


def execute_tasks(
    tasks: Sequence[Task],
    out: Path,
    jobs: int,
    devices: Sequence[str],
    tell: Callable[[Task, Note], None],
    request: Request,
) -> Iterator[Task]:
    """Do the tasks that have not ended, each when those that it needs have; yields those that failed or were waiting.

    Args:
        tasks: in an order in which each comes after what it needs.
        out: the study's folder.
        jobs: processes at a time.
        devices: what each process sees as CUDA_VISIBLE_DEVICES, in turn; empty: left as it is.
        tell: called with each task as it ends.
        request: once it has come, the commands that run are asked to end, and so is this one.

    Raises:
        Terminated: it came, and they have ended.
    """
    notes = Notes(out)
    ended = notes.ended(tasks)
    left = [task for task in tasks if task.name not in ended]
    failed: dict[str, Task] = {}
    running: dict[Future[Note], tuple[Task, int]] = {}
    free = list(range(jobs))
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        workers = [Worker(devices[slot % len(devices)] if devices else None) for slot in range(jobs)]
        for worker in workers:
            stack.callback(worker.close)
        while left or running:
            ready = [task for task in left if set(task.needs) <= ended][: len(free)]
            for task in ready:
                left.remove(task)
                slot = free.pop(0)
                running[pool.submit(workers[slot].run, task, notes.log(task))] = (task, slot)
            if not running:  # all that is left waits for something that failed
                break
            ended_now = wait(running, timeout=POLL, return_when=FIRST_COMPLETED).done
            if request.came:
                while wait(running, timeout=POLL).not_done:
                    for worker in workers:
                        worker.terminate()
                for future, (task, _) in running.items():
                    if future.result().code == 0:
                        notes.write(task, future.result())
                raise Terminated
            for future in ended_now:
                task, slot = running.pop(future)
                free.append(slot)
                note = future.result()
                notes.write(task, note)
                if note.code == 0:
                    ended.add(task.name)
                else:
                    failed[task.name] = task
                tell(task, note)
    yield from (*failed.values(), *left)


class Worker:
    """A process that makes one call at a time, each in a process that it forks (see `child`)."""

    def __init__(self, device: str | None) -> None:
        """`device` is what tasks see as CUDA_VISIBLE_DEVICES; None: left as it is."""
        # one thread each: as many processes as cores fill the machine, and sums are in the same order however many run
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        if device is not None:
            self.environment["CUDA_VISIBLE_DEVICES"] = device
        self.process: subprocess.Popen[str] | None = None

    def run(self, task: Task, log: Path) -> Note:
        """Do a task; its output goes to a file."""
        began = time.monotonic()
        with disk_errors(log.parent):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.touch()
        code = self._ask(json.dumps([task.call, task.arguments, str(log)]))
        lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return Note(task.call, task.arguments, code, time.monotonic() - began, last)

    def _ask(self, line: str) -> int:
        if self.process is None:
            command = [sys.executable, "-m", "tokenlens.workflows.study.child"]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self.environment)
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return int(answer) if answer else self.close()  # somebody killed it; the next task gets another

    def terminate(self) -> None:
        """Ask the command to end, once it has saved."""
        if self.process is not None:
            self.process.terminate()

    def close(self) -> int:
        """Let the process end; its exit code."""
        if self.process is None:
            return 0
        with suppress(BrokenPipeError):
            self.process.communicate()
        code, self.process = self.process.returncode, None
        return code


def devices_here() -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them; none where there are none."""
    import torch

    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return said.split(",")[:count] if said else [str(index) for index in range(count)]


def lock(out: Path) -> None:
    """Make this process the only one that works on a study, until it ends; BadInput where there is another."""
    from filelock import FileLock, Timeout

    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        held = FileLock(out / ".lock")
        try:
            held.acquire(timeout=0)
        except Timeout as error:
            raise BadInput(
                f"another process works on the study in {out}; wait for it, or give another --out"
            ) from error
    _held.append(held)


_held: list[object] = []  # a lock is let go when nothing holds it
