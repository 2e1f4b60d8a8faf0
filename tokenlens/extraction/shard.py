"""Which of several processes this one is, that make the same runs: `--shard 3/64`, or as torch's launchers say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch

from ..errors import BadInput
from ..records.leases import Leaseholder

# what launchers and schedulers call one job, which is the same for all of its processes
JOBS = ("TORCHELASTIC_RUN_ID", "SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "PBS_ARRAY_ID", "LSB_JOBID", "MASTER_PORT")

TURNS = 4  # chunks at least for each of several processes


@dataclass(frozen=True)
class Shard:
    """One of `of` processes, the first is 1. Each begins with a share of its own, and goes on with what is left."""

    number: int = 1
    of: int = 1
    job: str = ""
    """what tells this job's processes from another's"""
    local: int = 0
    """which it is of those that one launcher has begun on this machine, from 0"""

    @classmethod
    def parse(cls, text: str | None, environment: Mapping[str, str] = os.environ) -> Self:
        """Read NUMBER/OF; without it, what torchrun and accelerate launch say in RANK and WORLD_SIZE.

        Raises:
            BadInput: it is no such pair, or the number is not among 1 to OF.
        """
        job = next((f"{name}={environment[name]}" for name in JOBS if name in environment), "")
        launched, local = text is None, environment.get("LOCAL_RANK", "0")
        if text is None:
            rank, text = environment.get("RANK", "0"), "1/1"
            if rank.isdecimal():
                text = f"{int(rank) + 1}/{environment.get('WORLD_SIZE', '1')}"
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        number, of = (int(group) for group in found.groups()) if found else (0, 0)
        if not 1 <= number <= of:
            every, said = of or 4, "RANK and WORLD_SIZE say" if launched else "--shard says"
            raise BadInput(
                f"{said} {text}, which is no part of a whole; give NUMBER/OF, such as 1/{every} to {every}/{every}"
            )
        return cls(number, of, job, int(local) if launched and local.isdecimal() else 0)

    def turns(self, chunks: int) -> Iterator[int]:
        """All chunks in the order in which this process looks at them: its own share, then the ends of the others'."""
        shares = [range(part * chunks // self.of, (part + 1) * chunks // self.of) for part in range(self.of)]
        mine = self.number - 1
        yield from shares[mine]
        for other in range(1, self.of):
            yield from reversed(shares[(mine + other) % self.of])

    def chunk(self, images: int, most: int, batch: int) -> int:
        """Images in a chunk, at most so many; few enough that faster processes do more, and equal ones end together."""
        batches, largest = -(-images // batch), most // batch
        even = -(-batches // (TURNS * self.of))
        if self.of == 1 or even >= largest:
            return most

        def longest(size: int) -> int:
            """Batches of the process that does most of them, where each does as many chunks as it can."""
            return size * -(-batches // (size * self.of))

        return batch * min(range(even, max(0, even // 2 - 1), -1), key=longest)

    def device(self, device: torch.device) -> torch.device:
        """The GPU of this process, where one launcher has begun several on this machine."""
        if device.type != "cuda":
            return device
        return torch.device("cuda", self.local % torch.cuda.device_count())

    @property
    def shows(self) -> bool:
        """Whether it is the one that shows how far it is, of those that write to one terminal."""
        return self.local == 0


def check_alike(here: Leaseholder) -> None:
    """Refuse to be one of several processes of one job that were given different settings.

    What a process tells of itself has to have `job`, which is the same for all of one job, and `settings`.

    Raises:
        BadInput: naming the other, and the first setting that differs.
    """
    mine = here.told
    for who, theirs in here.others().items():
        if theirs.get("job") != mine["job"]:
            continue
        for name, value in mine["settings"].items():
            other = theirs["settings"].get(name, value)
            if other != value:
                raise BadInput(
                    f"{who} is another part of this job, and its {name} is {other} where here it is {value}; "
                    "give all parts the same options, or this job another --out"
                )
