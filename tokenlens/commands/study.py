"""`tokenlens study`: a declared matrix of trainings and extractions, to the end."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..cli import tokenlens
from ..errors import BadInput
from .options import examples, list_option, remote_option

if TYPE_CHECKING:
    from ..workflows.study.runner import Task

EXAMPLES = examples(
    "tokenlens study paper --dry-run",
    "tokenlens study embedded --jobs 2",
    "tokenlens study my-study.yaml --only finetune/shapes,topk",
)


@click.command(epilog=EXAMPLES)
@click.argument("file")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of all that is made.  [default: study-NAME]")
@click.option("--dry-run", is_flag=True, help="Say what it takes, what is there and what is missing; do nothing.")
@click.option("--list", "list_tasks", is_flag=True, help="With --dry-run: every command that is missing.")
@list_option("--only", metavar="WORD,...", help="Tasks with one of these in their names, and what they need.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes at a time.  [default: one for each GPU, or core]")
@remote_option
def study(
    file: str, out: Path | None, dry_run: bool, list_tasks: bool, only: tuple[str, ...], jobs: int | None,
    allow_remote: bool,
) -> None:  # fmt: skip
    """Train, extract, compare and draw the matrix that FILE declares, and go on where it was stopped.

    FILE is a YAML file, or the name of one that comes with the package: embedded, paper. What is there is never
    done again; a run that fails is noted, the rest goes on, and the next call tries it again.
    """
    if list_tasks and not dry_run:
        raise BadInput("--list goes with --dry-run, which does nothing; give both, or leave --list out")
    from ..workflows.study.execute import execute, overview, select_tasks
    from ..workflows.study.matrix import read, shipped
    from ..workflows.study.runner import Notes, devices_here

    declared = read(shipped(file), allow_remote)
    out = out or Path(f"study-{declared.name}")
    devices = devices_here()
    jobs = jobs or len(devices) or os.cpu_count() or 1
    todo = select_tasks(declared, out, only)
    for line in overview(declared, out, todo, jobs):
        click.echo(line)
    if dry_run:
        there = Notes(out).ended(todo)
        for task in todo if list_tasks else ():
            if task.name not in there:
                click.echo(f"{task.name}: {_command_line(task)}")
        return
    if not execute(declared, out, todo, jobs, devices, lambda line: click.echo(line, err=True)):
        raise BadInput(f"part of {declared.name} is missing, as said above; mend it and give the same command again")
    sys.stdout.flush()


def _command_line(task: Task) -> str:
    """The command that does the same as a task, for people: its options have the names of the call's arguments."""
    name = task.call.rpartition(":")[2]
    command = tokenlens.get_command(click.get_current_context(), name)
    assert command is not None
    options = {str(option.name): option for option in command.params}
    words = ["tokenlens", name]
    for key, value in task.arguments.items():
        option = options[key].opts[0]
        for one in value if isinstance(value, list) else [value]:
            positional = isinstance(options[key], click.Argument)
            words += [str(one)] if positional else [option] if one is True else [option, str(one)]
    return shlex.join(words)
