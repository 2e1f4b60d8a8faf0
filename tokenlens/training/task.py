"""What the loop of finetune.py asks of what is learned: classes of whole images here, objects in detection.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..data import ImageSet, left_out
from ..data.loading import Loading
from .distribution import tell_ddp
from .draws import Order, Parts
from .evaluation import evaluate, measure_of
from .images import mixing, train_loader
from .losses import Criterion, Student, cost_of
from .optimizer import Pace, make_optimizer
from .patch_dropout import Dropping
from .progress import right_of
from .recipe import Recipe
from .setup import labels_of, open_sets, start

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]


class Learned(NamedTuple):
    """One micro-batch, forward."""

    loss: Tensor
    """()"""
    images: int
    right: Tensor | None
    """(): images that the largest logit gets right; None where there is no such thing"""


class Task(Protocol):
    """What is learned, and from what."""

    train: Any
    """images to learn from, and"""
    val: Any
    """to judge by: sets with `ids` and `classes`"""
    measure: str
    """what the better of two models is better in"""
    counts: bool
    """whether an image is right or wrong"""
    model: Any
    """a module, on the device, in training mode"""
    origin: dict[str, Any]
    """what training starts from"""
    card: dict[str, Any]
    """what a checkpoint says of itself"""

    def strata(self) -> bytes | None:
        """The class of every image, as `draws.Order` takes it; None where there is not one each."""

    def notes(self) -> list[str]:
        """What to say before the first step: of images that are left out, and of the weights."""

    def optimizer(self, order: Order, steps: int) -> tuple[torch.optim.Optimizer, Pace]:
        """What learns, and how fast."""

    def at(self, step: int) -> None:
        """A step is about to begin."""

    def student(self) -> nn.Module:
        """What is called, through `forward` alone as DDP wants it; asked for once the weights are there."""

    def batches(self, parts: Parts) -> Iterator[Any]:
        """Micro-batches."""

    def learn(self, student: nn.Module, batch: Any) -> Learned:
        """The loss of a micro-batch; all that is drawn comes from torch's seed, and from the images."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """How good a model is on the images to judge by, in percent; the same in every process."""


class Classification:
    """Classes of images, one or several each, by a reduced ViT."""

    counts = True

    def __init__(self, recipe: Recipe, accelerator: Accelerator) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        train, val = open_sets(recipe)
        self.train: ImageSet = train
        self.val: ImageSet = val
        self.begun = begun = start(recipe, train)
        self.measure, self.origin, self.card = measure_of(train), begun.origin, begun.card
        self.mix = mixing(recipe, len(train.classes), train.multi_label)
        self.model = begun.model.to(accelerator.device).train()

    def strata(self) -> bytes | None:
        """The class of every image; None where images have several."""
        return labels_of(self.train)

    def notes(self) -> list[str]:
        """What to say of images that cannot be read, and of weights that another package brings."""
        return [line for line in (*map(left_out, (self.train, self.val)), self.begun.licence) if line]

    def optimizer(self, order: Order, steps: int) -> tuple[torch.optim.Optimizer, Pace]:
        """timm's, and a cosine."""
        made = make_optimizer(self.model, self.recipe, order, self.begun.new_head)
        self.dropping = Dropping(self.model, self.recipe.augment.patch_drop, steps)
        return made

    def at(self, step: int) -> None:
        """Set how many patches are left out at a step."""
        self.dropping.set(step)

    def student(self) -> nn.Module:
        """The model, that shows what it is to be taught from; its teacher and criterion are made with it."""
        recipe, model, teacher = self.recipe, self.model, self.begun.teacher
        tell_ddp(self.accelerator, model)
        teacher = None if teacher is None else teacher.to(self.accelerator.device)
        share = [keep / model.patches for keep in model.schedule.keep(model.patches)]
        mixes, several = recipe.augment.mixes, self.train.multi_label
        self.criterion = Criterion(recipe.loss, share, teacher, several, mixes, cost_of(model))
        self.loading = Loading.of(self.begun.config, self.val, recipe.train.batch_size, recipe.data.workers)
        return Student(model, recipe.loss.distill != "none")

    def batches(self, parts: Parts) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, 3, H, W) and labels (B,) or (B, C)."""
        return iter(train_loader(self.train, parts, self.recipe, self.begun.config))

    def learn(self, student: nn.Module, batch: tuple[Tensor, Tensor]) -> Learned:
        """The loss of mixed images."""
        images, labels = (tensor.to(self.accelerator.device, non_blocking=True) for tensor in batch)
        if self.mix is not None:
            images, labels = self.mix(images, labels)
        seen = student(images)
        with self.accelerator.autocast():
            loss = self.criterion(seen, images, labels)
        return Learned(loss, len(images), right_of(seen.logits, labels))

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """top1 and top5, or mAP."""
        return evaluate(model, self.val, self.loading, self.accelerator)  # type: ignore[arg-type]
