"""What the loop costs: `python tests/benchmarks/finetune.py [--threads 1] [--rounds 9] [--model nano] [--batch 32]`.

A training step of `tokenlens finetune` (method none: every token stays) against a bare loop over timm's model,
optimizer, cosine and average, on the same batch in memory, float32, one process; both sides take turns. Then the same
with Top-K at 0.5, to see what reduction gains in training. Medians over rounds of four steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timm.optim
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3

from tokenlens.extraction.pretrained import open_host
from tokenlens.training.finetune import Training
from tokenlens.training.load_recipe import load_recipe

STEPS = 4  # a round, and an epoch


def bare(model: str, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], None]:
    """A round of the loop that one would write by hand."""
    vit = open_host(model, None if model == "nano" else "random", classes=10).vit.train()
    optimizer = timm.optim.create_optimizer_v2(vit, "adamw", lr=1e-3, weight_decay=0.05)
    schedule = CosineLRScheduler(optimizer, 1000, 1e-5, warmup_t=10, warmup_lr_init=1e-6, t_in_epochs=False)
    average, loss_of = ModelEmaV3(vit, 0.99), LabelSmoothingCrossEntropy(0.05)
    count = itertools.count(1)

    def run() -> None:
        for _ in range(STEPS):
            images, labels = batch
            loss = loss_of(vit(images), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step = next(count)
            schedule.step_update(step)
            average.update(vit, step)

    return run


def ours(model: str, method: str, batch: tuple[torch.Tensor, torch.Tensor], out: Path) -> Callable[[], None]:
    """A round of our loop's steps, with what it does between them."""
    size = len(batch[0])
    changes = {
        "model.name": model, "model.weights": None if model == "nano" else "random", "reduction.method": method,
        "train.batch_size": size, "train.ema_warmup": False, "data.epoch": STEPS * size, "data.limit": STEPS * size,
        "data.val_limit": 1, "data.workers": 0,
    }  # fmt: skip
    training = Training(load_recipe("shapes", changes), out, "cpu", (), False)
    training.batches = itertools.repeat(list(batch))
    count = itertools.cycle(range(10 * STEPS))

    def run() -> None:
        for _ in range(STEPS):
            step = next(count)
            training.pace.set(step)
            training._step(step)
            training.average.update(training.model, step + 1)
        training.meter.read(out)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    side = 112 if arguments.model == "nano" else 224
    batch = (torch.randn(arguments.batch, 3, side, side), torch.arange(arguments.batch) % 10)
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "bare timm loop": bare(arguments.model, batch),
            "finetune, none": ours(arguments.model, "none", batch, Path(folder) / "none"),
            "finetune, topk 0.5": ours(arguments.model, "topk", batch, Path(folder) / "topk"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(arguments.rounds + 1):  # the first warms up
            for name, side_of in sides.items():
                began = time.perf_counter()
                side_of()
                if turn:
                    seconds[name].append(time.perf_counter() - began)
    took = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"torch {torch.__version__}, {arguments.model}, batch {arguments.batch}, {arguments.threads} thread(s)")
    for name, value in took.items():
        print(f"{name:20}{STEPS * arguments.batch / value:8.1f} images/s")
    whole, plain, reduced = took.values()
    # each round's own ratio: what else runs on the machine slows both sides of a round
    pairs = [b / a for a, b in zip(seconds["bare timm loop"], seconds["finetune, none"], strict=True)]
    ratios = {"step_over_bare": plain / whole, "step_over_bare_paired": statistics.median(pairs)}
    ratios["topk_over_none"] = reduced / plain
    print(json.dumps({"threads": arguments.threads, **ratios}))


if __name__ == "__main__":
    main()
