"""`tokenlens compare`: all runs of a folder against each other, into tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tokenlens.records.where import parse_where


@click.command()
@click.argument("runs", default="runs", type=click.Path(path_type=Path))
@click.option(
    "--out", default="results", show_default=True, type=click.Path(path_type=Path), help="Folder for the tables."
)
@click.option(
    "--axis",
    "axes",
    multiple=True,
    metavar="AXIS",
    help="Pairs along this axis only: method, capacity, keep_rate, dataset, seed, radial, object. Repeatable.",
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="This metric only, such as iou. Repeatable.")
@click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Runs with these attributes only: method=topk,keep_rate=0.5; several values: method=topk|tome.",
)
@click.option("--chunk", default=2048, show_default=True, type=click.IntRange(1), help="Images in memory at a time.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read and compute.")
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(1), help="Bootstrap resamples.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of everything drawn at random."
)
@click.option("--csv", is_flag=True, help="Write CSV instead of Parquet.")
@click.option(
    "--accuracy",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Accuracies in percent, columns run,accuracy: for runs that hold none, or published ones.",
)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="NAME",
    help="Anchor of the accuracy proxy: best, topk, none or a run. Repeatable.",
)
@click.option(
    "--findings", is_flag=True, help="Print the verdict on each of the study's five findings, and on what masks tell."
)
@click.option("--strict", is_flag=True, help="Refuse runs that cannot be read instead of leaving them out.")
def compare(runs: Path, out: Path, **options: Any) -> None:
    """Compare all runs in RUNS (default: runs) and write tidy tables.

    \b
    tokenlens compare                                    everything in ./runs into ./results
    tokenlens compare --axis method --metric iou         overlap between methods only
    tokenlens compare --where method=topk,keep_rate=0.5  some runs only
    tokenlens compare --findings                         and what the runs say about the study's findings
    """  # noqa: D301
    from tokenlens.analysis.compare_folder import compare_folder  # numba and pandas take a second: not for --help

    for line in compare_folder(runs, out, where=parse_where(options.pop("where")), **options):
        click.echo(line)
