"""The tables of results: their columns in one place, written whole or not at all.

Tables are tidy, one number a row. `stage` is a block index (for class-token features the layer's), -1 where a number
is of the whole run. Wings write and read tables through this file and never know each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenlens.core.families import KEEPING, MERGING, UNORDERED
from tokenlens.errors import BadInput, UnknownName, disk_errors
from tokenlens.records.atomic import whole
from tokenlens.records.out import check_folder

if TYPE_CHECKING:
    import pandas as pd

ALL_STAGES = -1

_JUDGED = {  # a claim, and what speaks for or against it
    "finding": "int64", "claim": "str", "statistic": "str", "value": "float64", "low": "float64", "high": "float64",
    "reference": "float64", "n": "int64", "verdict": "str", "missing": "str", "paragraph": "str",
}  # fmt: skip
COLUMNS: dict[str, dict[str, str]] = {
    # one row a pair of runs x stage x metric; for axis "radial" run_b is l1, l2 or linf, for "object" it is "object"
    "comparison": {
        "run_a": "str", "run_b": "str", "axis": "str", "stage": "int64", "metric": "str", "value": "float64",
        "std": "float64", "n": "int64", "chance": "float64", "low": "float64", "high": "float64",
    },
    # one row a run: what it was, its accuracy in percent by its measure (top1, mAP, ...), what an image costs, and of
    # its method: name for readers, colour and marker (empty: to be chosen), place among methods, what its patterns are
    "runs": {
        "run": "str", "dataset": "str", "split": "str", "model": "str", "capacity": "str", "method": "str",
        "family": "str", "keep_rate": "float64", "seed": "int64", "images": "int64", "complete": "bool",
        "measure": "str", "accuracy": "float64", "gflops": "float64", "label": "str", "color": "str", "marker": "str",
        "order": "int64", "keeps": "bool", "merges": "bool",
    },
    # one row a run x patch: the mean depth, in blocks, at which the patch was dropped
    "heatmap": {
        "run": "str", "patch": "int64", "row": "int64", "column": "int64", "depth": "float64", "n": "int64",
    },
    # one row an anchor x setting x stage x metric: correlation of accuracy difference and similarity
    "proxy": {
        "anchor": "str", "run": "str", "dataset": "str", "capacity": "str", "keep_rate": "float64", "stage": "int64",
        "metric": "str", "statistic": "str", "value": "float64", "n": "int64", "p": "float64", "q": "float64",
        "low": "float64", "high": "float64",
    },
    # one row a finding of the study
    "findings": _JUDGED,
    # one row a question that only a known truth answers: masks of the objects, a bias of their places
    "truth": _JUDGED,
    # one row a model x setting of `tokenlens bench`: images a second (median and quartiles), milliseconds of a forward
    # pass, its memory beyond weights and images, cost of an image, speed-up over the un-reduced model measured in turn
    # with it and the one that GFLOPs imply; tokens_left is <block>:<tokens> for each stage
    "bench": {
        "model": "str", "method": "str", "keep_rate": "float64", "batch_size": "int64", "precision": "str",
        "compiled": "bool", "device": "str", "threads": "int64", "data": "str", "repeats": "int64",
        "images_per_second": "float64", "low": "float64", "high": "float64", "latency_ms": "float64",
        "peak_mb": "float64", "gflops": "float64", "speedup": "float64", "ideal_speedup": "float64",
        "tokens_left": "str", "machine": "str",
    },
}  # fmt: skip

# columns that tables of before did not have, and what they hold there
ADDED: dict[str, dict[str, Callable[[pd.DataFrame], Any]]] = {
    "runs": {
        "label": lambda runs: runs["method"], "color": lambda runs: "", "marker": lambda runs: "",
        "order": lambda runs: UNORDERED, "keeps": lambda runs: runs["family"].isin(KEEPING),
        "merges": lambda runs: runs["family"].isin(MERGING),
    },
}  # fmt: skip


def conform(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Bring a frame to the columns and dtypes of table `name`; BadInput names the columns it lacks.

    Columns that an older table did not have yet are filled in.
    """
    import pandas as pd

    columns, added = _columns(name), ADDED.get(name, {})
    if not len(frame.columns):
        frame = pd.DataFrame({c: [] for c in columns})
    lacking = [c for c in columns if c not in frame.columns]
    if gone := [c for c in lacking if c not in added]:
        raise BadInput(f"the {name} table lacks {', '.join(gone)}; write it anew with `{_command(name)}`")
    frame = frame.assign(**{c: added[c] for c in lacking})
    return frame[list(columns)].astype(columns).reset_index(drop=True)


def check_out(folder: str | Path) -> None:
    """Refuse a folder for tables, before anything is computed, that is a file or that nothing can be written into."""
    check_folder(Path(folder), "tables")


def write(frame: pd.DataFrame, folder: str | Path, name: str, csv: bool = False) -> Path:
    """Write table `name` into `folder` as Parquet, or CSV, and return its path; a reader never sees half of it.

    The same table in the other format is removed, being of an earlier comparison. BadInput where the disk is full or
    cannot be written.
    """
    frame, (target, other) = conform(frame, name), _files(folder, name, csv)
    check_out(target.parent)
    with whole(target) as partial:
        if csv:
            frame.to_csv(partial, index=False)
        else:
            frame.to_parquet(partial, index=False)
    with disk_errors(target.parent):
        other.unlink(missing_ok=True)
    return target


def merge(frame: pd.DataFrame, folder: str | Path, name: str, key: Sequence[str], csv: bool = False) -> Path:
    """Write rows into table `name`, in the place of those with the same key; the others stay."""
    import pandas as pd

    if exists(folder, name):
        frame = pd.concat([read(folder, name), conform(frame, name)])
    return write(frame.drop_duplicates(list(key), keep="last"), folder, name, csv)


def exists(folder: str | Path, name: str) -> bool:
    """Is there a table `name` in `folder`, in either format?"""
    return any(path.exists() for path in _files(folder, name))


def remove(folder: str | Path, name: str) -> list[Path]:
    """Remove table `name` from `folder`, in either format, and return the files that are gone."""
    found = [path for path in _files(folder, name) if path.exists()]
    with disk_errors(Path(folder)):
        for path in found:
            path.unlink()
    return found


def read(path: str | Path, name: str) -> pd.DataFrame:
    """Read table `name` from a file, or from the folder it was written into (Parquet before CSV)."""
    import pandas as pd

    path, columns = Path(path), _columns(name)
    if path.is_dir():
        found = [p for p in _files(path, name) if p.exists()]
        if not found:
            raise BadInput(f"{path} holds no {name} table; `{_command(name)} --out {path}` writes one")
        path = found[0]
    if not path.exists():
        raise BadInput(f"there is no table at {path}; `{_command(name)}` writes one")
    text = {column: str for column, kind in columns.items() if kind == "str"}
    missing = {column: [""] for column in columns if column not in text}  # a run may be called NA
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing)
        else:
            frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's errors are of these kinds
        reason = str(error).split("\n")[0]
        raise BadInput(
            f"{path} cannot be read ({reason}); remove it and write it anew with `{_command(name)}`"
        ) from error
    return conform(frame, name)


def _files(folder: str | Path, name: str, csv: bool = False) -> tuple[Path, Path]:
    """The file of a table in a folder, and the one that it would have in the other format."""
    parquet, text = Path(folder) / f"{name}.parquet", Path(folder) / f"{name}.csv"
    return (text, parquet) if csv else (parquet, text)


def _command(name: str) -> str:
    return "tokenlens bench" if name == "bench" else "tokenlens compare"


def _columns(name: str) -> dict[str, str]:
    if name not in COLUMNS:
        raise UnknownName("table", name, COLUMNS)
    return COLUMNS[name]
