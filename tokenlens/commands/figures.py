"""`tokenlens figures`: publication figures of tables and runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from tokenlens.errors import BadInput
from tokenlens.records.place import place

from .listing import Row, listing_options, show
from .options import PLACE, examples, list_option, pictures_option, remote_option, where_option

EXAMPLES = examples(
    "tokenlens figures                          all that there is to draw",
    "tokenlens figures accuracy,proxy --tables  two, and their numbers as LaTeX",
    "tokenlens figures --preset slide --format png",
    "tokenlens figures birds/runs depth         one, of the runs in a folder",
    "tokenlens figures depth --where dataset=embedded:birds,model=nano",
    "tokenlens figures --list",
)


def _count(_: click.Context, __: click.Parameter, value: str | None) -> int | Literal["all"] | None:
    """Read a number of methods, or the word all."""
    if value is None:
        return None
    if value == "all":
        return "all"
    if not value.isdecimal() or int(value) < 1:
        raise BadInput(f"--methods {value} is no number of methods; give a number from 1 on, or all")
    return int(value)


@click.command(epilog=EXAMPLES, options_metavar="[OPTIONS] [RUNS]")
@listing_options
@click.option("--list", "listed", is_flag=True, help="Say which figures there are.")
@click.option("--results", default="results", show_default=True, type=PLACE, help="Tables.")
@click.option("--runs", type=PLACE, metavar="RUNS", help="The same as the argument.")
@click.option("--out", default="figures-out", show_default=True, type=PLACE, help="Folder.")
@list_option("--format", "formats", default=["pdf,svg,png"], show_default=True, help="Formats of the files.")
@click.option("--preset", default="iccv", show_default=True, help="iccv, cvpr, eccv, lncs, neurips, slide or screen.")
@click.option("--tables", is_flag=True, help="Write the same numbers as LaTeX (booktabs) and Markdown.")
@pictures_option(4, "Contact sheet: how many images (rows), or which.")
@click.option(
    "--methods", callback=_count, metavar="N|all",
    help="Methods that are shown large (examples, depth, ...) or in colour (lines).  [default: 6]",
)  # fmt: skip
@click.option("--keep-rate", type=float, help="Contact sheet: keep rate.  [default: 0.5, or else the most frequent]")
@click.option("--stage", type=int, metavar="BLOCK", help="Contact sheet: the stage.  [default: the last]")
@where_option("Figures of one setting, or of images: runs")
@remote_option
def figures(
    names: tuple[str, ...], as_json: bool, listed: bool, results: Path, runs: Path | None, out: Path,
    formats: tuple[str, ...], preset: str, tables: bool, images: int | tuple[str, ...],
    methods: int | Literal["all"] | None, keep_rate: float | None, stage: int | None, where: tuple[str, ...],
    allow_remote: bool,
) -> None:  # fmt: skip
    """Draw the figures called NAME, all of them by default, of tables and of RUNS (default: runs).

    Of the arguments, the one that is a folder is RUNS, unless a figure has that name.
    """
    from tokenlens.figures.catalogue import FIGURES, Source, entries
    from tokenlens.figures.output.write import Request, draw_all

    if listed or as_json:
        rows = [
            Row(figure.name, "one setting" if figure.of_one_setting else "all settings", figure.title)
            for figure in FIGURES.values()
        ]
        show("figure", rows, names, as_json)
        return
    folder, chosen = _apart(names, FIGURES, runs)
    sheet = {"images": images, "keep_rate": keep_rate, "stage": stage}
    request = Request(out, ",".join(formats), preset, tables, sheet, where, methods, sys.stderr.isatty())
    source = replace(Source.open(results, folder), allow_remote=allow_remote)
    for path, note in draw_all(entries(chosen), source, request):
        if path is not None:
            click.echo(str(path))
        if note:
            click.echo(note, err=True)


def _apart(given: Sequence[str], known: Container[str], option: Path | None) -> tuple[Path, list[str]]:
    """The folder of runs, and the names of figures."""
    folders = [one for one in given if one not in known and (Path(one).is_dir() or os.sep in one or "://" in one)]
    places = [*map(place, folders), *([] if option is None else [option])]
    if len(places) > 1:
        raise BadInput(f"two folders of runs are given, {places[0]} and {places[1]}; give one")
    return places[0] if places else Path("runs"), [one for one in given if one not in folders]
