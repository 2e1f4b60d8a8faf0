"""`tokenlens bench`: how fast reduced models are, beside the un-reduced one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import BadInput
from .options import examples, list_option, model_options, numbers

if TYPE_CHECKING:
    from ..benchmark.bench import Bench
    from ..benchmark.pipeline import PipelineBench

ROUNDS = click.IntRange(1, 100_000)  # a median of more is the same
OF_VITS = {
    "keep_rate", "keep", "remove", "decreasing", "blocks", "model", "weights", "heads", "img_size", "precision",
    "compiled", "data", "split", "limit", "skip_bad",
}  # fmt: skip
COMPILED = {"no": (False,), "yes": (True,), "both": (False, True)}
EXAMPLES = examples(
    "tokenlens bench --method topk,tome,atc-average --keep-rate 0.5,0.7",
    "tokenlens bench --batch-size 1,256 --precision float16 --weights random",
    "tokenlens bench --pipeline nano --method atc-average,tome-sd --ratio 0.5",
    "tokenlens bench --method ats --data folder:photos --compile both",
)


@click.command(epilog=EXAMPLES)
@model_options
@click.option("--pipeline", help="Of a diffusion model instead, as in `synthesize`; with --ratio and --steps.")
@list_option("--ratio", "ratios", default=["0.5"], help="With --pipeline: shares of tokens removed.  [default: 0.5]")
@click.option("--steps", type=click.IntRange(min=1), default=4, help="With --pipeline: in each turn.  [default: 4]")
@list_option("--batch-size", default=["1,32"], show_default=True, help="Images at a time, one or more.")
@list_option("--precision", default=["auto"], show_default=True, help="float32, bfloat16 or float16, one or more.")
@click.option("--compile", "compiled", type=click.Choice(list(COMPILED)), default="no", show_default=True)
@click.option("--data", help="KIND:PLACE, as in `extract`.  [default: synthetic images]")
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val or test.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images of the data.  [default: 128]")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, instead of refusing.")
@click.option("--threads", type=click.IntRange(1, 1024), help="On the CPU.  [default: torch's]")
@click.option("--repeats", type=ROUNDS, default=10, show_default=True, help="Rounds that count.")
@click.option("--warmup", type=ROUNDS, default=3, show_default=True, help="Passes that do not.")
@click.option("--out", type=click.Path(path_type=Path), default="results", show_default=True, help="Folder of tables.")
@click.option("--csv", is_flag=True, help="Write the table as CSV instead of Parquet.")
@click.pass_context
def bench(
    context: click.Context, /, models: dict[str, Any], batch_size: tuple[str, ...], precision: tuple[str, ...],
    compiled: str, pipeline: str | None, ratios: tuple[str, ...], steps: int, **settings: Any,
) -> None:  # fmt: skip
    """Measure speed, memory and cost of methods beside the un-reduced model.

    In each round every model takes its turn on the same images, so that a machine that slows down hits all alike; the
    speed-up is the median over rounds. With --pipeline the steps of a diffusion model are measured, and rows go into
    the table `bench_pipeline`. Beside it stands the ideal one, which GFLOPs imply. Rows go into the table
    `bench` in the folder of results, in the place of those of the same setting.
    """
    sizes = numbers(",".join(batch_size), int, "batch size", ",")
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if pipeline is not None:
        if other := sorted(given & OF_VITS):
            raise BadInput(f"{', '.join(map(_option, other))} goes with ViTs, and not with --pipeline; leave it out")
        _measure(_of_pipeline(pipeline, models, ratios, steps, sizes if "batch_size" in given else (1,), settings))
        return
    if other := sorted(given & {"ratios", "steps"}):
        raise BadInput(f"{', '.join(map(_option, other))} goes with --pipeline; give one, as in --pipeline nano")
    from ..benchmark.bench import Bench

    job = Bench(
        batch_sizes=sizes,
        precisions=precision,
        compiled=COMPILED[compiled],
        **settings,
        **models,
    )
    _measure(job)


def _of_pipeline(
    pipeline: str, models: dict[str, Any], ratios: tuple[str, ...], steps: int, sizes: Sequence[int],
    settings: dict[str, Any],
) -> PipelineBench:  # fmt: skip
    from ..benchmark.pipeline import PipelineBench

    return PipelineBench(
        pipeline, models["methods"] or ("atc-average",), numbers(",".join(ratios), float, "ratio", ","),
        models["options"], steps, sizes, device=models["device"], seed=models["seed"],
        **{name: settings[name] for name in ("threads", "repeats", "warmup", "out", "csv")},
    )  # fmt: skip


def _measure(job: Bench | PipelineBench) -> None:
    try:
        for line in job.run():
            click.echo(line)
    except KeyboardInterrupt:
        click.echo(f"Stopped. What was measured is in {job.out}; the same command measures anew.", err=True)
        sys.exit(130)


def _option(name: str) -> str:
    return "--" + {"ratios": "ratio", "options": "option", "compiled": "compile"}.get(name, name).replace("_", "-")
