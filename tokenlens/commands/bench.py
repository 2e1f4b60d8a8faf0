"""`tokenlens bench`: how fast reduced models are, beside the un-reduced one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import model_options, numbers, words

COMPILED = {"no": (False,), "yes": (True,), "both": (False, True)}


@click.command()
@model_options
@click.option("--batch-size", default="1,32", show_default=True, help="Images at a time, one or more between commas.")
@click.option("--precision", default="auto", show_default=True, help="float32, bfloat16 or float16, between commas.")
@click.option("--compile", "compiled", type=click.Choice(list(COMPILED)), default="no", show_default=True)
@click.option("--data", help="KIND:PLACE, as in `extract`.  [default: synthetic images]")
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val or test.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images of the data.  [default: 128]")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, instead of refusing.")
@click.option("--threads", type=click.IntRange(min=1), help="On the CPU.  [default: torch's]")
@click.option("--repeats", type=click.IntRange(min=1), default=10, show_default=True, help="Rounds that count.")
@click.option("--warmup", type=click.IntRange(min=1), default=3, show_default=True, help="Passes that do not.")
@click.option("--out", type=click.Path(path_type=Path), default="results", show_default=True, help="Folder of tables.")
@click.option("--csv", is_flag=True, help="Write the table as CSV instead of Parquet.")
def bench(asked: dict[str, Any], batch_size: str, precision: str, compiled: str, **settings: Any) -> None:
    """Measure speed, memory and cost of methods beside the un-reduced model.

    In each round every model takes its turn on the same images, so that a machine that slows down hits all alike; the
    speed-up is the median over rounds. Beside it stands the ideal one, which GFLOPs imply. Rows go into the table
    `bench` in the folder of results, in the place of those of the same setting.

    \b
    tokenlens bench --method topk,tome,atc-average --keep-rate 0.5,0.7
    tokenlens bench --model deit_small_patch16_224 --weights random --batch-size 1,256 --precision float16
    tokenlens bench --method ats --data folder:photos --compile both
    """  # noqa: D301
    from ..benchmark.bench import Bench

    job = Bench(
        batch_sizes=numbers(batch_size, int, "batch size", ","),
        precisions=words(precision) or ["auto"],
        compiled=COMPILED[compiled],
        **settings,
        **asked,
    )
    try:
        for line in job.run():
            click.echo(line)
    except KeyboardInterrupt:
        click.echo(f"Stopped. What was measured is in {job.out}; the same command measures anew.", err=True)
        sys.exit(130)
