"""Processes that write the same runs share them by leases: files that only one can create, naming who holds them.

Each process has a file of its own, below the folder of runs, by which it shows that it lives: it is touched every few
seconds, and locked, which the system undoes when the process dies. A lease whose holder is dead may be taken over:
one of this machine at once, one of another machine when it was silent for EXPIRY. Nothing is lost where somebody was
only thought dead: what is written under a lease is the same whoever writes it, and replaces a file in one piece.

On an object store a lease is a conditional write (If-None-Match), and only silence tells who is dead. Where a store
takes no conditions, which is tried out, there are no leases: one process alone may write, and several refuse to.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from ..errors import BadInput, disk_errors
from . import atomic
from .atomic import locked, write
from .place import create, is_remote, modified, remove_tree

LEASES = ".leases"  # below a folder of runs; it goes with the last process
BEAT = 10.0  # seconds between signs of life
EXPIRY = 60.0  # seconds of silence, after which somebody on another machine counts as dead
POLL = 0.02  # seconds between looks at what is held only briefly
POLL_STORE = 0.25  # the same where each is a request


class Leaseholder:
    """A process among those that write runs into one folder: this one.

    Examples:
        with Leaseholder(Path("runs"), {"of": 2, "settings": {"methods": ["topk"]}}) as here:
            if here.take("run/0"):
                ...
                here.give("run/0")
    """

    def __init__(self, out: Path, told: Mapping[str, Any]) -> None:
        """`told` is what the others may read of this process: plain JSON."""
        self.folder = out / LEASES
        self.name = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        self.told: dict[str, Any] = json.loads(json.dumps(told))
        self._held: set[str] = set()
        self._stack = ExitStack()
        self.exclusive = True
        """whether leases are to be had"""

    def __enter__(self) -> Self:
        self._stack.callback(self._leave)
        with disk_errors(self.folder):
            self._appear()
            self._remove_dead()
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT):
                with suppress(OSError, BadInput):
                    self._touch()

        threading.Thread(target=beat, daemon=True).start()
        self._stack.callback(ended.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _appear(self) -> None:
        if is_remote(self.folder):
            for expected in (True, False):  # no other is called so
                self.exclusive = self._created(self._file(self.name), json.dumps(self.told)) == expected
            return
        while True:
            own, held = self._file(self.name), ExitStack()
            # another that leaves may remove the empty folder, or take what is not locked yet for a dead one's
            with suppress(FileNotFoundError):
                self.folder.mkdir(parents=True, exist_ok=True)
                create(own, json.dumps(self.told))
                held.enter_context(locked(own))
                if own.exists():
                    self._stack.push(held)
                    return
            held.close()

    def _remove_dead(self) -> None:
        """Remove by what the dead showed that they lived."""
        for other in self._others():
            if not self.lives(other):
                self._file(other).unlink(missing_ok=True)

    def _touch(self) -> None:
        """Give a sign of life."""
        own = self._file(self.name)
        if is_remote(own):
            write(own, json.dumps(self.told))
        else:
            os.utime(own)

    def _created(self, path: Path, content: str) -> bool:
        try:
            create(path, content)
        except FileExistsError:
            return False
        return True

    def _leave(self) -> None:
        with suppress(OSError, BadInput):
            for lease in [*self._held]:
                self.give(lease)
            self._remove_dead()
            self._file(self.name).unlink(missing_ok=True)
            for folder in [*(path for path in self.folder.iterdir() if path.is_dir()), self.folder]:
                with suppress(OSError):  # not empty: others are at work
                    folder.rmdir()

    def others(self) -> dict[str, dict[str, Any]]:
        """What the others tell that live, by "process NUMBER on MACHINE"."""
        found = {}
        for name in self._others():
            with suppress(OSError, json.JSONDecodeError):
                if self.lives(name):
                    found[_called(name)] = json.loads(self._file(name).read_text())
        return found

    def take(self, lease: str) -> bool:
        """Take a lease, which is named by a path of one folder and a file; False where somebody has it who lives."""
        path = self.folder / lease
        with disk_errors(path.parent):
            for _ in range(3):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if self._created(path, self.name) or self._answered_twice(lease):
                        self._held.add(lease)
                        return True
                    holder = path.read_text()
                    if self._valid(path, holder) or not self._removed(lease, holder):
                        return False
                except FileNotFoundError:  # it has just been given back, or the folder been removed, being empty
                    continue
        return False

    def _removed(self, lease: str, dead: str) -> bool:
        """Remove a lease of the dead; False where another is about to, who may have taken it meanwhile.

        The right to remove it is a lease itself. Without that, two that find it would each remove what they find later:
        the second one that of the first.
        """
        right = f"{lease}@{dead.split('.')[-1]}"
        if not self.take(right):
            return False
        try:
            if (self.folder / lease).read_text() == dead:
                (self.folder / lease).unlink()
        finally:
            self.give(right)
        return True

    def _answered_twice(self, lease: str) -> bool:
        """Whether this process has created a lease, and a store's answer was lost: asked again, it says it is there."""
        return is_remote(self.folder) and lease not in self._held and (self.folder / lease).read_text() == self.name

    def give(self, lease: str) -> None:
        """Give a lease back."""
        self._held.discard(lease)
        with suppress(OSError):
            (self.folder / lease).unlink(missing_ok=True)

    @contextmanager
    def holding(self, lease: str) -> Iterator[None]:
        """Hold a lease that others hold only briefly, until the block ends."""
        while not self.take(lease):
            time.sleep(POLL_STORE if is_remote(self.folder) else POLL)
        try:
            yield
        finally:
            self.give(lease)

    def holder(self, run: str) -> str | None:
        """One of the others who hold leases on chunks of a run."""
        with suppress(OSError):
            for path in sorted((self.folder / run).iterdir()):
                name = path.read_text() if path.name.isdigit() else ""
                if name and name != self.name and self.lives(name):
                    return _called(name)
        return None

    def forget(self, run: str) -> None:
        """Remove what is left of the leases of a run that is complete."""
        remove_tree(self.folder / run)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _others(self) -> list[str]:
        return [path.stem for path in sorted(self.folder.glob("[!.]*.json")) if path.stem != self.name]

    def _valid(self, path: Path, holder: str) -> bool:
        """Whether the holder of a lease lives; one that is just being written has no name in it yet."""
        return self.lives(holder) if holder else self._age(path) < EXPIRY

    def lives(self, name: str) -> bool:
        """Whether a process that is called so is still at work."""
        file = self._file(name)
        if name == self.name:
            return True
        try:
            if name.split(".")[:-2] == self.name.split(".")[:-2] and not is_remote(file):  # of the same machine
                with locked(file) as free:
                    if free:
                        return False
            return self._age(file) < EXPIRY
        except OSError:
            return False

    def _age(self, path: Path) -> float:
        """Seconds since a file was touched, by the clock of the disk or the store, which is the same for all."""
        self._touch()
        return modified(self._file(self.name)) - modified(path)


def _called(name: str) -> str:
    *machine, number, _ = name.split(".")
    return f"process {number} on {'.'.join(machine)}"


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Be the only process that writes `what`; see `atomic.lock`. On a store it is a lease, beside `path`."""
    if not is_remote(path):
        with atomic.lock(path, what):
            yield
        return
    with Leaseholder(path.parent, {}) as here:
        check_exclusive(here, many=False)
        lease = f"lock/{path.name}"
        if not here.take(lease):
            warnings.warn(f"another process is writing {what}; waiting until it has ended", stacklevel=3)
            with here.holding(lease):
                yield
        else:
            yield


def check_exclusive(here: Leaseholder, many: bool) -> None:
    """Where a store keeps no two processes apart, refuse to be one of many, and warn one that should be alone."""
    if here.exclusive:
        return
    if many:
        raise BadInput(
            f"{here.folder.parent} takes no conditional writes (If-None-Match), so no lock is to be had there and "
            "several processes would undo each other's work; write with one process, or to another store"
        )
    warnings.warn(
        f"{here.folder.parent} takes no conditional writes (If-None-Match), so no lock is to be had there: see to it "
        "that no other process writes there meanwhile",
        stacklevel=3,
    )
