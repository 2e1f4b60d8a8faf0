"""`tokenlens fid`: how good drawn pictures are, beside real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import DEVICE, PLACE, examples

EXAMPLES = examples(
    "tokenlens fid embedded:shapes images",
    "tokenlens fid imagenet/val images --per-class 5",
    "tokenlens fid real drawn --weights inception-2015-12-05.pt",
)
COUNT = click.IntRange(min=1)


@click.command(epilog=EXAMPLES)
@click.argument("real")
@click.argument("drawn", nargs=-1, required=True)
@click.option(
    "--features",
    type=click.Choice(["auto", "inception", "nano"]),
    default="auto",
    show_default=True,
    help="Whose; auto: nano beside embedded:shapes, else inception.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Of Inception.  [default: cached, or fetched]")
@click.option("--per-class", type=COUNT, help="Of REAL and DRAWN, so many of each of their folders.")
@click.option("--limit", type=COUNT, help="Only so many pictures of each.  [default: 1000 of a data set]")
@click.option("--batch-size", type=COUNT, default=32, show_default=True, help="Pictures at a time.")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute.")
@click.option("--out", type=PLACE, default="results", show_default=True, help="Folder of tables.")
@click.option("--csv", is_flag=True, help="Write the table as CSV instead of Parquet.")
def fid(**settings: Any) -> None:
    """Compare DRAWN pictures with REAL ones: FID, precision and recall.

    REAL is a folder, or a data set as KIND:PLACE; DRAWN are folders, or one that `tokenlens synthesize` filled. Rows go
    into the table `quality` in the folder of results. Of embedded shapes it is said how many are recognised.
    """
    from ..synthesis.judged import Quality

    for line in Quality(**settings).run():
        click.echo(line)
