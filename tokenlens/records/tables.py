"""The tables of results, written whole or not at all; their columns stand in `columns`.

Wings write and read tables through this file and never know each other.
"""

from __future__ import annotations

import hashlib
import secrets
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tokenlens.errors import BadInput, UnknownName, disk_errors
from tokenlens.records import atomic
from tokenlens.records.columns import ADDED, COLUMNS
from tokenlens.records.encoding import decode, encode
from tokenlens.records.leases import lock
from tokenlens.records.manifest import WAITING, Manifest, Origin, Table
from tokenlens.records.out import check_folder
from tokenlens.records.place import place

if TYPE_CHECKING:
    import pandas as pd

RACES = 8  # how often a table is looked for anew while it is being replaced


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
    check_folder(place(folder), "tables")


@contextmanager
def writing(folder: str | Path) -> Iterator[Results]:
    """Be the only one that writes tables into a folder, until the block ends; others wait.

    Raises:
        BadInput: the folder is a file, the disk is full or cannot be written.
    """
    folder = place(folder)
    check_out(folder)
    with lock(folder / ".lock", f"the tables in {folder}"), disk_errors(folder):
        yield Results(folder)


class Results:
    """A folder of tables in the hands of the one that writes it; see `writing`."""

    def __init__(self, folder: Path) -> None:
        """Ends first what a writer that was killed has left undone."""
        self.folder = folder
        try:
            self.manifest = Manifest.read(folder).settle()
        except BadInput as damage:  # what it said of the tables is lost: from here on they are as files without one
            warnings.warn(f"{damage}; it is written anew", stacklevel=4)
            self.manifest = Manifest(folder).settle()

    def holds(self, name: str) -> bool:
        """Whether there is a table `name`."""
        return self.manifest.place(name, _files(self.folder, name)) is not None

    def read(self, name: str) -> pd.DataFrame:
        """The table `name`; see `read`."""
        return read(self.folder, name)

    def put(
        self,
        frames: Mapping[str, pd.DataFrame],
        csv: bool = False,
        origin: Origin | None = None,
        without: Iterable[str] = (),
    ) -> list[Path]:
        """Write tables that belong together as Parquet, or CSV: a reader finds all of them, or none, also after a kill.

        Args:
            frames: tables by name; those of the same names in the folder, in either format, are replaced.
            csv: write CSV.
            origin: what they were made of.
            without: names of tables that go at the same moment.

        Returns:
            The file of each.
        """
        made, gone = dict[str, Table](), list[str]()
        comparison, told = (None, None) if origin is None else (origin.comparison, origin.told())
        with ExitStack() as stack:
            for name, frame in frames.items():
                target, other = _files(self.folder, name, csv)
                atomic.check_place(target)
                waits = target.with_name(f".{target.name}.{secrets.token_hex(8)}{WAITING}")
                stack.callback(waits.unlink, missing_ok=True)
                content = encode(conform(frame, name), csv, told)
                atomic.write(waits, content)
                made[name] = Table(target.name, hashlib.sha256(content).hexdigest(), comparison, waits.name)
                gone.append(other.name)
            gone += [file.name for name in without for file in _files(self.folder, name)]
            self.manifest = self.manifest.changed(made, gone, without, origin)
            self.manifest.write()
            stack.pop_all()
        self.manifest = self.manifest.settle()
        return [self.folder / table.file for table in made.values()]


def write(frame: pd.DataFrame, folder: str | Path, name: str, csv: bool = False) -> Path:
    """Write table `name` into `folder` as Parquet, or CSV, and return its path; see `Results.put`."""
    with writing(folder) as results:
        return results.put({name: frame}, csv)[0]


def merge(frame: pd.DataFrame, folder: str | Path, name: str, key: Sequence[str], csv: bool = False) -> Path:
    """Write rows into table `name`, in the place of those with the same key; the others stay."""
    with writing(folder) as results:
        old = results.read(name) if results.holds(name) else None
        return results.put({name: merged(old, frame, name, key)}, csv)[0]


def merged(old: pd.DataFrame | None, new: pd.DataFrame, name: str, key: Sequence[str]) -> pd.DataFrame:
    """The rows of both, of table `name`; of rows with the same key the new one."""
    import pandas as pd

    both = conform(new, name) if old is None else pd.concat([old, conform(new, name)])
    return both.drop_duplicates(list(key), keep="last", ignore_index=True)


def exists(folder: str | Path, name: str) -> bool:
    """Is there a table `name` in `folder`, in either format?"""
    return Manifest.read(place(folder)).place(name, _files(folder, name)) is not None


def read(path: str | Path, name: str) -> pd.DataFrame:
    """Read table `name` from a file, or from the folder it was written into (Parquet before CSV).

    Raises:
        BadInput: it is not there, is damaged, is not what the folder's manifest says, or lacks columns.
    """
    path, found, _ = place(path), None, _columns(name)
    for _ in range(RACES):
        folder = path if path.is_dir() else path.parent
        manifest = Manifest.read(folder)
        file = manifest.place(name, _files(path, name)) if path.is_dir() else path if path.is_file() else None
        if file is None:
            break
        listed = path.is_dir() or (name in manifest.tables and manifest.tables[name].file == path.name)
        try:
            found = manifest.content(name, file) if listed else file.read_bytes()
            break
        except FileNotFoundError:  # it has just moved to its place
            continue
        except BadInput:
            if Manifest.read(folder) == manifest:
                raise
    if found is None or file is None:
        if path.is_dir():
            raise BadInput(f"{path} holds no {name} table; `{_command(name)} --out {path}` writes one")
        raise BadInput(f"there is no table at {path}; `{_command(name)}` writes one")
    try:
        return conform(decode(found, ".csv" in file.suffixes, _columns(name)), name)
    except BadInput:
        raise
    except (ValueError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise BadInput(
            f"{file} cannot be read ({reason}); remove it and write it anew with `{_command(name)}`"
        ) from error


def _files(folder: str | Path, name: str, csv: bool = False) -> tuple[Path, Path]:
    """The file of a table in a folder, and the one that it would have in the other format."""
    parquet, text = place(folder) / f"{name}.parquet", place(folder) / f"{name}.csv"
    return (text, parquet) if csv else (parquet, text)


def _command(name: str) -> str:
    return f"tokenlens {({'bench': 'bench', 'quality': 'fid'}).get(name, 'compare')}"


def _columns(name: str) -> dict[str, str]:
    if name not in COLUMNS:
        raise UnknownName("table", name, COLUMNS)
    return COLUMNS[name]
