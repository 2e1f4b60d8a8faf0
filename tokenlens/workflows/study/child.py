"""Tasks one after the other, each in a process of its own, forked from one that has imported what is slow to import.

Importing torch and timm takes longer than many a task. Each line of standard input asks for one call: the function, its
arguments and the file that its output goes to, as JSON; a line with the exit code answers. A task ends when the process
that asked for it does: one that was killed closes its end of the pipe, and its tasks would go on writing beside the
next one's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pkgutil import resolve_name
from typing import Any

from ...errors import BadInput
from ...signals import ENDINGS, INTERRUPTED, TERMINATED, Terminated

Call = tuple[str, dict[str, Any]]


def serve() -> Call | None:
    """Answer what is asked for until nobody asks; in the process of a task, the call that it is then to make."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tasks
    running: list[int] = []

    def hand_on(number: int, _: object) -> None:
        for child in running:
            with suppress(ProcessLookupError):
                os.kill(child, number)

    for number in ENDINGS:
        signal.signal(number, hand_on)
    while line := _line():
        function, arguments, log = json.loads(line)
        import_module(function.partition(":")[0])
        child = os.fork()
        if child == 0:
            _become(log)
            return function, arguments
        running.append(child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        running.clear()
        try:
            os.write(1, f"{code}\n".encode())
        except BrokenPipeError:  # who asked was killed meanwhile
            return None
    return None


def call(function: str, arguments: dict[str, Any]) -> int:
    """Call "module:function"; the exit code: 2 where what was given cannot be used, which is told in one sentence."""
    try:
        resolve_name(function)(**arguments)
    except BadInput as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    return 0


def _line() -> bytes:
    """The next line, byte by byte: nothing may be read ahead, for the task's process watches the same pipe."""
    found = b""
    while not found.endswith(b"\n") and (byte := os.read(0, 1)):
        found += byte
    return found


def _become(log: str) -> None:
    """Be the process of a task: its output, and an end when nobody waits for it any longer."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDINGS:
        signal.signal(number, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    os.read(0, 1)  # not through sys.stdin, whose lock Python wants to have when it ends
    os._exit(INTERRUPTED)


if __name__ == "__main__" and (asked := serve()):
    sys.exit(call(*asked))
