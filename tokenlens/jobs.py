"""Several runs in one call: every method at every rate, on one model and one data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .data import ImageSet, open_data
from .errors import BadInput
from .extract import Extracted, comparable, extract_run
from .hosts import Host, input_of, open_host
from .loading import Loading
from .methods import method
from .run import Run
from .schedule import STUDY_BLOCKS
from .store import check_out
from .vit import ReducedViT, reduce

EMBEDDED_LIMIT = 1000  # of an endless set; a folder is read whole


@dataclass
class Job:
    """What `tokenlens extract` was asked for; the fields are its options."""

    methods: Sequence[str] = ("topk",)
    keep_rates: Sequence[float | list[float]] = ()
    keep: Sequence[int] | None = None
    remove: int | None = None
    decreasing: bool = False
    blocks: Sequence[int] | None = None
    options: Sequence[str] = ()
    model: str | None = None
    weights: str | None = None
    heads: int | None = None
    data: str = "embedded:shapes"
    split: str = "val"
    limit: int | None = None
    skip_bad: bool = False
    batch_size: int = 32
    device: str = "auto"
    precision: str = "auto"
    workers: int = 0
    features: bool = False
    soft: bool = False
    seed: int = 0
    out: Path = Path("runs")
    progress: bool = True
    tell: Callable[[str], None] = print
    """where to say what is noticed before the first run"""

    def run(self) -> Iterator[str]:
        """Do it; yields a line for each run as it ends. Everything is checked before the first image is read."""
        for result in self.results():
            yield describe(*result)

    def results(self) -> Iterator[tuple[Run, Extracted]]:
        """Do it; yields each run and what it amounts to."""
        device = device_of(self.device)
        precision = self.precision
        if precision == "auto":  # on CPU bfloat16 is several times slower than float32
            precision = "bfloat16" if device.type == "cuda" else "float32"
        check_out(self.out)
        if not self.methods:
            raise BadInput("no method is given; name one or more with --method, `tokenlens methods` lists them")
        if self.heads is not None and self.weights in (None, "random"):
            raise BadInput("--heads says what a weights file does not; it goes with --weights FILE, or leave it out")
        amounts = self._amounts()
        for name in self.methods:
            method(name).parse(self.options)
        limit = self.limit or (EMBEDDED_LIMIT if self.data.startswith("embedded:") else None)
        data = open_data(self.data, self.split, limit, self.skip_bad)
        self._tell_bad(data)
        host = open_host(self.model, self.weights, self.heads, len(data.classes) or 1000, self.seed)
        self._check_classes(host, data)
        loading = Loading.of(input_of(host.vit), data, self.batch_size, self.workers)
        planned = [(name, amount) for name in self.methods for amount in amounts]
        for name, amount in planned:  # refuse now what cannot be built; all at once they might not fit into memory
            self._model(host, name, amount)
        seen: set[str] = set()
        for name, amount in planned:
            model = self._model(host, name, amount)
            run = self._identity(host, data, name, model, precision, device)
            if run.name in seen:  # the un-reduced model is the same at every rate
                continue
            seen.add(run.name)
            yield run, extract_run(model, data, run, self.out, loading, device, self.progress)

    def _identity(
        self, host: Host, data: ImageSet, name: str, model: ReducedViT, precision: str, device: torch.device
    ) -> Run:
        return Run(
            dataset=data.name,
            split=data.split,
            images=len(data),
            content=hashlib.sha256("\n".join(data.ids).encode()).hexdigest()[:16],
            model=host.model,
            weights=host.digest,
            method=name,
            keep_rate=model.schedule.rate,
            blocks=model.blocks,
            keep=model.schedule.keep(host.vit.patch_embed.num_patches),
            options=method(name).parse(self.options),
            seed=self.seed,
            precision=precision,
            device=device.type,
            features=self.features,
            soft=self.soft,
        )

    def _amounts(self) -> list[dict[str, Any]]:
        """How many tokens remain, in the words of `reduce`: one entry for each run of a method."""
        ways = [bool(self.keep_rates), self.keep is not None, self.remove is not None]
        if sum(ways) > 1:
            raise BadInput("give one of --keep-rate, --keep and --remove: each says how many tokens remain")
        if self.remove is not None and self.blocks is not None:
            raise BadInput("--remove takes tokens away at every block, so --blocks does not go with it; leave one out")
        if self.decreasing and self.remove is None:
            raise BadInput("--decreasing goes with --remove: it says how the removals are spread over the blocks")
        if self.keep is not None:
            return [{"keep": list(self.keep)}]
        if self.remove is not None:
            return [{"remove": self.remove, "decreasing": self.decreasing}]
        return [{"keep_rate": rate} for rate in self.keep_rates or [0.5]]

    def _model(self, host: Host, name: str, amount: dict[str, Any]) -> ReducedViT:
        options = method(name).parse(self.options)
        torch.manual_seed(self.seed)  # for learned reducers that stay untrained, with --weights random
        model = reduce(host.vit, name, blocks=self.blocks or STUDY_BLOCKS, seed=self.seed, **amount, **options)
        host.equip(model, name)
        return model

    def _tell_bad(self, data: ImageSet) -> None:
        bad: list[tuple[str, str]] = getattr(data, "bad", [])
        if bad:
            named = ", ".join(f"{name} ({reason})" for name, reason in bad[:5])
            self.tell(f"left out {len(bad)} files that cannot be read: {named}{', ...' if len(bad) > 5 else ''}")

    def _check_classes(self, host: Host, data: ImageSet) -> None:
        """Refuse weights of other classes than an embedded set's; say of a folder that there will be no accuracy."""
        classes = host.vit.num_classes
        if comparable(data, host.vit):
            return
        if self.data.startswith("embedded:"):
            raise BadInput(
                f"{host.source} tells {classes} classes apart and {data.name} has {len(data.classes)}; "
                "give other weights, or --weights random, or other data"
            )
        self.tell(
            f"{data.name} has {len(data.classes)} class folders and the model {classes} classes: no accuracy is given"
        )


def device_of(name: str) -> torch.device:
    """The device that a user means by auto, cpu or cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("no CUDA device is to be had here; use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def describe(run: Run, result: Extracted) -> str:
    """One line on a run: accuracy, tokens left, GFLOPs saved, speed, place."""
    amount = f" at {run.keep_rate:g}" if run.keep_rate is not None else ""
    accuracy = "".join(f"{name} {value:.1f} %, " for name, value in result.metrics.items())
    left = " ".join(f"{count:.0f}" if count == int(count) else f"{count:.1f}" for count in result.tokens_left)
    speed = "already there" if result.images_per_second is None else f"{result.images_per_second:.0f} images/s"
    return (
        f"{run.method}{amount}: {accuracy}tokens left {left}, {result.gflops:.2f} GFLOPs "
        f"({100 * result.gflops_saved:.0f} % saved), {speed} -> {result.folder}"
    )
