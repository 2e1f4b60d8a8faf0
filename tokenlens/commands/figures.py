"""The command `tokenlens figures`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from .options import allow_remote


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listed", is_flag=True, help="Say which figures there are.")
@click.option("--results", default="./results", show_default=True, type=click.Path(path_type=Path), help="Tables.")
@click.option("--runs", default="./runs", show_default=True, type=click.Path(path_type=Path), help="Folder of runs.")
@click.option("--out", default="./figures-out", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--format", "kinds", default="pdf,svg,png", show_default=True, help="Formats of the files.")
@click.option("--preset", default="iccv", show_default=True, help="iccv, cvpr, eccv, lncs, neurips, slide or screen.")
@click.option("--tables", is_flag=True, help="Write the same numbers as LaTeX (booktabs) and Markdown.")
@click.option(
    "--images", default=4, show_default=True, type=click.IntRange(min=1), help="Contact sheet: images (rows)."
)
@click.option("--keep-rate", type=float, help="Contact sheet: keep rate.  [default: 0.5, or else the most frequent]")
@click.option("--stage", type=int, metavar="BLOCK", help="Contact sheet: the stage.  [default: the last]")
@click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Figures of one setting, or of images: runs with these attributes only: dataset=embedded:shapes,model=nano; "
    "several values: method=topk|tome.",
)
@allow_remote
def figures(
    names: tuple[str, ...], listed: bool, results: Path, runs: Path, out: Path, kinds: str, preset: str, tables: bool,
    images: int, keep_rate: float | None, stage: int | None, where: tuple[str, ...],
    allow_remote: bool,
) -> None:  # fmt: skip
    """Draw the figures called NAME, all of them by default, of tables and runs.

    \b
    tokenlens figures                             everything that ./runs and ./results allow
    tokenlens figures accuracy proxy --tables     two of them, and their numbers as LaTeX and Markdown
    tokenlens figures --preset slide --format png
    tokenlens figures depth chance --where dataset=embedded:birds,model=nano
    """  # noqa: D301
    from tokenlens.figures.catalogue import FIGURES, Source, entries
    from tokenlens.figures.output.write import Request, draw_all

    if listed:
        for entry in FIGURES.values():
            click.echo(f"{entry.name:15} {entry.title}")
        return
    sheet = {"images": images, "keep_rate": keep_rate, "stage": stage}
    request = Request(out, kinds, preset, tables, sheet, where)
    for path, note in draw_all(entries(names), replace(Source.open(results, runs), allow_remote=allow_remote), request):
        if path is not None:
            click.echo(str(path))
        if note:
            click.echo(note, err=True)
