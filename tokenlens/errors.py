"""What a user did can be wrong in many places; it is told in one way.

A message is one sentence: the fact, the situation, the way out. The command line prints it and exits with code 2.
"""

import difflib
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


class BadInput(ValueError):
    """Something a user gave cannot be used; the message says what, where, and what would do.

    Examples:
        >>> import tokenlens
        >>> try:
        ...     tokenlens.open_data("embedded:shape")
        ... except tokenlens.BadInput as error:
        ...     print(error)
        there is no embedded set called 'shape'; did you mean shapes?
    """


class UnknownName(BadInput, LookupError):
    """A name that is in no list; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        offer = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:20])}"
        super().__init__(f"there is no {kind} called {name!r}; {offer}")


def needed(module: str, extra: str, what: str) -> ModuleType:
    """Import a package that comes with an extra; where it is missing, say how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        raise _missing(error.name, extra, what) from error


def located(package: str, extra: str, what: str) -> Path:
    """The folder of a package that comes with an extra, of which only files are wanted: it is not imported."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise _missing(package, extra, what)
    return Path(found.origin).parent


def _missing(package: str, extra: str, what: str) -> BadInput:
    return BadInput(
        f"{what} needs the package {package}, which is not installed; install tokenlens with its extra {extra}: "
        f"pip install 'tokenlens-vit[{extra}]', or in a clone uv run --extra {extra} tokenlens"
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Tell a full or unwritable disk in one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadInput(
                f"the disk is full while writing {folder}; what was written is kept, free some space and run again"
            ) from error
        raise BadInput(
            f"{folder} cannot be written ({error.strerror or error}); choose another folder with --out"
        ) from error


def check_no_pipe(path: Path) -> None:
    """Refuse a pipe, a socket or a device where a file is to be read: one would wait for whoever writes to it."""
    with suppress(OSError):  # what is not there, or may not be looked at, fails where it is read
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise BadInput(f"{path} is a pipe or a device, which would be waited for; give a plain file")


PROCESS = 300_000_000  # bytes that a process takes which has read torch


def memory() -> int:
    """Bytes of memory of this machine, or of the container that this process is in; `sys.maxsize` where none tells."""
    found = sys.maxsize
    with suppress(AttributeError, ValueError, OSError):  # not on every system
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(ValueError, OSError):  # no such file, or the word "max" in it
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found


def check_memory(what: str, needed: int, way_out: str) -> None:
    """Refuse, before it begins, what takes more than all memory; `what` is a plural, `needed` bytes at least."""
    most = memory()
    if needed > most:
        raise BadInput(
            f"{what} take {needed / 1e9:,.1f} GB of memory or more, and there are {most / 1e9:,.1f} GB; {way_out}"
        )
