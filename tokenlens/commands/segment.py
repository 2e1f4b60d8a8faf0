"""`tokenlens segment`: what every pixel shows, by a linear head on a reduced ViT's tokens; patterns into a run."""

from __future__ import annotations

from typing import Any

import click

from .options import PLACE, examples, model_options, shard_option

EXAMPLES = examples(
    "tokenlens segment --method atc-average --keep-rate 0.5 --limit 100",
    "tokenlens segment --method none,topk,tome,random --keep-rate 0.25,0.5",
    "tokenlens segment --data voc:VOC2012 --model deit_small_patch16_224",
    "tokenlens segment --data ade20k:ADEChallengeData2016",
)


@click.command(epilog=EXAMPLES)
@model_options
@click.option("--data", default="embedded:scenes", show_default=True, help="embedded:scenes, ade20k:PATH or voc:PATH.")
@click.option("--split", default="val", show_default=True, help="Part of the data: train or val.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images.  [default: 500 of the embedded set]")
@click.option(
    "--train-limit", type=click.IntRange(min=1), default=400, show_default=True, help="Images the head is learned on."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Images at a time.")
@shard_option
@click.option("--out", type=PLACE, default="runs", show_default=True, help="Folder of runs, or s3://bucket/runs.")
def segment(models: dict[str, Any], **settings: Any) -> None:
    """Say what every pixel shows, with fewer and fewer tokens, and how well.

    A linear head is learned on the un-reduced model's tokens, which stay as they are; it then reads those of reduced
    models, spread to the patches. A run that was stopped goes on where it was, a finished one is left alone.
    """
    from ..segmentation.segment import Segmentation

    for line in Segmentation(**settings, **models).run():
        click.echo(line)
