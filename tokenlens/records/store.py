"""Runs on disk: one Zarr group a run, written in whole chunks, readable and resumable at any moment.

A chunk's arrays are written first and then counted in the attribute `written`; a reader never looks beyond it, and a
run that was killed continues there. Chunks of nothing but zeros are written too, so that one which has gone is missed
and not read as zeros. The run's own `zarr.json` holds all metadata, so that it is read, and changes, in one piece. The
variables are in `tokenlens.records.schema`. Nothing here needs torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import xarray as xr

from ..errors import BadInput, disk_errors
from .checksum import digest_of
from .facts import say_which_are_gone
from .layout import ROOT, Layout
from .out import check_folder
from .patterns import Patterns
from .place import Unreachable, is_remote, place
from .schema import COORDINATES, DIMS, READABLE, SCHEMA, malformed
from .zarr_stores import complete, store_of

CHUNKS_AT_ONCE = 16  # unpacked to see whether they can be; each alone takes three times as long
AGAIN = "move it away to have it extracted again"


class StoreError(BadInput):
    """A run on disk that cannot be read."""


def check_out(folder: Path) -> None:
    """Refuse to write runs into something that is not a folder of runs."""
    check_folder(folder, "runs")
    if (folder / ROOT).is_file():
        raise BadInput(f"{folder} is one run; give the folder that it lies in with --out, {folder.parent}")
    with disk_errors(folder):
        strangers = [p.name for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
    runs = [name for name in strangers if (folder / name / ROOT).is_file()]
    strangers = sorted(set(strangers) - set(runs))
    for name in strangers:
        if _lost_description(folder / name):
            raise BadInput(f"{folder / name} is a run that has lost its {ROOT}; {AGAIN}")
    strangers = [name for name in strangers if not _arriving(folder / name)]
    if strangers and not runs:
        raise BadInput(
            f"{folder} is not a folder of runs: it holds {strangers[0]}; give a new or empty folder with --out"
        )


def _lost_description(run: Path) -> bool:
    """Whether patterns lie there without the description that is written before them."""
    arrays = [run / name for name in DIMS if (run / name / ROOT).is_file()]
    if _arriving(run):
        arrays = [array for array in arrays if any(part.name != ROOT for part in array.iterdir())]
    return bool(arrays) and not (run / ROOT).is_file()


def _arriving(run: Path) -> bool:
    """Whether it may be a run of which a store has only a part, its maker being at it still, or killed."""
    return is_remote(run) and any(path.name in {*DIMS, *COORDINATES} for path in run.iterdir())


def open_run(folder: str | Path, check: Iterable[str] | None = ()) -> Patterns:
    """One run, lazily, cut to the images that are written.

    Args:
        folder: of the run.
        check: the arrays whose every chunk is read and held against its checksum; None: all. Coordinates always are.

    Raises:
        StoreError: it is no run, is damaged, or is of a schema that is not known here.
    """
    folder = place(folder)
    layout = _described(folder)
    while True:
        try:
            return _opened(layout, check)
        except (StoreError, FileNotFoundError) as error:
            # its writer may just have put chunks into other files, and removed those that the description told of
            before, layout = layout, _described(folder)
            if digest_of([layout.attributes, layout.arrays]) != digest_of([before.attributes, before.arrays]):
                continue
            if isinstance(error, StoreError):
                raise
            raise _unreadable(folder, error) from error


def _described(folder: Path) -> Layout:
    try:
        return Layout.read(folder)
    except Unreachable:
        raise
    except Exception as error:  # what is no JSON, or JSON of something else, fails in many ways
        raise _unreadable(folder, error) from error


def _opened(layout: Layout, check: Iterable[str] | None) -> Patterns:
    folder = layout.folder
    try:
        schema, written = layout.attributes["schema"], layout.written
        lost = layout.lost()
    except Unreachable:
        raise
    except Exception as error:  # JSON of something else fails in many ways
        raise _unreadable(folder, error) from error
    if layout.sealed is False or (layout.sealed is None and schema == SCHEMA):
        raise _unreadable(folder, f"its {ROOT} does not match its digest")
    if schema not in READABLE:
        raise StoreError(f"{folder} has schema {schema}, this tokenlens reads {SCHEMA}; update tokenlens, or {AGAIN}")
    if lost:
        raise _unreadable(folder, f"it has lost {lost}")
    try:
        with warnings.catch_warnings():
            # in runs of schema 1 a file that a killed run left half-written lies beside the arrays
            warnings.filterwarnings("ignore", message="Object at .*partial is not recognized")
            there = complete(folder) if "arrays" in layout.attributes else store_of(folder, read_only=True)
            dataset = xr.open_zarr(there, consolidated=layout.consolidated, chunks=None)
        dataset.encoding["source"] = str(folder)
        for name in dataset.coords:
            dataset[name].load()
    except Unreachable:
        raise
    except Exception as error:  # a damaged store fails in zarr, numcodecs or xarray, each in its own way
        raise _unreadable(folder, error) from error
    dataset.attrs = {name: value for name, value in layout.attributes.items() if name != "coordinates"}
    if wrong := malformed(dataset.attrs):
        raise _unreadable(folder, f"its {wrong} is {dataset.attrs[wrong]!r}")
    run = Patterns.of(dataset.isel(image=slice(0, written)))
    for name in run.data_vars if check is None else [name for name in check if name in run]:
        if damaged := _damaged(layout, run[name]):
            raise _unreadable(folder, f"{damaged} is damaged")
    return run


def _sharing_images(run: Patterns, others: Iterable[Patterns]) -> Patterns:
    """A run that holds the ids of its images together with another of the same: a million take some fifty megabytes."""
    ids = run["image"].to_index()
    same = next((other for other in others if other["image"].to_index().equals(ids)), None)
    return run if same is None else run.assign_coords(same[["image"]].coords)


def _unreadable(folder: Path, why: str | Exception) -> StoreError:
    reason = (str(why) or type(why).__name__).split("\n")[0]
    return StoreError(f"{folder} cannot be read as a run ({reason}); {AGAIN}")


def _damaged(layout: Layout, array: xr.DataArray) -> str | None:
    """The first file of an array that is damaged; one without a checksum, where it cannot be unpacked."""
    name = str(array.name)
    if layout.checked(name):
        return layout.damaged(name)
    chunks = list(layout.chunks(name))
    for some in (chunks[i : i + CHUNKS_AT_ONCE] for i in range(0, len(chunks), CHUNKS_AT_ONCE)):
        if not _unpacks(array[some[0][0] : some[-1][0] + 1]):
            return next((str(file) for first, file in some if not _unpacks(array[first : first + 1])), None)
    return None


def _unpacks(array: xr.DataArray) -> bool:
    try:
        array.load()
    except Unreachable:
        raise
    except Exception:  # zarr and numcodecs fail in many ways
        return False
    return True


def place_of(run: xr.Dataset) -> str:
    """Where a run lies that other processes are to read; BadInput where it is in this one's memory alone."""
    where = str(run.encoding.get("source", ""))
    if not where or where.startswith("memory://"):
        raise BadInput(
            f"run {run.attrs.get('run')!r} is in the memory of this process, where no other can read it; write it to a "
            "disk or a store, or compare without --dask"
        )
    return where if "://" in where else str(Path(where).absolute())


def content(run: xr.Dataset) -> str:
    """A digest of all that lies on disk of a run as `open_run` gives it: 16 hexadecimal digits."""
    there = Layout.read(place(run.encoding["source"]))
    return replace(there, attributes=run.attrs).content()  # as it was opened: it may have grown since


def open_runs(path: str | Path = "runs", strict: bool = False, check: Iterable[str] | None = ()) -> list[Patterns]:
    """All runs in a folder, by name.

    Args:
        path: a folder of runs, as `tokenlens extract` writes them, here or on a store (`s3://bucket/runs`); or one run,
            which is taken alone.
        strict: refuse a run that cannot be read, instead of naming it in a warning and going on.
        check: the arrays of which every chunk is held against its checksum; None: all. See `open_run`.

    Returns:
        One lazy dataset for each run, cut to the images that are written so far (`attrs["complete"]` tells).

    Raises:
        BadInput: there is no such folder.
        StoreError: with `strict`, a run cannot be read.

    Examples:
        >>> import pathlib, tempfile, tokenlens
        >>> from tokenlens.extraction.jobs import Job
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = list(Job(methods=["topk"], limit=2, out=pathlib.Path(folder), progress=False).results())
        ...     [run.attrs["method"] for run in tokenlens.open_runs(folder)]
        ['topk']
    """
    path = place(path)
    if not path.is_dir():
        raise BadInput(f"there is no folder of runs {path}; make one with `tokenlens extract`")
    if (path / ROOT).is_file():
        return [open_run(path, check)]
    runs, strangers = list[Patterns](), list[str]()
    for folder in sorted(path.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if not strict and not (folder / ROOT).is_file():  # there may be very many, and no need to try each
            strangers.append(folder.name)
            continue
        try:
            runs.append(_sharing_images(open_run(folder, check), runs))
        except StoreError as error:
            if strict:
                raise
            warnings.warn(str(error), UserWarning, stacklevel=2)
    if strangers:
        folders, are = ("folder", "is") if len(strangers) == 1 else ("folders", "are")
        more = ", ..." if len(strangers) > 3 else ""
        warnings.warn(
            f"{len(strangers)} {folders} in {path} cannot be read as runs, having no {ROOT}, and {are} left out: "
            f"{', '.join(strangers[:3])}{more}",
            UserWarning,
            stacklevel=2,
        )
    say_which_are_gone(runs)
    return runs
