"""`tokenlens study`: a declared matrix of trainings and extractions, to the end."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from ..errors import BadInput
from .options import allow_remote, words


@click.command()
@click.argument("file")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of all that is made.  [default: study-NAME]")
@click.option("--dry-run", is_flag=True, help="Say what it takes, what is there and what is missing; do nothing.")
@click.option("--list", "list_tasks", is_flag=True, help="With --dry-run: every command that is missing.")
@click.option("--only", help="Tasks with one of these words in their names, between commas, and what they need.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes at a time.  [default: one for each GPU, or core]")
@allow_remote
def study(
    file: str, out: Path | None, dry_run: bool, list_tasks: bool, only: str | None, jobs: int | None,
    allow_remote: bool,
) -> None:  # fmt: skip
    """Train, extract, compare and draw the matrix that FILE declares, and go on where it was stopped.

    FILE is a YAML file, or the name of one that comes with the package: embedded, paper. What is there is never
    done again; a run that fails is noted, the rest goes on, and the next call tries it again.

    \b
    tokenlens study paper --dry-run
    tokenlens study embedded --jobs 2
    tokenlens study my-study.yaml --only finetune/shapes,topk
    """  # noqa: D301
    if list_tasks and not dry_run:
        raise BadInput("--list goes with --dry-run, which does nothing; give both, or leave --list out")
    if only is not None and not words(only):
        raise BadInput(f"--only {only!r} names nothing; give words of tasks' names, or leave it out")
    from ..workflows.study.execute import carry, chosen, overview
    from ..workflows.study.matrix import read, shipped
    from ..workflows.study.runner import Notes, devices_here
    from ..workflows.study.tasks import check, conclusion

    declared = read(shipped(file), allow_remote)
    out = out or Path(f"study-{declared.name}")
    devices = devices_here()
    jobs = jobs or len(devices) or os.cpu_count() or 1
    todo = chosen(declared, out, words(only))
    check([*todo, *conclusion(declared, out)[:1]])  # the others take nothing from the file
    for line in overview(declared, out, todo, jobs):
        click.echo(line)
    if dry_run:
        there = Notes(out).ended(todo)
        for task in todo if list_tasks else ():
            if task.name not in there:
                click.echo(f"{task.name}: {shlex.join(('tokenlens', *task.words))}")
        return
    if not carry(declared, out, todo, jobs, devices, lambda line: click.echo(line, err=True)):
        raise BadInput(f"part of {declared.name} is missing, as said above; mend it and give the same command again")
    sys.stdout.flush()
