"""`tokenlens extract`: patterns of one or more methods into a folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .words import numbers, words


@click.command()
@click.option("--method", "method", default="topk", show_default=True, help="One or more, between commas.")
@click.option(
    "--keep-rate", "keep_rate", help="One or more, between commas; 0.7/0.5/0.3 is one a block.  [default: 0.5]"
)
@click.option("--keep", help="Counts instead of rates: patch tokens left after each block, 98/49/24.")
@click.option("--remove", type=click.IntRange(min=1), help="Off the shelf instead: so many tokens go at every block.")
@click.option("--decreasing", is_flag=True, help="With --remove: twice as many at the first block, none at the last.")
@click.option("--blocks", help="Where to reduce, 0-indexed.  [default: 3,6,9]")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the method; repeatable.")
@click.option("--model", help="nano, or a timm name.  [default: nano, or what --weights says]")
@click.option("--weights", help="A file, hf:owner/name, or random.  [default: the published ones]")
@click.option("--heads", type=click.IntRange(min=1), help="Attention heads, where neither name nor weights tell.")
@click.option("--data", default="embedded:shapes", show_default=True, help="embedded:NAME or folder:PATH.")
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val or test.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images.  [default: 1000 of an embedded set]")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, instead of refusing.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images at a time.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="auto: float32 on CPU, bfloat16 on CUDA.",
)
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read images.")
@click.option("--features", is_flag=True, help="Store class-token features too.")
@click.option("--soft", is_flag=True, help="Store the soft maps of soft mergers too.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of whatever is drawn.")
@click.option("--out", type=click.Path(path_type=Path), default="runs", show_default=True, help="Folder of runs.")
def extract(**settings: Any) -> None:
    """Extract the patterns of one or more methods into a folder of runs.

    A run that was stopped goes on where it was, a finished one is left alone.

    \b
    tokenlens extract --method topk,tome,random --keep-rate 0.25,0.5
    tokenlens extract --method atc-average --data folder:photos --model deit_small_patch16_224
    tokenlens extract --weights best_checkpoint.pth --method dpcknn --keep-rate 0.5
    """  # noqa: D301
    from ..jobs import Job

    rates = [numbers(rate, float, "keep rate") for rate in words(settings.pop("keep_rate"))]
    keep, blocks = settings.pop("keep"), settings.pop("blocks")
    job = Job(
        methods=words(settings.pop("method")),
        keep_rates=[rate[0] if len(rate) == 1 else rate for rate in rates],
        keep=numbers(keep, int, "keep") if keep else None,
        blocks=numbers(blocks, int, "blocks", ",") if blocks else None,
        **settings,
    )
    for result in job.run():
        click.echo(result)
