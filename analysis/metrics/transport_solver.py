"""POT's exact solver of transports, imported when the first one is asked for: only one measure needs it."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_LOADING = threading.Lock()


def solver() -> Callable[..., Any]:
    """`ot.emd2`."""
    with _LOADING:  # its import changes the environment for a moment
        return _imported()


@lru_cache(maxsize=1)
def _imported() -> Callable[..., Any]:
    """Import it.

    POT imports every tensor library that is installed, torch among them, which takes seconds and hundreds of megabytes.
    It is told not to, unless the program has torch already.
    """
    switches = [f"POT_BACKEND_DISABLE_{name}" for name in ("PYTORCH", "JAX", "TENSORFLOW", "CUPY")]
    before = {name: os.environ.get(name) for name in switches}
    try:
        if "torch" not in sys.modules:
            os.environ.update(dict.fromkeys(switches, "1"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its docstrings warn when they are compiled for the first time
            import ot
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    return ot.emd2
