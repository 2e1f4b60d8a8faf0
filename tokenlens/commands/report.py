"""The command `tokenlens report`."""

from pathlib import Path

import click
from click.core import ParameterSource

from tokenlens.errors import BadInput

from .options import allow_remote


def _there(context: click.Context, option: click.Parameter, folder: str) -> str:
    """A folder that is named has to be there, or a good report would be replaced by one without what it held."""
    name = str(option.name)
    if context.get_parameter_source(name) is not ParameterSource.DEFAULT and not Path(folder).is_dir():
        raise BadInput(f"there is no folder {folder}; say with --{name} where the {name} are, or leave the option out")
    return folder


@click.command()
@click.option("--runs", default="./runs", show_default=True, type=click.Path(), callback=_there, help="Folder of runs.")
@click.option(
    "--results", default="./results", show_default=True, type=click.Path(), callback=_there, help="Folder of tables."
)
@click.option("--out", type=click.Path(), help="File to write.  [default: report.html; with --split the folder report]")
@click.option("--split", is_flag=True, help="Write a folder that loads piece by piece: for many images.")
@click.option("--images", default=500, show_default=True, type=click.IntRange(min=1), help="Images of each data set.")
@click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Runs with these attributes only: method=topk,keep_rate=0.5; several values: method=topk|tome.",
)
@allow_remote
def report(
    runs: str, results: str, out: str | None, split: bool, images: int, where: tuple[str, ...], allow_remote: bool
) -> None:
    """Write one HTML page of runs, findings, figures and patterns, to look at and to send to a colleague.

    It needs no server and no network.
    """
    import sys

    from tokenlens.figures.report.write import write_report

    place = Path(out or ("report" if split else "report.html"))
    done = write_report(Path(runs), Path(results), place, split, images, where, sys.stderr.isatty(), allow_remote)
    for note in done.notes:
        click.echo(note, err=True)
    click.echo(f"{done.path} ({done.size / 1e6:.1f} MB)")
