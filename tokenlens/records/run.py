"""What makes a run: data, model, method, schedule and seed. Its name is the folder it lies in."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

CAPACITIES = ("micro", "nano", "tiny", "small", "base", "large", "huge", "giant", "gigantic")  # from small to large
LONGEST = 40  # letters of each word in a run's name: file systems take 255 in all


@dataclass(frozen=True)
class Run:
    """The identity of a run. Two runs with the same identity hold the same patterns."""

    dataset: str
    """which images, and never where they lie; the attribute `place`, which is none of the identity, says that"""
    split: str
    images: int
    """how many images the run is to have"""
    content: str
    """a digest of the image ids, in order"""
    model: str
    weights: str
    """a digest of the weights; "random" for untrained ones"""
    method: str
    keep_rate: float | None
    """the one rate asked for; off the shelf the mean share asked to remain; None where shares or counts were given"""
    blocks: tuple[int, ...]
    keep: tuple[int, ...]
    """tokens asked to remain after each stage"""
    options: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    """a digest of the method's code: another code makes other patterns"""
    seed: int = 0
    precision: str = "float32"
    device: str = "cpu"
    """cpu or cuda: they round differently, so a run stays on the kind that it began on"""
    features: bool | str = False
    """the type that class-token features are stored as"""
    soft: bool = False
    attention: bool = False

    def attributes(self) -> dict[str, Any]:
        """The identity as plain JSON."""
        found = json.loads(json.dumps(asdict(self)))
        if not self.attention:
            del found["attention"]  # as in runs of before it could be recorded
        return found  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of everything above."""
        return hashlib.sha256(json.dumps(self.attributes(), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def title(self) -> str:
        """What it is called beside others of its setting."""
        return self.method if self.keep_rate is None else f"{self.method} at {self.keep_rate:g}"

    @property
    def name(self) -> str:
        """What a person reads in a folder listing, and the digest that tells near twins apart."""
        amount = f"r{self.keep_rate:g}" if self.keep_rate is not None else "k" + "-".join(map(str, self.keep[:3]))
        where = self.dataset.rstrip("/").replace("\\", "/").split("/")[-1].removeprefix("embedded:")
        words = [where, self.split, self.model, self.method, amount]
        return "_".join(re.sub(r"[^A-Za-z0-9.\-]+", "-", word)[:LONGEST] for word in words) + f"_{self.digest}"


def capacity_of(name: str) -> str:
    """The capacity that a model's name says (tiny, small, base, ...), or the name itself."""
    words = [part for part in re.split(r"[_\-.:/@]", name) if part in CAPACITIES]
    return words[-1] if words else name  # nano-tiny is the tiny one of its family
