"""`tokenlens compare`: all runs of a folder against each other, into tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import BadInput
from .listing import json_of, json_option
from .options import PLACE, SEED, examples, list_option, runs_argument, where_option

EXAMPLES = examples(
    "tokenlens compare                       all in ./runs, into ./results",
    "tokenlens compare --axis method --metric iou,emd",
    "tokenlens compare my-runs --where 'method=topk|tome,keep_rate=0.5'",
    "tokenlens compare my-runs --dask        by several processes",
    "tokenlens compare --findings            what the study's findings get",
    "tokenlens compare --findings --json     for programs",
)


@click.command(epilog=EXAMPLES)
@runs_argument
@click.option(
    "--out", default="results", show_default=True, type=PLACE, help="Folder for the tables, or s3://bucket/results."
)
@list_option(
    "--axis",
    "axes",
    metavar="AXIS,...",
    help="Pairs along these axes only: method, capacity, keep_rate, dataset, seed, radial, object, layout, attention, "
    "curve, change; heat maps along several together too, as dataset+capacity.",
)
@list_option("--metric", "metrics", metavar="NAME,...", help="These metrics only, as `tokenlens metrics` lists them.")
@where_option()
@click.option("--chunk", default=2048, show_default=True, type=click.IntRange(1), help="Images in memory at a time.")
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Threads that read and compute; with --dask processes.",
)
@click.option(
    "--dask",
    default="",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Have chunks of images measured by a Dask cluster: one here, or at tcp://host:8786.",
)
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(1), help="Bootstrap resamples.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of whatever is drawn.")
@click.option(
    "--null",
    default="",
    metavar="NAME",
    help="What values are put beside: analytic, other-image, torus or permutation.  [default: each metric's own]",
)
@click.option("--csv", is_flag=True, help="Write CSV instead of Parquet.")
@click.option(
    "--accuracy",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Accuracies in percent, columns run,accuracy: for runs that hold none, or published ones.",
)
@list_option(
    "--anchor", "anchors", metavar="NAME,...", help="Anchors of the accuracy proxy: best, topk, none or a run."
)
@click.option(
    "--findings",
    is_flag=True,
    help="Print the verdict on each of the study's five findings, and on what seeds and masks tell.",
)
@click.option("--strict", is_flag=True, help="Refuse runs that cannot be read instead of leaving them out.")
@json_option("With --findings: the verdicts")
def compare(runs: Path | None, out: Path, where: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Compare all runs in RUNS (default: runs) and write tidy tables."""
    if as_json and not options["findings"]:
        raise BadInput("--json prints the verdicts of --findings; give both, or read the tables in " + str(out))
    from tokenlens.analysis.compare_folder import compare_folder  # numba and pandas take a second: not for --help
    from tokenlens.records.where import parse_where

    for line in compare_folder(runs or Path("runs"), out, where=parse_where(where), **options):
        click.echo(line, err=as_json)
    if as_json:
        from tokenlens.records import tables

        click.echo(json_of([tables.read(out, name) for name in ("findings", "truth") if tables.exists(out, name)]))
