"""`tokenlens extract`: patterns of one or more methods into a folder of runs."""

from __future__ import annotations

from typing import Any

import click

from .options import PLACE, examples, graph_option, model_options, remote_option, shard_option

EXAMPLES = examples(
    "tokenlens extract --method topk,tome,random --keep-rate 0.25,0.5",
    "tokenlens extract --data folder:photos --model deit_small_patch16_224",
    "tokenlens extract --weights dinov2-small --img-size 224 --data folder:photos",
    "tokenlens extract --method dpcknn --weights best_checkpoint.pth",
    "tokenlens extract --weights finetuned/NAME/best.safetensors",
)


@click.command(epilog=EXAMPLES)
@model_options
@click.option("--data", help="KIND:PLACE, as `tokenlens data` lists them.  [default: embedded:shapes, or as above]")
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val or test.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images.  [default: 1000 of an embedded set]")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, instead of refusing.")
@remote_option
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images at a time.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="auto: float32 on CPU, bfloat16 on CUDA.",
)
@graph_option
@click.option(
    "--workers", type=click.IntRange(min=0), help="Processes that read images.  [default: 0 on CPU, up to 8 on CUDA]"
)
@click.option(
    "--features",
    is_flag=False,
    flag_value="float32",
    type=click.Choice(["float32", "float16"]),
    help="Store class-token features too; as float16 in half the space.",
)
@click.option("--soft", is_flag=True, help="Store the soft maps of soft mergers too.")
@click.option("--attention", is_flag=True, help="Store what the class token pays to the patches before each stage too.")
@shard_option
@click.option("--out", type=PLACE, default="runs", show_default=True, help="Folder of runs, or s3://bucket/runs.")
def extract(models: dict[str, Any], **settings: Any) -> None:
    """Extract the patterns of one or more methods into a folder of runs.

    All runs are made in one pass over the images, which are read and decoded
    once. A run that was stopped goes on where it was, a finished one is left alone.
    """
    from ..extraction.jobs import Job

    for result in Job(**settings, **models).run():
        click.echo(result)
