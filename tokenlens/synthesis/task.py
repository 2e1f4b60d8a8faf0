"""One method at one ratio: its pictures, their timings and its run; picture by picture, to be gone on with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import BadInput
from ..records.atomic import lock
from ..records.checksum import digest_of
from ..records.drawn import RUNS
from ..records.run import Run
from ..records.writer import LOCKS, RunWriter
from .drawn import Row, row_of, rows_of, save, write_about, write_rows
from .pipelines import Opened
from .prompts import Picture, Prompts
from .reduced import ReducedDenoiser

if TYPE_CHECKING:
    from .jobs import Synthesis

BRANCHES = ("unconditional", "conditional")


@dataclass(frozen=True)
class Synthesized:
    """What one method at one ratio amounts to."""

    folder: Path
    """of the pictures"""
    method: str
    ratio: float
    pictures: int
    made: int
    """in this call; the others were there"""
    seconds: float
    """of a picture, the mean"""
    deciding: float
    """share of that which went into deciding what to merge"""
    bytes_of_patterns: float
    """of a picture on disk, the mean; 0 where none are recorded"""
    flagged: int
    """pictures that the pipeline's safety checker made black"""


@dataclass
class Task:
    """One method at one ratio."""

    asked: Synthesis
    opened: Opened
    reduced: ReducedDenoiser
    prompts: Prompts
    pictures: Sequence[Picture]
    device: torch.device
    precision: str

    def run(self) -> Synthesized:
        """Make the pictures that are missing."""
        calls, patterns = self._look()
        run = self._identity(patterns)
        folder = self.asked.out / run.name
        self.reduced.record_steps = calls
        with lock(self.asked.out / LOCKS / run.name, str(folder)):
            if not calls:
                return self._fill(folder, None)
            attributes = self._attributes(run, calls, patterns)
            writer = RunWriter(self.asked.out / RUNS, run, attributes, [p.id for p in self.pictures], self.batch, 1)
            with writer.alone():
                return self._fill(folder, writer)

    @property
    def batch(self) -> int:
        """Pictures that are made together."""
        return self.asked.batch_size

    @property
    def steps(self) -> int:
        """Asked of the scheduler."""
        return self.opened.steps if self.asked.steps is None else self.asked.steps

    @property
    def guidance(self) -> float:
        """As diffusers has it: none up to 1."""
        return self.opened.guidance if self.asked.guidance is None else self.asked.guidance

    def _look(self) -> tuple[list[int], dict[str, Any]]:
        """The calls to record, and the patterns of one short walk, which say how many tokens remain in which blocks."""
        scheduler = self.opened.pipe.scheduler
        scheduler.set_timesteps(self.steps)
        there = len(scheduler.timesteps)
        asked = range(there) if self.asked.record_steps is None else self.asked.record_steps
        if beyond := [step for step in asked if not 0 <= step < there]:
            raise BadInput(
                f"step {beyond[0]} cannot be recorded: the denoiser is called {there} times, 0 to {there - 1}"
            )
        self._call(self.pictures[:1], steps=min(self.steps, 2), output_type="latent")
        reduces = self.reduced.ratio > 0
        return sorted(set(asked)) if reduces else [], self.reduced.take(images=1)

    def _call(self, pictures: Sequence[Picture], steps: int, **more: Any) -> Any:
        generators = [torch.Generator().manual_seed(picture.seed(self.asked.seed)) for picture in pictures]
        return self.opened.pipe(
            prompt=[picture.text for picture in pictures], num_inference_steps=steps, guidance_scale=self.guidance,
            generator=generators, **more,
        )  # fmt: skip

    def _identity(self, patterns: dict[str, Any]) -> Run:
        asked, left = self.asked, patterns["tokens_left"]
        return Run(
            dataset=f"prompts:{self.prompts.name}",
            split=f"{asked.per_class} each",
            images=len(self.pictures),
            content=digest_of([self.prompts.digest, [picture.id for picture in self.pictures]]),
            model=self.opened.name,
            weights=self.opened.digest,
            method=self.reduced.method.name,
            keep_rate=1 - self.reduced.ratio,
            blocks=tuple(self.reduced.numbers),
            keep=tuple(int(count) for count in left[0, 0, 0]),
            options={
                **self.reduced.options,
                "max_downsample": asked.max_downsample,
                "layers": list(self.reduced.layers),
                "steps": self.steps,
                "guidance": self.guidance,
                "recorded": "all" if asked.record_steps is None else list(asked.record_steps),
            },
            source=self.reduced.method.digest,
            seed=asked.seed,
            precision=self.precision,
            device=self.device.type,
        )

    def _attributes(self, run: Run, calls: list[int], patterns: dict[str, Any]) -> dict[str, Any]:
        branches = patterns["group"].shape[2]
        return {
            **self.reduced.method.facts(),
            "grid": list(self.reduced.finest),
            "blocks_by_name": [self.reduced.sites[number].name for number in run.blocks],
            "steps": calls,
            "branches": list(BRANCHES if branches == 2 else BRANCHES[1:]),
            "capacity": run.model,
            "versions": {name: version(name) for name in ("tokenlens-vit", "torch", "diffusers")},
        }

    def _fill(self, folder: Path, writer: RunWriter | None) -> Synthesized:
        """Make what is missing: pictures first, then their timings, then the run, which counts them."""
        rows = rows_of(folder)
        size = self.batch if writer is None else writer.batch_size
        start = len(rows) if writer is None else min(len(rows), writer.written)
        if writer is not None and start < writer.written:
            raise BadInput(f"{folder} has lost pictures that {writer.folder} is of, or they are damaged; move both "
                           "away to make them anew")  # fmt: skip
        del rows[start:]
        label = f"{self.reduced.method.name} {self.reduced.ratio:g}"
        off = not self.asked.progress
        with tqdm(total=len(self.pictures), initial=start, desc=label, unit="img", disable=off, leave=False) as bar:
            for first in range(start, len(self.pictures), size):
                batch = self.pictures[first : first + size]
                self.reduced.seconds, began = 0.0, time.perf_counter()
                output = self._call(batch, self.steps)
                seconds = (time.perf_counter() - began) / len(batch)
                flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(batch)
                for picture, image, black in zip(batch, output.images, flagged, strict=True):
                    save(image, folder / picture.file)
                    deciding = self.reduced.seconds / len(batch)
                    rows.append(row_of(
                        folder, picture=picture.file, prompt=picture.text, seed=picture.seed(self.asked.seed),
                        seconds=f"{seconds:.4f}", deciding=f"{deciding:.4f}", flagged=int(bool(black)),
                    ))  # fmt: skip
                write_rows(folder, rows)
                if writer is None:
                    self.reduced.restart()
                else:
                    writer.add(self.reduced.take(images=len(batch)))
                bar.update(len(batch))
        if writer is not None and not writer.complete:
            writer.finish({})
        self._tell(folder, rows)
        took, of_it = (np.array([float(row[name]) for row in rows]) for name in ("seconds", "deciding"))
        return Synthesized(
            folder, self.reduced.method.name, self.reduced.ratio, len(rows), len(rows) - start, float(took.mean()),
            float(of_it.sum() / took.sum()), _size(writer) / len(rows), sum(int(row["flagged"]) for row in rows),
        )  # fmt: skip

    def _tell(self, folder: Path, rows: Sequence[Row]) -> None:
        facts = self.reduced.method.facts()
        write_about(folder, {
            "model": self.opened.name, "method": self.reduced.method.name, "ratio": self.reduced.ratio,
            "prompts": self.prompts.name, "pictures": len(rows), "steps": self.steps, "guidance": self.guidance,
            "seed": self.asked.seed,
            "seconds": float(np.mean([float(row["seconds"]) for row in rows])),
            **{name: facts[name] for name in ("family", "label", "color", "marker", "order")},
        })  # fmt: skip


def describe(result: Synthesized) -> str:
    """One line on what was made: seconds, bytes, place."""
    made = f"{result.pictures} pictures" + ("" if result.made == result.pictures else f", {result.made} of them now")
    words = [f"{result.method} at ratio {result.ratio:g}: {made}, {result.seconds:.2f} s each"]
    if result.ratio:
        words.append(f"{100 * result.deciding:.0f} % of it to decide what merges")
    if result.bytes_of_patterns:
        words.append(f"{result.bytes_of_patterns / 1e6:.2f} MB of patterns each")
    if result.flagged:
        words.append(
            f"{result.flagged} made black by the pipeline's safety checker, which quality should not be judged by"
        )
    return f"{', '.join(words)} -> {result.folder}"


def _size(writer: RunWriter | None) -> int:
    return 0 if writer is None else sum(file.stat().st_size for file in writer.folder.rglob("*") if file.is_file())
