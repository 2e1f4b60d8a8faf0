"""`tokenlens figures`: publication figures of tables and runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from .listing import Row, listing_options, show
from .options import examples, list_option, remote_option, where_option

EXAMPLES = examples(
    "tokenlens figures                          all that there is to draw",
    "tokenlens figures accuracy,proxy --tables  two, and their numbers as LaTeX",
    "tokenlens figures --preset slide --format png",
    "tokenlens figures depth --where dataset=embedded:birds,model=nano",
    "tokenlens figures --list",
)


@click.command(epilog=EXAMPLES)
@listing_options
@click.option("--list", "listed", is_flag=True, help="Say which figures there are.")
@click.option("--results", default="results", show_default=True, type=click.Path(path_type=Path), help="Tables.")
@click.option("--runs", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of runs.")
@click.option("--out", default="figures-out", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@list_option("--format", "formats", default=["pdf,svg,png"], show_default=True, help="Formats of the files.")
@click.option("--preset", default="iccv", show_default=True, help="iccv, cvpr, eccv, lncs, neurips, slide or screen.")
@click.option("--tables", is_flag=True, help="Write the same numbers as LaTeX (booktabs) and Markdown.")
@click.option(
    "--images", default=4, show_default=True, type=click.IntRange(min=1), help="Contact sheet: images (rows)."
)
@click.option("--keep-rate", type=float, help="Contact sheet: keep rate.  [default: 0.5, or else the most frequent]")
@click.option("--stage", type=int, metavar="BLOCK", help="Contact sheet: the stage.  [default: the last]")
@where_option("Figures of one setting, or of images: runs")
@remote_option
def figures(
    names: tuple[str, ...], as_json: bool, listed: bool, results: Path, runs: Path, out: Path,
    formats: tuple[str, ...], preset: str, tables: bool, images: int, keep_rate: float | None, stage: int | None,
    where: tuple[str, ...], allow_remote: bool,
) -> None:  # fmt: skip
    """Draw the figures called NAME, all of them by default, of tables and runs."""
    from tokenlens.figures.catalogue import FIGURES, Source, entries
    from tokenlens.figures.output.write import Request, draw_all

    if listed or as_json:
        rows = [
            Row(figure.name, "one setting" if figure.of_one_setting else "all settings", figure.title)
            for figure in FIGURES.values()
        ]
        show("figure", rows, names, as_json)
        return
    sheet = {"images": images, "keep_rate": keep_rate, "stage": stage}
    request = Request(out, ",".join(formats), preset, tables, sheet, where)
    source = replace(Source.open(results, runs), allow_remote=allow_remote)
    for path, note in draw_all(entries(names), source, request):
        if path is not None:
            click.echo(str(path))
        if note:
            click.echo(note, err=True)
