"""What the tasks of a study call: a function of every room, with plain arguments, so that a note can hold them.

The arguments are called as the options of the command of the same name, which does the same.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenlens.analysis.compare_folder import compare_folder
from tokenlens.figures.catalogue import Source, entries
from tokenlens.figures.output.write import Request, draw_all
from tokenlens.figures.report.write import write_report

from ...extraction.jobs import Job
from ...training.options import Options

with suppress(ImportError):  # slow to import, and better once than in every task; without its extra, Options says so
    import tokenlens.training.finetune  # noqa: F401


def finetune(out: str, **options: Any) -> None:
    """Train; `options` are those of `tokenlens.training.options.Options`."""
    for line in Options(out=Path(out), **options).run():
        print(line)


def extract(
    method: str, out: str, keep_rate: float | str | None = None, remove: int | str | None = None, **settings: Any
) -> None:
    """Extract the runs of a method, at one amount or several between commas; `settings` are those of `Job`."""
    rates = [] if keep_rate is None else [float(rate) for rate in str(keep_rate).split(",")]
    counts = None if remove is None else [int(count) for count in str(remove).split(",")]
    for line in Job(methods=[method], keep_rates=rates, remove=counts, out=Path(out), **settings).run():
        print(line)


def compare(runs: str, out: str, **settings: Any) -> None:
    """Compare all runs; `settings` are those of `compare_folder`."""
    for line in compare_folder(Path(runs), Path(out), **settings):
        print(line)


def figures(runs: str, results: str, out: str, allow_remote: bool = False) -> None:
    """Draw all that runs and tables allow."""
    source = replace(Source.open(results, runs), allow_remote=allow_remote)
    for path, note in draw_all(entries(), source, Request(Path(out))):
        if path is not None:
            print(path)
        if note:
            print(note, file=sys.stderr)


def report(runs: str, results: str, out: str, allow_remote: bool = False) -> None:
    """Write the page."""
    page = write_report(Path(runs), Path(results), Path(out), allow_remote=allow_remote)
    for note in page.notes:
        print(note, file=sys.stderr)
    print(page.path)
