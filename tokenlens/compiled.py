"""A place for compiled code where numba finds none: installed read-only, for a user without a home."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def find_place() -> None:
    """Give numba a folder of this process's own where it could keep nothing, which it refuses to compile without.

    What is kept there is code, so nobody else may be able to write there, and it goes with the process.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or os.access(Path(__file__).parent, os.W_OK):
        return
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "numba"
        caches.mkdir(parents=True, exist_ok=True)
        if os.access(caches, os.W_OK):
            return
    except (OSError, RuntimeError):  # no home, or none that can be written
        pass
    place = tempfile.mkdtemp(prefix="tokenlens-compiled-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = place
