"""What signals ask: Ctrl-C, SIGTERM and SIGUSR1 end a command at once; trainings and studies save before they end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

STOPPED = "Stopped. What was written is kept; the same command goes on from there."
GRACE = 1.0  # seconds in which a command may end by itself
INTERRUPTED, TERMINATED = 130, 143  # exit codes, as shells have them: 128 and the signal's number
ENDINGS = [number for name in ("SIGTERM", "SIGUSR1") if (number := getattr(signal, name, None)) is not None]


class Terminated(BaseException):
    """The command was asked to end, and what counts is saved; no `Exception`, so that nobody takes it for a failure."""


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
def prompt_end() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGUSR1 end the process with `STOPPED`, also where its main thread hears of nothing.

    They raise `KeyboardInterrupt` or `Terminated`; a computation that does not come back to Python is left after
    `GRACE`. All that is written is whole or not there, so nothing is lost by that. Who has to save first catches the
    latter two by `endings`, and may take its time.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before, ended = signal.set_wakeup_fd(told, warn_on_full_buffer=False), threading.Event()
    handlers = {number: signal.signal(number, _terminate) for number in ENDINGS}

    def watch() -> None:
        while numbers := os.read(heard, 64):
            if (code := _asked(numbers)) and not ended.wait(GRACE):
                _leave(code)
        os.close(heard)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(told)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _asked(numbers: bytes) -> int:
    """The exit code that these signals ask for, of those that are to end the process; 0: none."""
    if signal.SIGINT in numbers:
        return INTERRUPTED
    return TERMINATED * any(number in numbers and signal.getsignal(number) is _terminate for number in ENDINGS)


def _leave(code: int) -> NoReturn:
    os.write(2, f"\n{STOPPED}\n".encode())
    os._exit(code)


def _be_a_child() -> None:
    """A forked process, as those that read images, dies of what ends it, and does not wake its parent."""
    ours = [number for number in ENDINGS if signal.getsignal(number) is _terminate]
    for number in ours:
        signal.signal(number, signal.SIG_DFL)
    if ours:
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_be_a_child)
