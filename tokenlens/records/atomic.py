"""Files that are whole or not there, whenever a writer is killed, whoever else writes, and whatever the disk does.

What is written is made beside its place, under a name that nobody foresees and that is created exclusively, and moves
to its place once it is on disk. Its writer holds a lock on it, which the system lets go when the writer dies: so what
the dead have left is told from what is being written, and removed by whoever writes beside it next.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BadInput, disk_errors
from .place import is_remote, move

if sys.platform != "win32":
    import fcntl

PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.partial")
BRIEF = 1.0  # seconds that one waits for another writer without a word
KINDS = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"))


@contextmanager
def whole(path: Path, parents: bool = True) -> Iterator[Path]:
    """Give a place beside `path` to write to; it moves there once the block has ended well and all is on disk.

    Args:
        path: the file; the folder that it lies in is made, unless `parents` is False.
        parents: see above.

    Raises:
        BadInput: something other than a plain file is in the place, or the disk is full or cannot be written.
    """
    with disk_errors(path.parent):
        if is_remote(path):
            with scratch(path) as partial:
                yield partial
                move(partial, path)
            return
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        check_place(path)
        with scratch(path) as partial:
            yield partial
            sync(partial)
            check_place(path)
            partial.replace(path)
        sync(path.parent)


def write(path: Path, content: bytes | str, parents: bool = True) -> Path:
    """Write a file at one go; see `whole`. A name in a text, which may hold any bytes, stays readable."""
    content = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    if is_remote(path):
        with disk_errors(path.parent):
            path.write_bytes(content)
    else:
        with whole(path, parents) as partial:
            partial.write_bytes(content)
    return path


def check_place(path: Path, otherwise: str = "") -> None:
    """Refuse to write where something other than a plain file is: a device, a pipe, a folder, or a link to anything.

    `otherwise` is what else may be done.
    """
    if is_remote(path):
        return
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        kind = next((words for test, words in KINDS if test(mode)), "a device or a pipe")
        raise BadInput(
            f"{path} is {kind}, and only a plain file is ever replaced; give another place with --out{otherwise}"
        )


@contextmanager
def scratch(path: Path, folder: bool = False) -> Iterator[Path]:
    """Make an empty file (or a folder) beside `path` that is this writer's alone, and remove it at the end.

    For a place on a store it is on this machine, from where `move` puts it there.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="tokenlens-") as here:
            yield Path(here) if folder else Path(here, path.name)
        return
    clean(path.parent)
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        if folder:
            partial.mkdir()
        else:
            partial.touch(exist_ok=False)
        with locked(partial) as ours:
            # in the instant before it is locked, another may have taken it for a dead one's
            if ours is False or not partial.exists():
                continue
            try:
                yield partial
            finally:
                shutil.rmtree(partial, ignore_errors=True) if folder else partial.unlink(missing_ok=True)
            return


def clean(folder: Path) -> None:
    """Remove what writers that have died were making in a folder; what the living make is left alone."""
    for entry in os.scandir(folder):
        if PARTIAL.fullmatch(entry.name) and not entry.is_symlink():
            with suppress(OSError), locked(Path(entry.path)) as dead:  # else somebody else's, or gone by now
                if dead:
                    shutil.rmtree(entry.path) if entry.is_dir() else Path(entry.path).unlink()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk; a store has what it has taken."""
    if is_remote(path):
        return
    if path.is_dir():
        with suppress(OSError):  # not every file system can
            held = os.open(path, os.O_RDONLY)
            try:
                os.fsync(held)
            finally:
                os.close(held)
    else:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def sync_all(paths: Iterable[Path]) -> None:
    """Wait until files and folders are on disk, all at once, which a disk answers together."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(sync, paths))


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Be the only process that writes `what`; where there is another, say which, and wait for it.

    `path` is the file of the lock. It stays, empty, for those that wait for it hold it open.
    """
    from filelock import FileLock, Timeout

    held = FileLock(path)
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=BRIEF)
        except Timeout:
            with suppress(OSError):
                who = path.read_text() or "another process"
                warnings.warn(f"{who} is writing {what}; waiting until it has ended", stacklevel=3)
            held.acquire()
        with suppress(OSError):  # where nobody may write what is locked, nobody is named
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    try:
        yield
    finally:
        with suppress(OSError):
            os.truncate(path, 0)
        held.release()


@contextmanager
def locked(path: Path) -> Iterator[bool | None]:
    """Lock a file or folder until the block ends: True; False where another has; None where that cannot be told."""
    if sys.platform == "win32":
        yield None
        return
    held = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours: bool | None = True
    except BlockingIOError:
        ours = False
    except OSError:  # not every file system locks
        ours = None
    try:
        yield ours
    finally:
        os.close(held)
