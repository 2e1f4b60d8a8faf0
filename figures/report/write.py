"""One page of runs, findings, figures and patterns, that needs neither a server nor a network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tokenlens.errors import BadInput
from tokenlens.records.manifest import notices
from tokenlens.records.place import place, size

from ..select.where import matching
from ..source import Missing, Source
from ..theme.style import among
from .data import CHUNK, PictureSet, describe_set, picture_sets
from .images import chunks, drawn
from .page import Folder, OneFile, Writer, static, text
from .patterns import describe_run, masks, patterns
from .sections import figures_section, findings_section, head, runs_section

if TYPE_CHECKING:
    import xarray as xr

LARGE = 40_000_000  # bytes; a larger file is slow to open, and too much for a mail
NOTHING = (
    "there are neither runs in {} nor tables in {}: make runs with `tokenlens extract` and tables with "
    "`tokenlens compare`, or say with --runs and --results where they are"
)


@dataclass(frozen=True)
class Report:
    """What was written: the page, the bytes of it and of all beside it, and what was noticed, a sentence each."""

    path: Path
    size: int
    notes: tuple[str, ...]


def write_report(
    runs: Path, results: Path, out: Path, split: bool = False, images: int | Sequence[str] = 500,
    where: Sequence[str] = (), progress: bool = False, allow_remote: bool = False,
) -> Report:  # fmt: skip
    """Write the report of a folder of runs and a folder of tables; either may be missing.

    Args:
        runs: folder of runs.
        results: folder of tables, as `tokenlens compare` writes them.
        out: the HTML file; with `split`, the folder. It is replaced when the new one is whole.
        split: write a folder whose data are files of their own, loaded when they are looked at: for many images.
        images: images that the viewer shows of each data set, at most; or the ids of those to show.
        where: conditions on the runs' attributes, as in "method=topk|tome,keep_rate=0.5".
        progress: show bars.
        allow_remote: fetch images from where the runs say they are.

    Raises:
        BadInput: neither runs nor tables, no run that fits `where`, or a place that cannot be written.
    """
    source, notes = _open(runs, results, where)
    return write_of(replace(source, allow_remote=allow_remote), out, split, images, progress, notes)


def report(what: Any, out: str | Path = "report.html", split: bool = False, images: int | Sequence[str] = 500) -> Path:
    """Write the report of what Python has: a `Comparison`, runs, or a list of both; the page's place is returned.

    Args:
        what: as `Source.of` takes it.
        out: as in `write_report`, and so `split` and `images`.

    Examples:
        >>> import tempfile, tokenlens
        >>> vit, data = tokenlens.load("nano"), tokenlens.open_data("embedded:shapes", limit=2)
        >>> run = tokenlens.extract(tokenlens.reduce(vit, "topk"), data)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tokenlens.report(run, f"{folder}/page.html").name
        'page.html'
    """
    return write_of(Source.of(what), place(out), split, images).path


def write_of(
    source: Source, out: Path, split: bool = False, images: int | Sequence[str] = 500, progress: bool = False,
    notes: Sequence[str] = (),
) -> Report:  # fmt: skip
    """Write the report of a source; see `write_report`. The `notes` are told on the page too."""
    notes, allow_remote = list(notes), source.allow_remote
    with (Folder if split else OneFile)(out) as writer, among(source.looks()):
        shown = picture_sets(source.opened or [], images)
        _add_runs(writer, shown, progress, allow_remote)
        parts = {
            **head(source),
            "overview": runs_section(writer, source),
            "findings": findings_section(source),
            "viewer": static("viewer.html") if shown else text("There are no runs to look at."),
            "figures": figures_section(writer, source, progress),
        }
        notes += [one.note for one in shown if one.note]
        parts["notes"] = "".join(f'<div class="note">{text(note)}</div>' for note in notes)
        path = writer.finish(parts)
    written = sum(size(file) for file in (out.rglob("*") if split else [path]) if file.is_file())
    if not split and written > LARGE:
        notes.append(
            f"the report has {written / 1e6:.0f} MB: give fewer --images, or --split for a folder loaded piece by piece"
        )
    return Report(path, written, tuple(notes))


def _open(runs: Path, results: Path, where: Sequence[str]) -> tuple[Source, list[str]]:
    """The tables and the chosen runs, and what is wrong with either."""
    source, notes = Source.open(results, runs), notices(results, runs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            opened: list[xr.Dataset] = list(source.held)
        except Missing as lack:
            opened = []
            notes.append(str(lack))
    notes += [str(one.message) for one in caught if one.category is UserWarning]  # the store's, on damaged runs
    chosen: list[xr.Dataset] = matching(opened, where)
    tables = any(results.glob("*.parquet")) or any(results.glob("*.csv")) if results.is_dir() else False
    if not chosen and not tables:
        raise BadInput(NOTHING.format(runs, results))
    if not tables:
        notes.append(
            f"there are no tables in {results}, without which there are no findings: make them with `tokenlens compare`"
        )
    return replace(source, opened=chosen), notes


def _add_runs(writer: Writer, sets: Sequence[PictureSet], progress: bool, allow_remote: bool) -> None:
    """Write what the viewer shows: images, patterns, and the index of both."""
    described: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    steps = sum(len(one.runs) + (0 if one.drawn else -(-len(one.ids) // CHUNK)) for one in sets)
    with tqdm(total=steps, desc="images and patterns", unit="piece", disable=not progress) as bar:
        for number, one in enumerate(sets):
            found = masks(one.runs, one.ids)
            if found:
                writer.add(f"masks-{number}", found[1])
            if not one.drawn:
                for k, images in enumerate(chunks(one, allow_remote)):
                    writer.add(f"images-{number}-{k}", images)
                    bar.update()
            for run, title in zip(one.runs, one.titles, strict=True):
                writer.add(f"patterns-{len(described)}", patterns(run, one.ids))
                if one.drawn:
                    writer.add(f"pictures-{len(described)}", drawn(one, run))
                described.append(describe_run(run, title, number, one.ids))
                bar.update()
            told.append(describe_set(one) | {"masks": found and found[0]})  # once its classes are known
    writer.add("index", {"sets": told, "runs": described})
