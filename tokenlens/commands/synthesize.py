"""`tokenlens synthesize`: pictures from a diffusion model whose tokens are merged, and what was merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import DEVICE, SEED, examples, list_option, numbers, pairs_option

EXAMPLES = examples(
    "tokenlens synthesize --method atc-average --ratio 0.5 --limit 2",
    "tokenlens synthesize --method none,tome-sd,atc-average --ratio 0.3,0.6",
    "tokenlens synthesize --pipeline hf:owner/name --record-steps 0,10,25,49",
)
COUNT = click.IntRange(min=1)


@click.command(epilog=EXAMPLES)
@click.option("--pipeline", default="nano", show_default=True, help="nano, a folder of diffusers, or hf:owner/name.")
@list_option("--method", "methods", default=["atc-average"], show_default=True, help="One or more; tome-sd too.")
@list_option("--ratio", "ratios", default=["0.5"], show_default=True, help="Share of tokens removed, one or more.")
@pairs_option("--option", "options", help="Of the method, as `tokenlens methods NAME` lists them.")
@click.option("--max-downsample", type=COUNT, default=1, show_default=True, help="1: blocks of full resolution only.")
@click.option("--cross-attention", is_flag=True, help="Merge around cross-attention too.")
@click.option("--mlp", is_flag=True, help="Merge around the MLP too.")
@click.option("--prompts", help="A file, one a line; imagenet or shapes.  [default: shapes for nano, else imagenet]")
@click.option("--per-class", type=COUNT, default=2, show_default=True, help="Pictures of each prompt.")
@click.option("--limit", type=COUNT, help="Only so many pictures.")
@click.option("--steps", type=COUNT, help="Of the scheduler.  [default: the pipeline's]")
@click.option("--guidance", type=float, help="1: none.  [default: the pipeline's]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the noise, and of what a method draws.")
@click.option("--batch-size", type=COUNT, default=1, show_default=True, help="Pictures at a time.")
@click.option("--record-steps", default="all", show_default=True, help="Patterns of: all, none, or 0,10,25.")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "float16"]),
    default="auto",
    show_default=True,
    help="auto: float32 on CPU, float16 on CUDA.",
)
@click.option("--out", type=click.Path(path_type=Path), default="images", show_default=True, help="Folder.")
def synthesize(ratios: tuple[str, ...], record_steps: str, **settings: Any) -> None:
    """Draw pictures with a diffusion model whose tokens are merged.

    Of each method and ratio a folder of pictures with their timings, and below `runs` what was merged at every step.
    What was stopped goes on where it was.
    """
    from ..synthesis.jobs import Synthesis

    words: dict[str, list[int] | None] = {"all": None, "none": []}
    steps = words[record_steps] if record_steps in words else numbers(record_steps, int, "steps", ",")
    rates = numbers(",".join(ratios), float, "ratio", ",")
    for line in Synthesis(ratios=rates, record_steps=steps, **settings).run():
        click.echo(line)
