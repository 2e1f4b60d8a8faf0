"""What a folder of results holds: its tables, what each was made of, and a digest of each, in `manifest.json`.

Tables that are made together appear together. All are written beside their places; then the manifest is, in one piece,
and from that moment they count; then they move to their places. Whoever reads goes by the manifest, and whoever writes
next ends what was left undone: a writer that is killed at any point leaves the tables before or those after.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..errors import BadInput
from .atomic import sync, write
from .checksum import digest_of, intact, sealed
from .place import Unreachable

MANIFEST = "manifest.json"
WAITING = ".next"  # what the files end in that wait to move to their places


@dataclass(frozen=True)
class Origin:
    """The runs that tables were made of, each with a digest of its content (`tokenlens.records.store.content`)."""

    runs: Mapping[str, str]

    @property
    def comparison(self) -> str:
        """The id of a comparison: twelve hexadecimal digits that change with any of its runs."""
        return digest_of(dict(self.runs))[:12]

    def told(self) -> dict[str, Any]:
        """What a table's own file says of it."""
        return {"comparison": self.comparison, "runs": dict(self.runs)}


@dataclass(frozen=True)
class Table:
    """One table of a folder."""

    file: str
    """its name, once it is in its place"""
    sha256: str
    comparison: str | None = None
    """the comparison that it is of; None: of none, or not known"""
    waits: str = ""
    """the file in which it waits to be moved there"""


@dataclass(frozen=True)
class Manifest:
    """What a folder of results holds."""

    folder: Path
    tables: Mapping[str, Table] = field(default_factory=dict)
    comparisons: Mapping[str, Origin] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    """files that do not count any longer and are to be removed"""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it; an empty one where there is none. BadInput where it is damaged."""
        try:
            found = json.loads((folder / MANIFEST).read_bytes())
            if not intact(found):
                raise ValueError("it does not match its digest")
            return cls(
                folder,
                {name: Table(**table) for name, table in found["tables"].items()},
                {name: Origin(runs) for name, runs in found["comparisons"].items()},
                tuple(found["gone"]),
            )
        except FileNotFoundError:
            return cls(folder)
        except Unreachable:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(
                f"{folder / MANIFEST} cannot be read ({error}), and with it which tables are whole; remove it and "
                "write the tables anew with `tokenlens compare`"
            ) from error

    def write(self) -> None:
        """Write it in one piece."""
        values: dict[str, Any] = {
            "tables": {name: dict(table.__dict__) for name, table in sorted(self.tables.items())},
            "comparisons": {name: dict(origin.runs) for name, origin in sorted(self.comparisons.items())},
            "gone": list(self.gone),
        }
        write(self.folder / MANIFEST, json.dumps(sealed(values), indent=1) + "\n")

    def place(self, name: str, files: Iterable[Path]) -> Path | None:
        """Where a table is: as the manifest says, else the first of `files` that is there; None where it is not."""
        table = self.tables.get(name)
        if table is not None:
            files = [self.folder / file for file in (table.waits, table.file) if file]
        return next((file for file in files if file.is_file() and file.name not in self.gone), None)

    def content(self, name: str, path: Path) -> bytes:
        """The bytes of a table's file; BadInput where they are not those that were written."""
        found, table = path.read_bytes(), self.tables.get(name)
        if table is not None and hashlib.sha256(found).hexdigest() != table.sha256:
            raise BadInput(
                f"{path} is damaged or was changed since it was written; write it anew with `tokenlens compare` (or "
                f"remove {self.folder / MANIFEST}, if the change is yours)"
            )
        return found

    def origin(self, name: str) -> Origin | None:
        """What a table was made of; None where that is not known."""
        table = self.tables.get(name)
        return None if table is None else self.comparisons.get(table.comparison or "")

    def settle(self) -> Self:
        """Move to their places what waits, remove what does not count; returns the manifest that then holds.

        Only for the one that holds the folder's lock.
        """
        for table in self.tables.values():
            if table.waits and (self.folder / table.waits).is_file():
                (self.folder / table.waits).replace(self.folder / table.file)
        for name in self.gone:
            (self.folder / name).unlink(missing_ok=True)
        sync(self.folder)
        settled = type(self)(
            self.folder,
            {name: Table(table.file, table.sha256, table.comparison) for name, table in self.tables.items()},
            self.comparisons,
        )
        if settled != self:
            settled.write()
        for left in self.folder.glob(f".*{WAITING}"):  # of writers that died before these tables counted
            left.unlink()
        return settled

    def changed(
        self, made: Mapping[str, Table], gone: Iterable[str], without: Iterable[str], origin: Origin | None
    ) -> Self:
        """The manifest with further tables, and without others; comparisons that no table is of are forgotten."""
        tables = {name: table for name, table in {**self.tables, **made}.items() if name not in without}
        known = {**self.comparisons, **({} if origin is None else {origin.comparison: origin})}
        of = {table.comparison for table in tables.values()}
        return type(self)(self.folder, tables, {name: known[name] for name in known if name in of}, tuple(gone))


def notices(results: Path | None, runs: Path | None) -> list[str]:
    """What whoever looks at tables should know: that they are of several comparisons, or their runs have changed."""
    if results is None:
        return []
    manifest = Manifest.read(results)
    of: dict[str, list[str]] = {}
    for name, table in manifest.tables.items():
        if table.comparison is not None:
            of.setdefault(table.comparison, []).append(name)
    told = []
    if len(of) > 1:
        listed = "; ".join(", ".join(names) for names in of.values())
        told.append(
            f"the tables in {results} are of {len(of)} comparisons ({listed}); make them anew, all at once, with "
            "`tokenlens compare --findings`"
        )
    if runs is not None and runs.is_dir() and of:
        told += _outdated(manifest, results, runs)
    return told


def _outdated(manifest: Manifest, results: Path, runs: Path) -> list[str]:
    from .layout import contents

    now = contents(runs)
    made_of = {name: digest for origin in manifest.comparisons.values() for name, digest in origin.runs.items()}
    changed = [name for name, digest in made_of.items() if now.get(name) != digest]
    if not changed:
        return []
    named = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
    return [
        f"{len(changed)} of the {len(made_of)} runs that the tables in {results} were made of have changed since, or "
        f"are not in {runs} ({named}); make the tables anew with `tokenlens compare`"
    ]
