"""The command `tokenlens figures`."""

from pathlib import Path

import click


@click.command()
@click.option("--runs", default="./runs", show_default=True, type=click.Path(), help="Folder of runs.")
@click.option("--out", default="./figures-out", show_default=True, type=click.Path(), help="Folder for the figures.")
@click.option("--images", default=4, show_default=True, type=click.IntRange(min=1), help="Images (rows) of a sheet.")
@click.option("--keep-rate", type=float, help="Keep rate to show.  [default: 0.5, or else the most frequent]")
@click.option("--stage", type=int, metavar="BLOCK", help="Show the stage at this block.  [default: the last stage]")
@click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Runs with these attributes only: method=topk,keep_rate=0.5; several values: method=topk|tome.",
)
def figures(
    runs: str, out: str, images: int, keep_rate: float | None, stage: int | None, where: tuple[str, ...]
) -> None:
    """Draw a contact sheet for each data set and model among the runs: images by methods."""
    from tokenlens.store import open_runs

    from .sheets import draw_contact_sheets

    for path, left_out in draw_contact_sheets(open_runs(Path(runs)), Path(out), images, keep_rate, stage, where):
        click.echo(str(path))
        if left_out:
            click.echo(f"not shown, being further runs of the same methods: {', '.join(left_out)}", err=True)
