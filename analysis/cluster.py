"""Processes of a Dask cluster that take chunks of images: on this machine, or wherever its scheduler runs.

What they are given is what a chunk is made of (where the runs lie, which rows, what was drawn), and what they give back
is sums. These are added here, in the order of the images: so whoever measured what, and whoever died over it, the
numbers are those of one process, to the last bit.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Self, TypeVar

from tokenlens.errors import BadInput, needed

Job = TypeVar("Job")
Found = TypeVar("Found")
HERE = "local"  # the address of a cluster that is made for this comparison
AHEAD = 2  # jobs for each thread that are on their way, so that none waits for the next
PATIENCE = "10s"  # for a scheduler to answer


class Cluster:
    """A cluster that was reached."""

    def __init__(self, client: Any) -> None:
        """`client` is one of `distributed.Client`."""
        self.client = client

    @classmethod
    @contextmanager
    def reached(cls, address: str, workers: int) -> Iterator[Self]:
        """Make a cluster of so many processes on this machine ("local"), or find the one at an address.

        Raises:
            BadInput: there is no Dask, nobody answers, or the processes there have another tokenlens.
        """
        distributed = needed("distributed", "dask", "--dask")
        needed("bokeh", "dask", "--dask")  # for the dashboard
        import dask

        if address != HERE and "://" not in address:
            raise BadInput(f"--dask {address} is no address of a scheduler; give one such as tcp://host:8786, or none")
        silent = {"distributed.admin.large-graph-warning-threshold": "1 GB"}
        with dask.config.set(silent):
            try:
                made = None
                if address == HERE:
                    made = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, silence_logs=logging.ERROR,
                                                    dashboard_address="127.0.0.1:0")  # fmt: skip
                client = distributed.Client(made or address, timeout=PATIENCE)
            except (OSError, TimeoutError, ValueError) as error:
                raise BadInput(
                    f"no scheduler of Dask answers at {address} ({error}); start one with `dask scheduler`, or give "
                    "--dask alone for one on this machine"
                ) from error
            try:
                found = cls(client)
                found._check_versions(address)
                yield found
            finally:
                client.close()
                if made is not None:
                    made.close()

    @property
    def dashboard(self) -> str:
        """Where a browser shows what it does."""
        return str(self.client.dashboard_link)

    def _check_versions(self, address: str) -> None:
        own = version("tokenlens-vit")
        there = set(self.client.run(_version).values())
        if not there:
            raise BadInput(f"the scheduler at {address} has no workers; start some with `dask worker {address}`")
        if there != {own}:
            listed = ", ".join(sorted(map(str, there)))
            raise BadInput(
                f"the workers at {address} have tokenlens {listed} and here it is {own}; install the same on all"
            )

    def in_order(self, function: Callable[[Job], Found], jobs: Iterable[Job]) -> Iterator[Found]:
        """What a function makes of each job, in their order; a job whose process dies is done by another.

        Raises:
            BadInput: what the function raises of it; or the cluster is lost, or a job took several processes with it.
        """
        from distributed.scheduler import KilledWorker

        waiting, most = deque[Any](), 1 + AHEAD * sum(self.client.nthreads().values())
        try:
            for job in jobs:
                waiting.append(self.client.submit(function, job, pure=False))
                if len(waiting) >= most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KilledWorker as error:
            raise BadInput(
                f"several processes of the cluster died over one chunk of images ({error}); give a smaller --chunk, or "
                "the processes more memory"
            ) from error
        except (OSError, TimeoutError) as error:
            raise BadInput(f"the cluster was lost ({error}); give the same command again when it is there") from error


def _version() -> str | None:
    """The version of tokenlens in a worker; None where there is none."""
    from importlib.metadata import PackageNotFoundError

    try:
        return version("tokenlens-vit")
    except PackageNotFoundError:
        return None
