"""What signals ask of a command: Ctrl-C ends it at once, SIGTERM and SIGUSR1 let it save first."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

STOPPED = "Stopped. What was written is kept; the same command goes on from there."
GRACE = 1.0  # seconds in which a command may end by itself after Ctrl-C
INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells have them: 128 and the signal's number
ENDINGS = [number for name in ("SIGTERM", "SIGUSR1") if (number := getattr(signal, name, None)) is not None]


class Terminated(BaseException):
    """The command was asked to end, and has saved; no `Exception`, so that nobody takes it for a failure."""


class Request:
    """Whether this process was asked to end."""

    came = False


@contextmanager
def endings() -> Iterator[Request]:
    """Note SIGTERM and SIGUSR1, by which schedulers say that time is up, instead of dying of them.

    Raises:
        Terminated: one came, and what fails since fails because it has ended other processes too, as those that read
            images; what was saved last counts.
    """
    request = Request()

    def note(*_: object) -> None:
        request.came = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, note) for number in ENDINGS}
    try:
        yield request
    except RuntimeError as error:
        if request.came:
            raise Terminated from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def prompt_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the process after `GRACE`, where its main thread is in a computation that hears of nothing.

    All that is written is whole or not there, so nothing is lost by that.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before, ended = signal.set_wakeup_fd(told, warn_on_full_buffer=False), threading.Event()

    def watch() -> None:
        while numbers := os.read(heard, 64):
            if signal.SIGINT in numbers and not ended.wait(GRACE):
                _leave()
        os.close(heard)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.close(told)


def _leave() -> NoReturn:
    os.write(2, f"\n{STOPPED}\n".encode())
    os._exit(INTERRUPTED)
