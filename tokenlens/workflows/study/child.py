"""Commands one after the other, each in a process of its own, forked from one that has imported what is slow to import.

Importing torch and timm takes longer than many a task. Each line of standard input asks for one command: its words and
the file that its output goes to, as JSON; a line with the exit code answers. A command ends when the process that asked
for it does: one that was killed closes its end of the pipe, and its commands would go on writing beside the next one's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module

from ...signals import ENDINGS

SLOW = {"finetune": "tokenlens.training.finetune", "extract": "tokenlens.extraction.jobs"}


def serve() -> bool:
    """Answer what is asked for until nobody asks; True in the process of a command, which it is then to carry out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands
    running: list[int] = []

    def hand_on(number: int, _: object) -> None:
        for child in running:
            with suppress(ProcessLookupError):
                os.kill(child, number)

    for number in ENDINGS:
        signal.signal(number, hand_on)
    while line := _line():
        words, log = json.loads(line)
        with suppress(ImportError):  # the command says better what to install
            import_module(SLOW.get(words[0], "tokenlens"))
        child = os.fork()
        if child == 0:
            _become(words, log)
            return True
        running.append(child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        running.clear()
        print(code, flush=True)
    return False


def _line() -> bytes:
    """The next line, byte by byte: nothing may be read ahead, for the command's process watches the same pipe."""
    found = b""
    while not found.endswith(b"\n") and (byte := os.read(0, 1)):
        found += byte
    return found


def _become(words: list[str], log: str) -> None:
    """Be the process of a command: its words, its output, and an end when nobody waits for it any longer."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDINGS:
        signal.signal(number, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    threading.Thread(target=_watch, daemon=True).start()
    sys.argv = ["tokenlens", *words]


def _watch() -> None:
    os.read(0, 1)  # not through sys.stdin, whose lock Python wants to have when it ends
    os._exit(130)


if __name__ == "__main__" and serve():
    from ...cli import main

    main()
