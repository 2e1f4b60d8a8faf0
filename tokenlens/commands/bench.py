"""`tokenlens bench`: how fast reduced models are, beside the un-reduced one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import BadInput
from .listing import json_of, json_option
from .options import PLACE, examples, graph_option, list_option, model_options, numbers

if TYPE_CHECKING:
    from ..benchmark.bench import Bench
    from ..benchmark.detector import DetectorBench
    from ..benchmark.pipeline import PipelineBench

ROUNDS = click.IntRange(1, 100_000)  # a median of more is the same
OF_VITS = {
    "keep", "remove", "decreasing", "model", "weights", "img_size", "precision", "compiled", "graph", "data", "split",
    "limit", "skip_bad",
}  # fmt: skip
OF_BLOCKS = {"keep_rate", "blocks", "heads"}  # of ViTs and detectors
OF_PIPELINES = {"ratios", "steps"}
SHARED = ("threads", "repeats", "warmup", "out", "csv")
COMPILED = {"no": (False,), "yes": (True,), "both": (False, True)}
EXAMPLES = examples(
    "tokenlens bench --method topk,tome,atc-average --keep-rate 0.5,0.7",
    "tokenlens bench --batch-size 1,256 --precision float16 --weights random",
    "tokenlens bench --pipeline nano --method atc-average,tome-sd --ratio 0.5",
    "tokenlens bench --detector vit-adapter-small --method atc-average,tome",
    "tokenlens bench --method ats --data folder:photos --compile both --json",
)


@click.command(epilog=EXAMPLES)
@model_options
@click.option("--pipeline", help="Of a diffusion model instead, as in `synthesize`; with --ratio and --steps.")
@list_option("--ratio", "ratios", default=["0.5"], help="With --pipeline: shares of tokens removed.  [default: 0.5]")
@click.option("--steps", type=click.IntRange(min=1), default=4, help="With --pipeline: in each turn.  [default: 4]")
@click.option(
    "--detector",
    help="Of a detector instead, as --weights of `detect`, or vit-adapter-tiny, -small or -base with random weights.",
)
@list_option("--batch-size", default=["1,32"], show_default=True, help="Images at a time, one or more.")
@list_option("--precision", default=["auto"], show_default=True, help="float32, bfloat16 or float16, one or more.")
@click.option(
    "--compile",
    "compiled",
    type=click.Choice(list(COMPILED)),
    default="no",
    show_default=True,
    help="With torch.compile; both: and without, beside each other.",
)
@graph_option
@click.option("--data", help="KIND:PLACE, as in `extract`.  [default: synthetic images]")
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val or test.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images of the data.  [default: 128]")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, instead of refusing.")
@click.option("--threads", type=click.IntRange(1, 1024), help="On the CPU.  [default: torch's]")
@click.option("--repeats", type=ROUNDS, default=10, show_default=True, help="Rounds that count.")
@click.option("--warmup", type=ROUNDS, default=3, show_default=True, help="Passes that do not.")
@click.option("--out", type=PLACE, default="results", show_default=True, help="Folder of tables.")
@click.option("--csv", is_flag=True, help="Write the table as CSV instead of Parquet.")
@json_option("The measured rows")
@click.pass_context
def bench(
    context: click.Context, /, models: dict[str, Any], batch_size: tuple[str, ...], precision: tuple[str, ...],
    compiled: str, pipeline: str | None, ratios: tuple[str, ...], steps: int, detector: str | None, as_json: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Measure speed, memory and cost of methods beside the un-reduced model.

    In each round every model takes its turn on the same images, so that a machine that slows down hits all alike; the
    speed-up is the median over rounds. Beside it stand the ideal one, which GFLOPs imply, and the practical one, of the
    host's own blocks at as many tokens; then the share of a walk in which reducers decide, and on a GPU how long a pass
    takes the host computer to enqueue and the GPU to carry out. There each model runs as a CUDA graph too. Rows go
    into the table `bench` in the folder of results, in the place of those of the same setting. With --pipeline the
    steps of a diffusion model are measured, with --detector a detector's images, both with the share of time that
    deciding takes; rows go into the tables `bench_pipeline` and `bench_detector`.
    """
    job: Bench | DetectorBench | PipelineBench
    sizes = numbers(",".join(batch_size), int, "batch size", ",")
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    _refuse_mixed(given, pipeline, detector)
    ones = sizes if "batch_size" in given else (1,)
    if pipeline is not None:
        job = _of_pipeline(pipeline, models, ratios, steps, ones, settings)
    elif detector is not None:
        job = _of_detector(detector, models, ones, settings)
    else:
        job = _of_vit(models, sizes, precision, COMPILED[compiled], settings)
    try:
        for text in [json_of([*job.frames()])] if as_json else job.run():
            click.echo(text)
    except KeyboardInterrupt:
        click.echo(f"Stopped. What was measured is in {job.out}; the same command measures anew.", err=True)
        sys.exit(130)


def _refuse_mixed(given: set[str], pipeline: str | None, detector: str | None) -> None:
    """Refuse options of one kind of model beside another kind."""
    if pipeline is not None and detector is not None:
        raise BadInput("--pipeline and --detector are two things to measure; give one of them")
    for kind, named, alien in (("--pipeline", pipeline, OF_VITS | OF_BLOCKS), ("--detector", detector, OF_VITS)):
        if named is not None and (other := sorted(given & alien)):
            raise BadInput(f"{', '.join(map(_option, other))} goes with ViTs, and not with {kind}; leave it out")
    if pipeline is None and (other := sorted(given & OF_PIPELINES)):
        raise BadInput(f"{', '.join(map(_option, other))} goes with --pipeline; give one, as in --pipeline nano")


def _of_vit(
    models: dict[str, Any], sizes: Sequence[int], precisions: Sequence[str], compiled: Sequence[bool],
    settings: dict[str, Any],
) -> Bench:  # fmt: skip
    from ..benchmark.bench import Bench

    aside = partial(click.echo, err=True)  # --json writes rows, and nothing else
    return Bench(batch_sizes=sizes, precisions=precisions, compiled=compiled, tell=aside, **settings, **models)


def _of_pipeline(
    pipeline: str, models: dict[str, Any], ratios: tuple[str, ...], steps: int, sizes: Sequence[int],
    settings: dict[str, Any],
) -> PipelineBench:  # fmt: skip
    from ..benchmark.pipeline import PipelineBench

    return PipelineBench(
        pipeline, models["methods"] or ("atc-average",), numbers(",".join(ratios), float, "ratio", ","),
        models["options"], steps, sizes, device=models["device"], seed=models["seed"],
        **{name: settings[name] for name in SHARED},
    )  # fmt: skip


def _of_detector(
    detector: str, models: dict[str, Any], sizes: Sequence[int], settings: dict[str, Any]
) -> DetectorBench:
    from ..benchmark.detector import DetectorBench

    of_models = ("methods", "keep_rates", "blocks", "options", "heads", "device", "seed")
    told = {name: models[name] for name in of_models} | {name: settings[name] for name in SHARED}
    return DetectorBench(detector=detector, batch_sizes=sizes, **told)


def _option(name: str) -> str:
    return "--" + {"ratios": "ratio", "options": "option", "compiled": "compile"}.get(name, name).replace("_", "-")
