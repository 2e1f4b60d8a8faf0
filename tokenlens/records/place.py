"""Places of runs, tables and pages: on this machine, or on an object store: `s3://bucket/runs`, `gs://`, `memory://`.

All that is read and written goes through a path. One of this machine is a `pathlib.Path`; one of a store answers to as
much of the same interface as records need, and asks fsspec, which finds credentials as the stores' own tools do.

An object is there whole or not at all, so a file is written in one request and needs no other name meanwhile. A store
has no folders: they are there as soon as something is below them. What it does not answer for good, after its library's
own attempts, is one sentence, and never "not there".
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeGuard, cast

from ..errors import BadInput, needed

STORES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "memory": ("fsspec", "s3")}
"""What serves the places of each scheme: a package, and the extra that it comes with."""
SETTINGS: Mapping[str, Any] = {"use_listings_cache": False}  # others write there too
_ADDRESS = re.compile(r"([a-z0-9]+)://(.*)", re.DOTALL)
_DEFINITE = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)


class Unreachable(BadInput):
    """A store that does not answer, or not to this user."""


class RemotePath:
    """A place on a store, with the interface of `pathlib.Path` as far as it goes."""

    def __init__(self, scheme: str, key: str | PurePosixPath) -> None:
        """`key` begins with the bucket."""
        self.scheme, self.key = scheme, PurePosixPath(key)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: RemotePath) -> bool:
        return str(self) < str(other)

    def __truediv__(self, more: str | PurePath) -> RemotePath:
        return self._at(self.key / (more.as_posix() if isinstance(more, PurePath) else more))

    def _at(self, key: PurePosixPath) -> RemotePath:
        return RemotePath(self.scheme, key)

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def stem(self) -> str:
        return self.key.stem

    @property
    def suffixes(self) -> list[str]:
        return self.key.suffixes

    @property
    def parent(self) -> RemotePath:
        return self._at(self.key.parent)

    def with_name(self, name: str) -> RemotePath:
        return self._at(self.key.with_name(name))

    def _ask(self, what: str, *given: Any, **more: Any) -> Any:
        """Call a method of the store's file system on this place."""
        with answers(self):
            return getattr(_file_system(self.scheme), what)(str(self), *given, **more)

    def _kind(self) -> str:
        try:
            return str(self._ask("info")["type"])
        except FileNotFoundError:
            return ""

    def exists(self) -> bool:
        return bool(self._kind())

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def iterdir(self) -> Iterator[RemotePath]:
        """What lies in the folder; nothing where nothing is below it, for a store has no empty folders."""
        try:
            listed = self._ask("ls", detail=False)
        except FileNotFoundError:
            return
        names = {PurePosixPath(one).name for one in listed} - {"" if str(self.key) == "." else self.name}
        yield from (self / name for name in sorted(names))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What lies in the folder, by name."""
        return (one for one in self.iterdir() if fnmatchcase(one.name, pattern))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """All files below, by name."""
        bucket = str(self.key).split("/")[0]
        for found in self._ask("find"):
            key = PurePosixPath(found.lstrip("/"))
            if fnmatchcase(key.name, pattern):
                yield self._at(key if key.parts[0] == bucket else bucket / key)

    def read_bytes(self) -> bytes:
        return bytes(self._ask("cat_file"))

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, content: bytes) -> None:
        self._ask("pipe_file", content)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._ask("rm_file")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def replace(self, target: RemotePath) -> None:
        """Move it: first both are there, then the new one alone."""
        self._ask("mv", str(target))

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a store has no folders."""

    def rmdir(self) -> None:
        """Nothing: a store has no folders."""


@contextmanager
def answers(asked: object) -> Iterator[None]:
    """What a store does not answer becomes one sentence; that something is not there, or is, stays what it is."""
    try:
        yield
    except (*_DEFINITE, BadInput):
        raise
    except Exception as error:  # each store's library fails in its own ways
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise Unreachable(
            f"{asked} cannot be read or written there ({reason}); what was written is kept, so look at the address, "
            "the network and the credentials, and give the same command again"
        ) from error


@cache
def _file_system(scheme: str) -> Any:
    package, extra = STORES[scheme]
    needed(package, extra, f"{scheme}://")
    import fsspec

    return fsspec.filesystem(scheme, **SETTINGS)


def place(where: str | Path) -> Path:
    """A path of this machine, or a `RemotePath`, which answers as one does to whatever records ask.

    Example:
        >>> place("s3://bucket/runs") / "one"
        RemotePath('s3://bucket/runs/one')
    """
    address = _ADDRESS.fullmatch(where) if isinstance(where, str) else None
    if address is not None and address[1] in STORES:
        if not address[2].strip("/"):
            raise BadInput(f"{where} names no place in a store; give one such as {address[1]}://bucket/runs")
        return cast(Path, RemotePath(address[1], address[2].strip("/")))
    return where if is_remote(where) else Path(where)


def is_remote(where: object) -> TypeGuard[Any]:
    """Whether a path is on an object store."""
    return isinstance(where, RemotePath)


def check_bucket(folder: RemotePath, of: str) -> None:
    """Refuse a place for a folder `of` something where there is no such bucket, or a file of this name."""
    bucket = RemotePath(folder.scheme, folder.key.parts[0])
    if folder.scheme != "memory" and not bucket.exists():
        raise BadInput(f"there is no bucket {bucket}, and none is made here; make it first, or give another place")
    if folder.is_file():
        raise BadInput(f"{folder} is a file, not a folder, so no {of} can be written there; give a folder with --out")


def create(path: Path, content: str) -> None:
    """Write a file that is not there; FileExistsError where it is, also where another creates it at that moment."""
    if is_remote(path):
        path._ask("pipe_file", content.encode(), mode="create")
    else:
        with path.open("x") as file:
            file.write(content)


def modified(path: Path) -> float:
    """When a file was written last: seconds, by the clock of the disk or the store."""
    return float(path._ask("modified").timestamp()) if is_remote(path) else path.stat().st_mtime


def size(path: Path) -> int:
    """Bytes of a file."""
    return int(path._ask("info")["size"]) if is_remote(path) else path.stat().st_size


def pieces(path: Path, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of a file from each first one to before each last one."""
    if is_remote(path):
        with answers(path):
            starts, ends = ([span[end] for span in spans] for end in (0, 1))
            found = _file_system(path.scheme).cat_ranges([str(path)] * len(spans), starts, ends, on_error="raise")
            return [bytes(one) for one in found]
    found = []
    with path.open("rb") as file:
        for start, end in spans:
            file.seek(start)
            found.append(file.read(end - start))
    return found


def first_gone(folder: Path, files: Iterable[Path]) -> Path | None:
    """The first of some files below a folder, by their paths in it, that is not there."""
    if is_remote(folder):
        there = {str(path) for path in folder.rglob("*")}  # one request, in the place of one for each
        return next((file for file in files if str(folder / file) not in there), None)
    return next((file for file in files if not (folder / file).is_file()), None)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, if it is there."""
    if is_remote(folder):
        for path in [*folder.rglob("*")]:
            path.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def move(made: Path, target: Path) -> None:
    """Put what was made on this machine into its place: on a store what lies deepest goes first.

    So whoever finds the files that tell of the others finds these too.
    """
    if not is_remote(target):
        made.rename(target)
        return
    files = sorted((path for path in made.rglob("*") if path.is_file()), key=lambda path: -len(path.parts))
    for file in files if made.is_dir() else [made]:
        (target / file.relative_to(made) if made.is_dir() else target).write_bytes(file.read_bytes())
