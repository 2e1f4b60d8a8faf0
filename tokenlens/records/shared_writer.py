"""Write runs by several processes at once, each whole chunks on which it has a lease."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .atomic import write
from .leases import Leaseholder
from .writer import Batch, RunWriter

PLAN = "plan"  # beside the leases of a run: batches and chunks of a run that is not there yet


class SharedWriter(RunWriter):
    """Writes chunks of a run wherever in it they are; touches nothing before `share`."""

    _here: Leaseholder

    def share(self, here: Leaseholder) -> None:
        """Be one of several processes that write the run, each of them chunks on which it has a lease.

        All take the batches and chunks that the first of them has planned.

        Raises:
            BadInput: what is there was begun by another tokenlens.
        """
        self._here = here
        with self._changing():
            if self._layout is None:
                self._plan()
            elif not self.complete:
                self._check_versions(self._layout.attributes)

    def _plan(self) -> None:
        """Agree with the others on the batches and chunks of a run that is not there yet; the first of them decides."""
        path, name = self._here.folder / self.run.name / PLAN, self.run.name
        try:
            plan = json.loads(path.read_text())
            planned = self._here.lives(plan.pop("by")) or self._here.holder(name) is not None
        except (OSError, ValueError, KeyError):
            planned = False
        if planned:
            self._asked = plan
            self.look()
        else:
            write(path, json.dumps({**self._asked, "by": self._here.name}))

    def _create(self, first: Batch) -> None:
        super()._create(first)
        (self._here.folder / self.run.name / PLAN).unlink(missing_ok=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Be the only one that changes the run's description, and see how far it is."""
        with self._here.holding(f"{self.run.name}/description"):
            self.look()
            yield

    def take(self, first: int) -> bool:
        """Take a lease on the chunk that begins with an image; False where another has it, or it is there."""
        if self._there(first) or not self._here.take(f"{self.run.name}/{first}"):
            return False
        self.look()
        if self._there(first):  # it has come meanwhile
            self.give(first)
            return False
        return True

    def warn_who_writes(self) -> bool:
        """Say which other process is being waited for; False where it is none."""
        if who := self._here.holder(self.run.name):
            warnings.warn(f"{who} is writing {self.folder}; waiting until it has ended", stacklevel=3)
        return who is not None

    @property
    def standing(self) -> str:
        """How far a run is that other processes finish, for a person to read."""
        return f"{self.images_there} of {len(self.ids)} images are there, others have the rest -> {self.folder}"

    def give(self, first: int) -> None:
        """Give the lease on a chunk back."""
        self._here.give(f"{self.run.name}/{first}")

    def _there(self, first: int) -> bool:
        return first < self.written or first in self.ahead
