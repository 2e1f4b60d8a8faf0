"""`tokenlens detect`: a detector with reducers over a set; patterns into a run, AP of boxes and masks."""

from __future__ import annotations

from typing import Any

import click

from .options import DEVICE, PLACE, SEED, blocks_of, examples, list_option, pairs_option, rate_of, shard_option

EXAMPLES = examples(
    "tokenlens detect --method atc-average --keep-rate 0.5 --limit 16",
    "tokenlens detect --method atc-single,tome,random --keep-rate 0.25,0.5,0.7",
    "tokenlens detect --data coco:PATH --weights FILE.pth --keep-rate 0.7",
)


@click.command(epilog=EXAMPLES)
@list_option("--method", help="One or more, between commas.  [default: atc-average, or what --weights says]")
@list_option("--keep-rate", help="One or more; of the tokens that are there.  [default: 0.5, or as above]")
@list_option("--blocks", help="Where to reduce, 0-indexed.  [default: 3,6,9, or as above]")
@pairs_option("--option", "options", help="Of the method, as `tokenlens methods NAME` lists them.")
@click.option(
    "--weights", default="nano", show_default=True, help="nano, a file (.pth, .safetensors), or hf:OWNER/NAME:RATE."
)
@click.option("--heads", type=click.IntRange(min=1), help="Attention heads, where the width is no DeiT's.")
@click.option("--data", default="embedded:scenes", show_default=True, help="embedded:scenes, or coco:PATH.")
@click.option("--split", default="val", show_default=True, help="Part of the data: train or val.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images.  [default: 500 of the embedded set]")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Images of one grid.")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of whatever is drawn.")
@shard_option
@click.option("--out", type=PLACE, default="runs", show_default=True, help="Folder of runs, or s3://bucket/runs.")
def detect(method: tuple[str, ...], keep_rate: tuple[str, ...], blocks: tuple[str, ...], **settings: Any) -> None:
    """Detect objects with fewer and fewer tokens, and say how well.

    A run that was stopped goes on where it was, a finished one is left alone.
    """
    from ..detection.detect import Detection

    rates = [rate_of(rate) for rate in keep_rate]
    for line in Detection(method or None, rates, blocks_of(blocks), **settings).run():
        click.echo(line)
