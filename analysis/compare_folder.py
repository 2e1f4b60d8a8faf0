"""From a folder of runs to a folder of tables: what `tokenlens compare` does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tokenlens.errors import BadInput
from tokenlens.records import store
from tokenlens.records import tables as table
from tokenlens.records.where import select

from . import accuracy_proxy as proxies
from . import findings as study
from . import ground_truth as questions
from .compare import Comparison, compare
from .evidence import report

if TYPE_CHECKING:
    import pandas as pd


def compare_folder(
    runs: Path,
    out: Path,
    *,
    where: Mapping[str, Sequence[str]] = MappingProxyType({}),
    axes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    chunk: int = 2048,
    workers: int = 2,
    resamples: int = 1000,
    seed: int = 0,
    csv: bool = False,
    accuracy: Path | None = None,
    anchors: Sequence[str] = (),
    findings: bool = False,
    strict: bool = False,
) -> Iterator[str]:
    """Compare the runs in a folder, write all tables, and yield what to tell the user, line by line.

    The keywords are the options of `tokenlens compare`; what is empty chooses all.
    """
    if not Path(runs).is_dir():
        raise BadInput(
            f"there is no folder {runs}; write runs with `tokenlens extract`, or name the folder that holds them"
        )
    opened = store.open_runs(runs, strict=strict)
    if not opened:
        raise BadInput(f"{runs} holds no run that can be read; write some with `tokenlens extract`")
    chosen = select(opened, where)
    if not chosen:
        raise BadInput(f"none of the {len(opened)} runs in {runs} fits --where; leave it out to see them all compared")
    table.check_out(out)
    given = proxies.read(accuracy) if accuracy else {}
    found = compare(
        chosen,
        axes or None,
        metrics or None,
        chunk=chunk,
        workers=workers,
        resamples=resamples,
        seed=seed,
        progress=sys.stderr.isatty(),
    )
    if given:
        found = Comparison(found.comparison, proxies.join(found.runs, given), found.heatmap)
    proxy = proxies.proxy(found.comparison, found.runs, anchors or proxies.ANCHORS, resamples=resamples, seed=seed)
    tables = {"comparison": found.comparison, "runs": found.runs, "proxy": proxy}
    if len(found.heatmap):
        tables["heatmap"] = found.heatmap
    if findings:
        tables["findings"] = study.findings(found.comparison, found.runs, proxy)
    if findings and questions.known(found.comparison, found.runs):
        tables["truth"] = questions.truth(found.comparison, found.runs)
    for name, frame in tables.items():
        path = table.write(frame, out, name, csv)
        yield f"{path}: {len(frame)} rows"
    for name in ("heatmap", "findings", "truth"):  # a folder holds the tables of one comparison
        for path in table.remove(out, name) if name not in tables else ():
            yield f"{path}: removed, being of an earlier comparison; this one makes no such table"
    yield from _without_rate(found.runs)
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


def _without_rate(runs: pd.DataFrame) -> Iterator[str]:
    """Say how many runs cannot be put beside others of the same keep rate."""
    out = int((runs["keep_rate"].isna() & (runs["family"] != "none")).sum())
    if out:
        have = "has" if out == 1 else "have"
        yield (
            f"{out} of the {len(runs)} runs {have} no single keep rate (several rates, counts, tokens to remove, "
            "or rings of all depths), so proxy and findings leave them out; the other tables hold them."
        )
