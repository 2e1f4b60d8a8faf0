"""What is told while training goes on: the means since an epoch began, and a NaN at its step.

Numbers stay on the device; they are read every few steps only, since reading waits for all that was asked of a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import BadInput

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

NEVER = 2.0**52
EVERY = 10  # steps


def right_of(logits: Tensor, labels: Tensor) -> Tensor:
    """(): how many images the largest logit gets right; `labels` (B,), or (B, C) where mixed or several."""
    surest = logits.argmax(1)
    if labels.dim() == 1:
        return (surest == labels).sum()
    labels = labels.float()
    there = labels.gather(1, surest.unsqueeze(1))[:, 0]
    return ((there == labels.amax(1)) & (there > 0)).sum()  # no less of the image than any other class


class Meter:
    """Sums over an epoch, in all processes."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        # float32: MPS has no doubles, and an epoch's sums need none
        self.sums = torch.zeros(3, device=accelerator.device)
        """loss, images that are right, images"""
        self.bad = torch.full((1,), NEVER, device=accelerator.device)
        """the first step whose loss was not finite"""

    def add(self, step: int, loss: Tensor, images: int, right: Tensor | None) -> None:
        """Count a micro-batch: its mean loss, and how many of its images are right, where that is told."""
        loss = loss.detach().float()
        self.check(step, loss)
        told = loss.new_zeros(()) if right is None else right.float()
        self.sums += torch.stack([loss * images, told, loss.new_tensor(float(images))])

    def check(self, step: int, value: Tensor) -> None:
        """Note the step where a loss, or the norm of a gradient, is not finite for the first time."""
        self.bad = torch.minimum(self.bad, torch.where(value.isfinite(), NEVER, float(step)))

    def read(self, folder: Any) -> dict[str, float]:
        """Mean loss and accuracy in percent of the epoch so far; BadInput where the loss was not finite."""
        first = float(self.accelerator.gather(self.bad).min())
        if first < NEVER:
            raise BadInput(
                f"the loss is not finite at step {int(first)}, and training stops; what {folder} holds of the steps "
                "before is good: train with a smaller --lr, or --precision float32, into another --out"
            )
        loss, right, images = self.accelerator.reduce(self.sums.clone(), "sum").tolist()
        images = max(images, 1.0)
        return {"loss": loss / images, "train_top1": 100 * right / images}

    def restart(self) -> None:
        """A new epoch."""
        self.sums.zero_()
