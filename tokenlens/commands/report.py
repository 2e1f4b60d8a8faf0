"""`tokenlens report`: one HTML page of runs, findings, figures and patterns."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .options import PLACE, examples, pictures_option, remote_option, runs_argument, there, where_option

EXAMPLES = examples(
    "tokenlens report",
    "tokenlens report my-runs --results my-results --out page.html",
    "tokenlens report --split --images 5000 --out report",
)


@click.command(epilog=EXAMPLES)
@runs_argument
@click.option("--results", type=PLACE, help="Folder of tables.  [default: results]")
@click.option(
    "--out",
    type=PLACE,
    help="File to write.  [default: report.html; with --split the folder report]",
)
@click.option("--split", is_flag=True, help="Write a folder that loads piece by piece: for many images.")
@pictures_option(500, "Images of each data set: how many, or which.")
@where_option()
@remote_option
def report(
    runs: Path | None, results: Path | None, out: Path | None, split: bool, images: int | tuple[str, ...],
    where: tuple[str, ...], allow_remote: bool,
) -> None:  # fmt: skip
    """Write one HTML page of RUNS (default: runs), findings, figures and patterns.

    It is to look at and to send to a colleague, and needs no server and no network.
    """
    # a good report would be replaced by one without what it held, were a folder that is named not there
    runs, results = there("--runs", runs, "runs"), there("--results", results, "results")
    from tokenlens.figures.report.write import write_report

    place = out or Path("report" if split else "report.html")
    done = write_report(runs, results, place, split, images, where, sys.stderr.isatty(), allow_remote)
    for note in done.notes:
        click.echo(note, err=True)
    click.echo(f"{done.path} ({done.size / 1e6:.1f} MB)")
