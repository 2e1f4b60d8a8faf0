"""`tokenlens bench`: how fast reduced models are, beside the un-reduced one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import examples, list_option, model_options, numbers

COMPILED = {"no": (False,), "yes": (True,), "both": (False, True)}
EXAMPLES = examples(
    "tokenlens bench --method topk,tome,atc-average --keep-rate 0.5,0.7",
    "tokenlens bench --batch-size 1,256 --precision float16 --weights random",
    "tokenlens bench --method ats --data folder:photos --compile both",
)


@click.command(epilog=EXAMPLES)
@model_options
@list_option("--batch-size", default=["1,32"], show_default=True, help="Images at a time, one or more.")
@list_option("--precision", default=["auto"], show_default=True, help="float32, bfloat16 or float16, one or more.")
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
def bench(
    models: dict[str, Any], batch_size: tuple[str, ...], precision: tuple[str, ...], compiled: str, **settings: Any
) -> None:
    """Measure speed, memory and cost of methods beside the un-reduced model.

    In each round every model takes its turn on the same images, so that a machine that slows down hits all alike; the
    speed-up is the median over rounds. Beside it stands the ideal one, which GFLOPs imply. Rows go into the table
    `bench` in the folder of results, in the place of those of the same setting.
    """
    from ..benchmark.bench import Bench

    job = Bench(
        batch_sizes=numbers(",".join(batch_size), int, "batch size", ","),
        precisions=precision,
        compiled=COMPILED[compiled],
        **settings,
        **models,
    )
    try:
        for line in job.run():
            click.echo(line)
    except KeyboardInterrupt:
        click.echo(f"Stopped. What was measured is in {job.out}; the same command measures anew.", err=True)
        sys.exit(130)
