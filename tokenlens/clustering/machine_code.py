"""Compiled functions whose machine code is kept on disk for as long as nothing that went into it changes."""

import hashlib
import inspect
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile with numba, without the interpreter's lock, kept on disk until a module in the function's folder changes.

    numba keeps machine code until the function's own file changes, and what it calls of other files is part of it: an
    older `linkage` would go on clustering through an untouched `host`. So the name that it is kept under says of which
    sources it is.
    """

    def compile_(function: Function) -> Function:
        function.__qualname__ += f"_{_sources(Path(inspect.getfile(function)).parent)}"
        return cast(Function, njit(cache=True, nogil=True, **options)(function))

    return compile_


@lru_cache
def _sources(folder: Path) -> str:
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
