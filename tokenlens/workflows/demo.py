"""The whole walk on what comes with the package: extract, compare, draw, report, and one table to read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenlens.analysis.compare_folder import compare_folder
from tokenlens.figures.catalogue import Source, entries
from tokenlens.figures.output.write import Request, draw_all
from tokenlens.figures.report.write import write_report

from ..data.embedded.open import SIZES
from ..errors import BadInput
from ..extraction.jobs import Job
from ..methods import method, methods
from ..records import tables as table
from ..records.out import check_folder

if TYPE_CHECKING:
    import pandas as pd

    from ..extraction.feed import Extracted
    from ..records.run import Run

RATES = (0.25, 0.5, 0.7, 0.9)
# what the figures draw; all metrics of all pairs would take minutes
METRICS = (
    "iou",
    "corrected_iou",
    "overlap_coefficient",
    "ioa",
    "vmeasure",
    "ami",
    "completeness",
    "procrustes",
    "scc",
    "scc_given_centre",
    "emd",
)
OF_EACH_RUN = ("foreground_recall", "foreground_precision", "depth_spearman", "heatmap_spearman")
RESAMPLES = 200


def own_methods() -> list[str]:
    """The study's methods, the un-reduced model first: those that the package gives a colour of their own.

    `atc` is another name of one of them.
    """
    given = {name: m for name, m in methods().items() if m.reducer.__module__.startswith("tokenlens.")}
    ours = [name for name, m in given.items() if m.facts()["color"] and name != "atc"]
    return ["none", *(name for name in ours if name != "none")]


def demo(out: Path, images: int = 256, device: str = "auto", names: Sequence[str] | None = None) -> Iterator[str]:
    """Run the demonstration; yields what to print.

    Args:
        out: folder of everything that is written.
        images: how many held-out images of the embedded set.
        device: auto, cpu or cuda.
        names: of methods beside the un-reduced model; by default the study's.
    """
    check_folder(out, "demonstrations")
    if images > SIZES["test"]:
        raise BadInput(
            f"there are {SIZES['test']} held-out images and not {images}; give --images {SIZES['test']} or fewer"
        )
    names = own_methods() if names is None else [n for n in dict.fromkeys(("none", *names)) if method(n)]
    job = Job(
        methods=names, keep_rates=RATES, split="test", limit=images, device=device, features="float32",
        out=out / "runs",
    )  # fmt: skip
    done = {run.name: (run, result) for run, result in job.results()}
    runs, results, figures = (out / name for name in ("runs", "results", "figures"))
    yield from compare_folder(runs, results, metrics=(*METRICS, *OF_EACH_RUN), resamples=RESAMPLES, findings=True)
    for path, note in draw_all(entries(), Source.open(results, runs), Request(figures, "png,pdf")):
        yield from (str(told) for told in (path, note) if told)
    page = write_report(runs, results, out / "report.html", progress=sys.stderr.isatty())
    yield from page.notes
    yield str(page.path)
    yield ""
    yield from rows(done, table.read(results, "comparison"))
    yield ""
    yield f"Numbers are at the last stage, over {images} held-out images. Everything is in {out}: the runs in {runs},"
    yield f"tables in {results}, figures in {figures}, and one page to look at: {page.path}"


def rows(done: dict[str, tuple[Run, Extracted]], comparison: pd.DataFrame) -> Iterator[str]:
    """One line for each run: accuracy, tokens left, share of the object kept, and overlap with l2 and random."""
    told = comparison[comparison["metric"].isin(("iou", "foreground_recall"))]
    last = told[told["stage"] == max(told["stage"])]
    values = {(a, b, metric): value for a, b, metric, value in last[["run_a", "run_b", "metric", "value"]].values}
    values |= {(b, a, metric): value for (a, b, metric), value in values.items() if b != "object"}
    by_rate = {(run.method, run.keep_rate): name for name, (run, _) in done.items()}
    yield f"{'method':14}{'rate':>6}{'top-1 %':>9}{'tokens':>8}{'object':>8}{'IoU l2':>8}{'IoU random':>12}"
    for name, (run, result) in done.items():
        cells = [
            values.get((name, "object", "foreground_recall")),
            *(values.get((name, by_rate.get((other, run.keep_rate)), "iou")) for other in ("l2", "random")),
        ]
        texts = ["-" if cell is None or cell != cell else f"{cell:.2f}" for cell in cells]
        yield (
            f"{run.method:14}{run.keep_rate:>6g}{result.metrics['top1']:>9.1f}{result.tokens_left[-1]:>8.1f}"
            f"{texts[0]:>8}{texts[1]:>8}{texts[2]:>12}"
        )
