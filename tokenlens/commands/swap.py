"""`tokenlens swap`: the pattern of one model in the weights of others."""

from __future__ import annotations

from typing import Any

import click

from .options import PLACE, examples, list_option, model_options, remote_option, shard_option

EXAMPLES = examples(
    "tokenlens swap --method topk,random --curves  do these matter?",
    "tokenlens swap --weights a.pth --into b.pth   a's pattern, b's weights",
    "tokenlens compare swapped                     image by image",
)


@click.command(epilog=EXAMPLES)
@model_options
@list_option("--into", metavar="FILE,...", help="Weights that follow the pattern too, of the same kind of model.")
@click.option("--curves", is_flag=True, help="How probable its class is, shown what is kept alone, and the rest alone.")
@click.option("--data", help="KIND:PLACE, as `tokenlens data` lists them.  [default: embedded:shapes, or as above]")
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val or test.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images.  [default: 1000 of an embedded set]")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, instead of refusing.")
@remote_option
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images at a time.")
@shard_option
@click.option("--out", type=PLACE, default="swapped", show_default=True, help="Folder of runs.")
def swap(models: dict[str, Any], **settings: Any) -> None:
    """Carry out the patterns of a model in the weights of others.

    What a method keeps is decided by --weights as `extract` does it, and then
    followed by each of --into: so it is told whether a model is right because
    of what it keeps, or of its weights. Runs go into a folder of their own,
    which `compare` reads. A run that was stopped goes on where it was.
    """
    from ..extraction.swap import Swap

    for line in Swap(**settings, **models).run():
        click.echo(line)
