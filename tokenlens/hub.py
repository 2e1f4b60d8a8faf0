"""The Hugging Face hub where it is not to be asked, or cannot be: its client would try for half a minute a file."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

SECONDS = 3.0  # for one connection


@contextmanager
def answers_at_once() -> Iterator[None]:
    """Have the hub's client look into its cache only, where the hub cannot be reached; also a decorator.

    Behind a proxy it is left to try: the proxy may reach what this machine cannot.

    Raises:
        ConnectionError: the hub cannot be reached, and its cache does not hold what was asked for.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    host = urlsplit(constants.ENDPOINT)
    if (
        constants.HF_HUB_OFFLINE
        or getproxies()
        or _reached(host.hostname, host.port or (80 if host.scheme == "http" else 443))
    ):
        yield
        return
    with without_hub():
        try:
            yield
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            raise ConnectionError(f"{host.hostname} cannot be reached, and the cache does not hold it") from error


@contextmanager
def without_hub() -> Iterator[None]:
    """Fetch nothing from the hub while a folder is read, whose files may name what lies there."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reached(host: str | None, port: int) -> bool:
    try:
        socket.create_connection((host or "", port), SECONDS).close()
    except OSError:
        return False
    return True
