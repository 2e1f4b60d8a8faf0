"""`tokenlens finetune`: train a method from a pretrained backbone, with a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import SEED, allow_remote, numbers


@click.command()
@click.option("--recipe", default="shapes", show_default=True, help="imagenet, nabirds, coco, nuswide, shapes, a file.")
@click.option("--data", help="KIND:PLACE, with the splits train and val.  [default: what the recipe says]")
@click.option("--method", help="The method to train; none is the un-reduced model.")
@click.option("--keep-rate", "keep_rate", help="0.5, or 0.7/0.5/0.3 for one a block.")
@click.option("--blocks", help="Where to reduce, 0-indexed: 3,6,9.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the method; repeatable.")
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
@click.option("--set", "words", multiple=True, metavar="SECTION.KEY=VALUE", help="Anything in a recipe; repeatable.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
@click.option("--tracker", "trackers", multiple=True, help="Of accelerate, such as wandb, beside CSV and TensorBoard.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the result.  [default: finetuned/NAME]")
@click.option(
    "--aside", is_flag=True, help="Move aside what was begun there otherwise, to NAME.old-1; else it is refused."
)
@allow_remote
@click.option("--show", is_flag=True, help="Print the resolved recipe, with every key, and do nothing.")
def finetune(**settings: Any) -> None:
    """Fine-tune a method; the same command goes on where it was stopped.

    Writes weights with all that is needed to use them (best.safetensors), a log as CSV and for TensorBoard.

    \b
    tokenlens finetune --method sit --keep-rate 0.25
    tokenlens finetune --recipe imagenet --data imagenet:PATH --method evit --keep-rate 0.5
    tokenlens finetune --recipe coco --data coco:PATH --method topk --set optimizer.lr=5e-4
    accelerate launch $(which tokenlens) finetune --recipe imagenet --data imagenet:PATH
    tokenlens extract --weights finetuned/NAME/best.safetensors
    """  # noqa: D301
    from ..training.options import Asked

    rate, blocks = settings.pop("keep_rate"), settings.pop("blocks")
    rates = numbers(rate, float, "keep rate") if rate else None
    asked = Asked(
        keep_rate=rates[0] if rates and len(rates) == 1 else rates,
        blocks=numbers(blocks, int, "blocks", ",") if blocks else None,
        **settings,
    )
    for line in asked.run():
        click.echo(line)
