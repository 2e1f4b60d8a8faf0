"""Train the backbone `nano` on the embedded set `shapes`: `python -m tokenlens.workflows.nano.train --help`.

Most of the training sees a random part of the patches only, which is several times cheaper (Li et al., 2023,
arXiv:2212.00794); it ends on all of them. Pictures are drawn while training, in a process of their own, and none is
seen twice. Shapes: B images.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.layers.patch_dropout import PatchDropout
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from tokenlens.data.embedded.open import shapes
from tokenlens.weights import ARCHITECTURE, NANO

log = logging.getLogger(__name__)
DROPS = ((0.35, 0.75), (0.8, 0.5), (1.0, 0.0))  # (until this share of the steps, share of the patches left out)


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches `first` to `last` of a split: images (B, 3, 112, 112) uint8 and labels (B,) int64."""

    def __init__(self, split: str, size: int, first: int, last: int) -> None:
        """`size` images a batch; batch i holds images i * size and on."""
        self.split, self.size, self.first, self.last = split, size, first, last

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw one batch after the other."""
        for batch in range(self.first, self.last):
            pictures = [shapes(self.split, batch * self.size + i) for i in range(self.size)]
            images = torch.from_numpy(np.stack([image for image, _, _ in pictures]))
            yield images.permute(0, 3, 1, 2), torch.tensor([label for _, label, _ in pictures])


def normalised(images: Tensor) -> Tensor:
    """(B, 3, 112, 112) uint8 -> float32 in -1..1: mean and standard deviation 0.5."""
    return images.float().div_(127.5).sub_(1)


@torch.no_grad()
def accuracy(model: nn.Module, split: str, count: int, size: int = 100) -> float:
    """Top-1 over the first `count` pictures of a split, on all tokens."""
    model.eval()
    right = sum(
        int((model(normalised(images)).argmax(-1) == labels).sum())
        for images, labels in Batches(split, size, 0, count // size)
    )
    model.train()
    return right / (count // size * size)


def parameter_groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices only: not for biases, norms, the class token and positions."""
    matrices = [p for name, p in model.named_parameters() if p.ndim > 1 and not name.endswith(("_embed", "_token"))]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def fit(
    model: nn.Module,
    vit: nn.Module,
    steps: int,
    size: int,
    peak: float,
    state: Path,
    out: Path,
    minutes: float = 3.0,
    drops: Sequence[tuple[float, float]] = DROPS,
    dropping: Callable[[float], nn.Module] = PatchDropout,
    stream: int = 0,
) -> None:
    """Train `model`, any module from images to logits whose backbone is the timm ViT `vit`.

    `size` images a step, `peak` the highest learning rate. Carries on where `state` stopped, if it exists; writes
    `state` and `out` (the weights of `vit`, float16) every few minutes and at the end. `dropping` makes what leaves out
    patches, `stream` is the batch that training starts with.
    """
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=peak, betas=(0.9, 0.98))
    first = resume(model, optimizer, state)
    batches = DataLoader(
        Batches("train", size, stream + first, stream + steps), batch_size=None, num_workers=1, prefetch_factor=8
    )
    begun = told = time.monotonic()
    mean_loss, mean_right = math.log(10), 0.1
    model.train()
    for step, (images, labels) in enumerate(batches, first):
        vit.patch_drop = dropping(next((drop for until, drop in drops if step < until * steps), 0.0))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, min(200, steps // 4), peak)
        logits = model(normalised(images))
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean_loss += 0.02 * (loss.item() - mean_loss)
        mean_right += 0.02 * ((logits.argmax(-1) == labels).float().mean().item() - mean_right)
        done = step + 1
        if done % 50 == 0:
            seconds = time.monotonic() - begun
            log.info("step %d: loss %.3f, train %.1f %%, %.0f s", done, mean_loss, 100 * mean_right, seconds)
        if time.monotonic() - told > 60 * minutes or done == steps:
            log.info("step %d: val %.1f %%", done, 100 * accuracy(model, "val", 500))
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done}, state)
            save_file({name: weight.half() for name, weight in vit.state_dict().items()}, out)
            told = time.monotonic()


def resume(model: nn.Module, optimizer: torch.optim.Optimizer, state: Path) -> int:
    """Load what `fit` wrote into `state`; returns the steps already made, 0 without such a file."""
    if not state.is_file():
        return 0
    saved = torch.load(state)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


@click.command()
@click.option("--steps", default=4000, show_default=True)
@click.option("--batch", default=64, show_default=True, help="Images a step.")
@click.option("--rate", default=1.5e-3, show_default=True, help="Highest learning rate.")
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default="nano-train.pt",
    show_default=True,
    help="Where the training stands; carries on from it.",
)
@click.option("--out", type=click.Path(path_type=Path), default="nano.safetensors", show_default=True)
def main(steps: int, batch: int, rate: float, threads: int, state: Path, out: Path) -> None:
    """Train the embedded backbone and write its weights."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    vit = timm.create_model(ARCHITECTURE, **NANO)
    fit(vit, vit, steps, batch, rate, state, out)


if __name__ == "__main__":
    main()
