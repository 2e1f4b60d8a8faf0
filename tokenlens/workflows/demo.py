"""The whole walk on what comes with the package or its extra `photographs`: extract, compare, draw, report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenlens.analysis.compare_folder import compare_folder
from tokenlens.analysis.evidence import lines
from tokenlens.figures.catalogue import Source, entries
from tokenlens.figures.output.write import Request, draw_all
from tokenlens.figures.report.write import write_report

from ..data.embedded.open import SIZES
from ..data.photographs import FILES
from ..errors import BadInput
from ..extraction.jobs import Job
from ..hosts.packaged import DINOV2
from ..methods import expanded, methods
from ..records import tables as table
from ..records.out import check_folder

if TYPE_CHECKING:
    import pandas as pd

    from ..extraction.feed import Extracted
    from ..records.run import Run

# what the figures draw; all metrics of all pairs would take minutes
METRICS = ("iou", "corrected_iou", "overlap_coefficient", "ioa", "vmeasure", "ami", "completeness", "scc",
           "scc_given_centre", "emd")  # fmt: skip
OF_FEATURES = ("procrustes",)  # which takes more images than channels
OF_EACH_RUN = ("depth_spearman", "heatmap_spearman")
OF_MASKS = ("foreground_recall", "foreground_precision")
RESAMPLES = 200
SHOWN = 0.5  # the keep rate whose runs are told


@dataclass(frozen=True)
class Subject:
    """What a demonstration is of: images, a model, keep rates."""

    images: str
    """in words, after their number"""
    most: int
    """how many there are"""
    rates: tuple[float, ...]
    trained: bool
    """whether the model comes with the parameters of methods that learn"""
    metrics: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    """further fields of the `Job`"""

    def methods(self) -> list[str]:
        """The study's methods, the un-reduced model first: those that the package gives a colour of their own.

        `atc` is another name of one of them.
        """
        given = {name: m for name, m in methods().items() if m.reducer.__module__.startswith("tokenlens.")}
        ours = [name for name, m in given.items() if m.facts()["color"] and name != "atc"]
        return ["none", *(n for n in ours if n != "none" and (self.trained or not given[n].reducer.trained))]


EMBEDDED = Subject(
    "held-out images",
    SIZES["test"],
    (0.25, 0.5, 0.7, 0.9),
    True,
    (*METRICS, *OF_FEATURES, *OF_EACH_RUN, *OF_MASKS),
    {"split": "test", "features": "float32"},
)
PHOTOGRAPHS = Subject(
    "photographs",
    len(FILES),
    (0.5, 0.7),
    False,
    (*METRICS, *OF_EACH_RUN),
    {"data": "photographs:scikit-image", "weights": DINOV2, "img_size": 224},
)


def demo(
    out: Path, subject: Subject = EMBEDDED, images: int | None = None, device: str = "auto",
    names: Sequence[str] | None = None, tell: Callable[[str], None] = print,
) -> Iterator[str]:  # fmt: skip
    """Run the demonstration; yields what to print at its end: a table, a line a finding, and last the page's address.

    Args:
        out: folder of everything that is written.
        subject: `EMBEDDED` or `PHOTOGRAPHS`.
        images: how many of its images; by default 256, or all where there are fewer.
        device: auto, cpu or cuda.
        names: of methods beside the un-reduced model; by default the study's.
        tell: where to say which phase begins, and what is noticed.
    """
    check_folder(out, "demonstrations")
    images = min(256, subject.most) if images is None else images
    if images > subject.most:
        raise BadInput(f"there are {subject.most} {subject.images} and not {images}; give --images {subject.most} or "
                       "fewer")  # fmt: skip
    names = subject.methods() if names is None else ["none", *names]
    job = Job(
        methods=names, keep_rates=subject.rates, limit=images, device=device, out=out / "runs",
        progress=sys.stderr.isatty(), tell=tell, **subject.settings,
    )  # fmt: skip
    tell(f"1/4  Extract: {len(expanded(names))} methods at {len(subject.rates)} keep rates, {images} {subject.images}")
    done = {run.name: (run, result) for run, result in job.results()}
    runs, results, figures = (out / name for name in ("runs", "results", "figures"))
    tell(f"2/4  Compare: {len(done)} runs by {len(subject.metrics)} metrics")
    for _ in compare_folder(runs, results, metrics=subject.metrics, resamples=RESAMPLES, findings=True):
        pass  # its tables are read below
    chosen = entries()
    tell(f"3/4  Draw: {len(chosen)} kinds of figures")
    request = Request(figures, "png,pdf", sheet={"images": min(images, len(FILES))}, progress=sys.stderr.isatty())
    drawn = {path.stem for path, _ in draw_all(chosen, Source.open(results, runs), request) if path}
    tell(f"4/4  Report: runs, findings, {len(drawn)} figures and patterns, on one page")
    page = write_report(runs, results, out / "report.html", progress=sys.stderr.isatty())
    for note in page.notes:
        tell(note)
    yield from rows(done, table.read(results, "comparison"))
    yield ""
    yield f"At keep rate {SHOWN:g}, after the last stage, over {images} {subject.images}."
    yield ""
    yield "What these runs say of the study's findings, and of what masks tell:"
    for name in ("findings", "truth"):
        if table.exists(results, name):
            yield from lines(table.read(results, name))
    yield ""
    yield f"Runs, results and figures are in {out}; all of it on one page:"
    yield page.path.resolve().as_uri()


def rows(done: Mapping[str, tuple[Run, Extracted]], comparison: pd.DataFrame) -> list[str]:
    """One line for each run at `SHOWN`: accuracy, tokens left, share of the object kept, overlap with l2 and random.

    They are of the last stage. What no run has is no column.
    """
    import pandas as pd

    told = comparison[comparison["metric"].isin(("iou", "foreground_recall"))]
    last = told[told["stage"] == max(told["stage"])]
    values = {(a, b, metric): value for a, b, metric, value in last[["run_a", "run_b", "metric", "value"]].values}
    values |= {(b, a, metric): value for (a, b, metric), value in values.items() if b != "object"}
    shown = {run.method: name for name, (run, _) in done.items() if run.keep_rate in (1, SHOWN)}
    cells = pd.DataFrame(
        [
            {
                "top-1 %": done[name][1].metrics.get("top1"),
                "tokens": done[name][1].tokens_left[-1],
                "object": values.get((name, "object", "foreground_recall")),
                **{f"IoU {other}": values.get((name, shown.get(other), "iou")) for other in ("l2", "random")},
            }
            for name in shown.values()
        ],
        index=[*shown],
        dtype=float,
    )
    given = cells.dropna(axis=1, how="all").rename_axis(columns="method")
    digits = {str(name): f"{{:.{1 if name in ('top-1 %', 'tokens') else 2}f}}".format for name in given}
    return given.to_string(formatters=digits, na_rep="-").splitlines()
