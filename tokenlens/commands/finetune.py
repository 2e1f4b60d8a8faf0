"""`tokenlens finetune`: train a method from a pretrained backbone, with a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import DEVICE, SEED, blocks_of, examples, list_option, pairs_option, rate_of, remote_option

EXAMPLES = examples(
    "tokenlens finetune --method sit --keep-rate 0.25",
    "tokenlens finetune --recipe imagenet --data imagenet:PATH --method evit",
    "tokenlens finetune --recipe coco --data coco:PATH --set optimizer.lr=5e-4",
    "accelerate launch $(which tokenlens) finetune --method topk",
    "tokenlens extract --weights finetuned/NAME/best.safetensors",
)


@click.command(epilog=EXAMPLES)
@click.option(
    "--recipe",
    default="shapes",
    show_default=True,
    help="imagenet, nabirds, coco, nuswide, shapes; coco-detection and scenes-detection of detectors; or a file.",
)
@click.option("--data", help="KIND:PLACE, with the splits train and val.  [default: what the recipe says]")
@click.option("--method", help="The method to train; none is the un-reduced model.")
@click.option("--keep-rate", help="0.5, or 0.7/0.5/0.3 for one a block.")
@list_option("--blocks", help="Where to reduce, 0-indexed: 3,6,9.")
@pairs_option("--option", "options", help="Of the method, as `tokenlens methods NAME` lists them.")
@click.option("--model", help="nano, or a timm name.")
@click.option("--weights", help="To start from: a file, hf:owner/name, or random.  [default: the published ones]")
@click.option("--heads", type=click.IntRange(min=1), help="Attention heads, where neither name nor weights tell.")
@click.option("--epochs", type=click.IntRange(min=1), help="Also --set schedule.warmup_epochs=N where fewer.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images at a time on one device.")
@click.option("--accumulate", type=click.IntRange(min=1), help="Batches a step.")
@click.option("--lr", type=float, help="Learning rate, for the recipe's optimizer.lr_images images a step.")
@click.option("--distill", type=click.Choice(["none", "soft", "hard"]), help="DeiT's distillation.")
@click.option("--teacher", help="Weights to learn from, for --distill and DynamicViT.  [default: those at the start]")
@click.option("--skip-bad", is_flag=True, default=None, help="Leave out images that cannot be read; all are tried.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that read images.")
@click.option("--precision", help="auto, float32, bfloat16 or float16.")
@click.option("--seed", type=SEED, help="Of whatever is drawn.")
@pairs_option("--set", "changes", metavar="SECTION.KEY=VALUE,...", help="Anything in a recipe, as --show prints it.")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute.")
@list_option("--tracker", "trackers", help="Of accelerate, such as wandb, beside CSV and TensorBoard.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the result.  [default: finetuned/NAME]")
@click.option(
    "--aside", is_flag=True, help="Move aside what was begun there otherwise, to NAME.old-1; else it is refused."
)
@remote_option
@click.option("--show", is_flag=True, help="Print the resolved recipe, with every key, and do nothing.")
def finetune(keep_rate: str | None, blocks: tuple[str, ...], **settings: Any) -> None:
    """Fine-tune a method; the same command goes on where it was stopped.

    Writes weights with all that is needed to use them (best.safetensors), a log as CSV and for TensorBoard.
    """
    from ..training.options import Options

    options = Options(keep_rate=rate_of(keep_rate) if keep_rate else None, blocks=blocks_of(blocks), **settings)
    for line in options.run():
        click.echo(line)
