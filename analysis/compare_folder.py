"""From a folder of runs to a folder of tables: what `tokenlens compare` does."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tokenlens.errors import BadInput
from tokenlens.records import store
from tokenlens.records import tables as table
from tokenlens.records.columns import KEYS
from tokenlens.records.manifest import Origin, notices
from tokenlens.records.place import place
from tokenlens.records.where import select

from . import accuracy_proxy as proxies
from . import findings as study
from . import ground_truth as questions
from . import proxy_across
from .cluster import Cluster
from .compare import Comparison, compare
from .curves import curves
from .evidence import report
from .metrics.base import METRICS
from .off_the_shelf import off_the_shelf
from .paired_accuracy import paired_accuracy, with_unreduced
from .selection import WHAT
from .steps import along_steps, split

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def compare_folder(
    runs: str | Path,
    out: str | Path,
    *,
    where: Mapping[str, Sequence[str]] = MappingProxyType({}),
    axes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    chunk: int = 2048,
    workers: int = 2,
    resamples: int = 1000,
    seed: int = 0,
    null: str = "",
    csv: bool = False,
    accuracy: Path | None = None,
    anchors: Sequence[str] = (),
    findings: bool = False,
    strict: bool = False,
    dask: str = "",
) -> Iterator[str]:
    """Compare the runs in a folder, write all tables, and yield what to tell the user, line by line.

    The keywords are the options of `tokenlens compare`; what is empty chooses all.
    """
    runs, out = place(runs), place(out)
    if not runs.is_dir():
        raise BadInput(
            f"there is no folder {runs}; write runs with `tokenlens extract`, or name the folder that holds them"
        )
    opened = store.open_runs(runs, strict=strict, check=None)
    if not opened:
        raise BadInput(f"{runs} holds no run that can be read; write some with `tokenlens extract`")
    chosen = select(opened, where)
    if not chosen:
        raise BadInput(f"none of the {len(opened)} runs in {runs} fits --where; leave it out to see them all compared")
    table.check_out(out)
    drawn, chosen = split(chosen)
    if drawn:
        yield from _steps(drawn, out, axes, metrics, resamples, seed, csv)
        if not chosen:
            return
    now = {str(run.attrs.get("run")): store.content(run) for run in opened}
    given = proxies.read(accuracy) if accuracy else {}
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster.reached(dask, workers)) if dask else None
        if cluster is not None:
            yield f"Dask's dashboard: {cluster.dashboard}"
        found = compare(
            chosen,
            axes or None,
            metrics or None,
            chunk=chunk,
            workers=workers,
            resamples=resamples,
            seed=seed,
            null=null,
            progress=sys.stderr.isatty(),
            cluster=cluster,
        )
    if given:
        found = found._replace(runs=proxies.join(found.runs, given))
    accuracies = paired_accuracy(chosen, resamples=resamples, seed=seed)
    found = found._replace(runs=with_unreduced(found.runs, accuracies))
    origin = Origin({name: now[name] for name in found.runs["run"]})
    with table.writing(out) as results:
        if where or axes or metrics:
            found, origin = yield from _joined(results, found, origin, now)
        proxy = proxies.proxy(found.comparison, found.runs, anchors or proxies.ANCHORS, seed=seed)
        tables = {"comparison": found.comparison, "runs": found.runs, "proxy": proxy}
        shelf = off_the_shelf(found.comparison, found.runs, found.tokens)
        across = proxy_across.across(found.comparison, found.runs, shelf, seed=seed)
        may = {"heatmap": found.heatmap, "tokens": found.tokens, "off_the_shelf": shelf, "across": across,
               "accuracy": accuracies,
               "curves": curves(chosen, resamples=resamples, seed=seed)}  # fmt: skip
        tables |= {name: rows for name, rows in may.items() if len(rows)}
        if findings:
            tables["findings"] = study.findings(found.comparison, found.runs, accuracies)
        if findings and questions.known(found.comparison, found.runs):
            tables["truth"] = questions.truth(found.comparison, found.runs)
        others = (*may, "truth") if findings else may  # where these runs give none, an older one goes
        paths = results.put(tables, csv, origin, [name for name in others if name not in tables])
    for path, frame in zip(paths, tables.values(), strict=True):
        yield f"{path}: {len(frame)} rows"
    yield from notices(out, None)
    yield from _without_rate(found.runs)
    yield from _without_estimate(found.comparison)
    if not len(found.comparison):
        these = f"The {len(chosen)} runs form" if len(chosen) > 1 else "One run alone forms"
        yield (
            f"{these} no pair: runs are paired when they differ along one axis only "
            "(method, capacity, keep_rate, dataset, seed) and agree in all else."
        )
    if findings:
        yield ""
        yield report(tables["findings"])
    if "truth" in tables:
        yield "What the ground truth adds:"
        yield report(tables["truth"])


def _steps(
    runs: Sequence[xr.Dataset], out: Path, axes: Sequence[str], metrics: Sequence[str], resamples: int, seed: int,
    csv: bool,
) -> Iterator[str]:  # fmt: skip
    """Compare runs of diffusion models step by step, into a table of its own."""
    found = along_steps(runs, axes or None, metrics or None, resamples=resamples, seed=seed)
    with table.writing(out) as results:
        (path,) = results.put({"steps": found}, csv)
    yield f"{path}: {len(found)} rows"


def _joined(
    results: table.Results, found: Comparison, origin: Origin, now: Mapping[str, str]
) -> Generator[str, None, tuple[Comparison, Origin]]:
    """Put the rows of a narrower comparison in the place of those of the same key; the others of the folder stay.

    Rows of runs that have changed since (`now` has the digest of each) do not. What that leaves out is told.
    """
    before = {name: results.manifest.origin(name) for name in Comparison._fields if results.holds(name)}
    if not before:
        return found, origin
    if None in before.values():
        yield f"the tables in {results.folder} do not say which runs they were made of, so they are replaced as a whole"
        return found, origin
    made_of = {run: digest for one in before.values() if one is not None for run, digest in one.runs.items()}
    changed = [run for run, digest in made_of.items() if now.get(run, digest) != digest]
    frames = []
    for name, new in found._asdict().items():
        old = results.read(name) if name in before else new.iloc[:0]
        of_changed = old[[column for column in ("run", "run_a", "run_b") if column in old]].isin(changed).any(axis=1)
        key = list(KEYS[name])
        frames.append(table.merged(old[~of_changed], new, name, key).sort_values(key, ignore_index=True))
    if changed:
        yield f"left out: earlier rows of {len(changed)} runs that have changed since ({', '.join(changed[:3])})"
    kept = {run: digest for run, digest in made_of.items() if run not in changed}
    return Comparison(*frames), Origin({**kept, **origin.runs})


def _without_rate(runs: pd.DataFrame) -> Iterator[str]:
    """Say how many runs cannot be put beside others of the same keep rate."""
    out = int((runs["keep_rate"].isna() & (runs["family"] != "none")).sum())
    if out:
        have = "has" if out == 1 else "have"
        yield (
            f"{out} of the {len(runs)} runs {have} no single keep rate (several rates, counts, "
            "or rings of all depths), so proxy and findings leave them out; the other tables hold them."
        )


def _without_estimate(rows: pd.DataFrame) -> Iterator[str]:
    """Say what these images cannot tell of others, and why."""
    lacking = rows[(rows["reason"] != "") & rows["estimate"].isna()]
    of = lacking["metric"].map({name: WHAT[metric.of] for name, metric in METRICS.items()}).fillna("patterns")
    for (what, reason), part in lacking.groupby([of, "reason"]):
        names = ", ".join(sorted(set(part["metric"])))
        yield f"{len(part)} values of {what} ({names}) have no estimate: {reason}. The column reason says which."
