"""Execute a study to its end: plan, say what is there and what is missing, do it, and sum up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from ...errors import BadInput
from ...signals import endings
from .matrix import Study
from .runner import Note, Notes, Task, execute_tasks, lock
from .tasks import conclusion, runs

GPU = 15_000.0  # GFLOPs (multiply-adds) a second: what one of today's data centre GPUs sustains on ViTs in bfloat16
KINDS = ("backbone", "finetune", "extract", "compare", "figures", "report")


def select_tasks(study: Study, out: Path, only: Sequence[str]) -> list[Task]:
    """The runs' tasks whose names hold one of the words of `only`, with all that they need; all without words."""
    every = {task.name: task for task in runs(study, out)}
    if not only:
        return list(every.values())
    wanted = [name for name in every if any(word in name for word in only)]
    if not wanted:
        raise BadInput(f"no task of {study.name} has {' or '.join(map(repr, only))} in its name; see --dry-run --list")
    needed: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in needed:
            needed.add(name)
            wanted += every[name].needs
    return [task for name, task in every.items() if name in needed]


def overview(study: Study, out: Path, todo: Sequence[Task], jobs: int) -> Iterator[str]:
    """What the study takes, what of it is there, and how long the rest will take where that can be told."""
    notes, every = Notes(out), (*todo, *conclusion(study, out))
    done = notes.ended(every)
    yield f"{study.name}: {len(study.cells)} runs of {_axes(study)}. {study.remark}".rstrip()
    counts = f"{'':10}{'tasks':>6}{'there':>6}{'failed':>7}{'missing':>8}"
    yield f"{counts}{'to do, GFLOPs':>15}{'GPU hours':>10}{'on disk, GB':>13}"
    for kind in KINDS:
        mine = [task for task in every if task.name.split("/")[0] == kind]
        there = [task for task in mine if task.name in done]
        failed = [task for task in mine if (note := notes.read(task)) is not None and note.code]
        if mine:
            cost = sum(task.cost for task in mine if task not in there)
            size = sum(task.bytes for task in mine) / 1e9
            yield (
                f"{kind:10}{len(mine):6}{len(there):6}{len(failed):7}{len(mine) - len(there):8}"
                f"{cost:15,.3g}{cost / GPU / 3600:10,.2g}{size:13,.3g}"
            )
    yield f"GPU hours are those of one that does {GPU / 1000:g} TFLOPs a second."
    left = [task for task in todo if task.name not in done]
    seconds = estimate(todo, notes)
    if left and seconds is not None:
        known = counted(len(todo) - len(left), "tasks")
        yield f"About {duration(seconds / jobs)} to go with --jobs {jobs}, by the {known} done."


def _axes(study: Study) -> str:
    """How many of what; the one rate of the un-reduced model is none of the keep rates."""
    amounts = "amounts" if any(cell.remove for cell in study.cells) else "keep rates"
    axes = {"data": "data sets", "model": "models", "method": "methods", "amount": amounts, "seed": "seeds"}
    different = {
        words: {getattr(cell, axis) for cell in study.cells if axis != "amount" or cell.method != "none"}
        for axis, words in axes.items()
    }
    return ", ".join(counted(len(found), words) for words, found in different.items() if found)


def counted(number: int, words: str) -> str:
    """3 models, 1 model."""
    return f"{number} {words if number != 1 else words.removesuffix('s')}"


def estimate(todo: Sequence[Task], notes: Notes) -> float | None:
    """Seconds of one process that the tasks left will take, by those that ended; None while none did."""
    spent: dict[str, tuple[float, float]] = {}
    done = notes.ended(todo)
    for task in todo:
        if task.name in done and (note := notes.read(task)) is not None:
            kind = task.name.split("/")[0]
            cost, seconds = spent.get(kind, (0.0, 0.0))
            spent[kind] = (cost + task.cost, seconds + note.seconds)
    total_cost, total = (sum(values) for values in zip(*spent.values(), strict=True)) if spent else (0.0, 0.0)
    if not total_cost:
        return None
    seconds = 0.0
    for task in todo:
        if task.name not in done:
            # a kind of which none has ended yet is taken to be as fast as the others
            cost, took = spent.get(task.name.split("/")[0], (total_cost, total))
            seconds += task.cost * took / cost if cost else took
    return seconds


def duration(seconds: float) -> str:
    """Hours and minutes."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def execute(
    study: Study, out: Path, todo: Sequence[Task], jobs: int, devices: Sequence[str], tell: Callable[[str], None]
) -> bool:
    """Do what is missing of the runs, then compare, draw and report what there is; whether all of it ended well."""
    lock(out)
    notes, last = Notes(out), conclusion(study, out)
    notes.clear([*runs(study, out), *last])  # of the whole study: what is left out today may need what is redone
    if len(notes.ended(todo)) < len(todo):
        for task in last:  # before there are more runs: whoever stops this in between finds them undone
            notes.forget(task)
    every = [*todo, *last]
    with tqdm(total=len(every), initial=len(notes.ended(every)), desc=study.name, unit="task") as bar:

        def ended(task: Task, note: Note) -> None:
            bar.update(note.code == 0)
            if (seconds := estimate(todo, notes)) is not None:
                bar.set_postfix_str(f"about {duration(seconds / jobs)} to go")
            if note.code:
                tell(f"{task.name} failed ({note.last}); its output is in {notes.log(task)}")

        with endings() as request:
            unfinished = [
                task for part in (todo, last) for task in execute_tasks(part, out, jobs, devices, ended, request)
            ]
    waiting = {task.name for task in unfinished}
    for task in unfinished:
        if notes.read(task) is None:
            tell(f"{task.name} waits for {', '.join(name for name in task.needs if name in waiting)}")
    return not unfinished
