"""What is drawn in training, and for whom: every number depends on the seed and a place in the order alone.

A step takes `parts` micro-batches: processes times accumulated batches. Who computes which part never matters, so that
two processes see what one sees that accumulates two; and training goes on at any step as if it had never stopped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.distributed_sampler import RepeatAugSampler
from torch.utils.data import Sampler

from ..errors import BadInput

IMAGE, BATCH, ORDER = 0, 1, 2  # what a seed is for
Draw = tuple[int, int, int]


def seed_with(*key: int) -> None:
    """Seed every generator that timm and torch draw from."""
    words = [int(word) for word in np.random.SeedSequence(key).generate_state(3)]
    random.seed(words[0])
    np.random.seed(words[1])  # noqa: NPY002  timm's mixup and RandAugment draw from it
    torch.manual_seed(words[2])


@dataclass(frozen=True)
class Order:
    """Which images make which micro-batch, of a set that is gone through again and again.

    `epoch` images count as an epoch; most often that is the whole set.
    """

    images: int
    epoch: int
    batch_size: int
    parts: int
    repeats: int
    seed: int
    labels: bytes | None = None
    """class of each image, int64, where every batch is to hold the classes by their share: bytes know their hash"""

    @property
    def images_a_step(self) -> int:
        """In all processes, over all accumulated batches."""
        return self.batch_size * self.parts

    @property
    def steps_an_epoch(self) -> int:
        """Whole steps only."""
        return self.epoch // self.images_a_step

    def check(self) -> Order:
        """Refuse a set that makes no step."""
        images = min(self.epoch, self.images)
        if images < self.images_a_step:
            raise BadInput(
                f"{images} images make no step of {self.images_a_step} (batch size x processes x accumulated batches); "
                "give a smaller --batch-size"
            )
        if self.labels is not None and self.repeats > 1:
            raise BadInput(
                "batches cannot be stratified and hold several draws of an image too; "
                "set data.stratify=false or augment.repeats=1"
            )
        return self

    def part(self, step: int, part: int) -> list[Draw]:
        """(pass through the set, position in it, image) of each image of one micro-batch.

        Neighbours in the order go to different parts: with repeated augmentation they are draws of one image.
        """
        turn, step = divmod(step, self.images // self.images_a_step)
        first = step * self.images_a_step
        places = range(first + part, first + self.images_a_step, self.parts)
        order = shuffled(self.images, self.repeats, self.seed, turn, self.labels)
        return [(turn, place, order[place]) for place in places]


@lru_cache(maxsize=2)
def shuffled(images: int, repeats: int, seed: int, turn: int, labels: bytes | None = None) -> list[int]:
    """The images of one pass, as timm's sampler shuffles and repeats them: as many as the set has.

    With labels, the images of each class are then spread evenly over the pass.
    """
    sampler = RepeatAugSampler(range(images), 1, 0, num_repeats=repeats, selected_round=0)
    sampler.set_epoch(int(np.random.SeedSequence([ORDER, seed, turn]).generate_state(1)[0]))
    order = list(sampler)
    return order if labels is None else spread(order, np.frombuffer(labels, np.int64))


def spread(order: list[int], labels: NDArray[np.int64]) -> list[int]:
    """Move the images of each class apart, evenly, each class in the order that it has."""
    label = labels[order]
    by_class = np.argsort(label, kind="stable")
    _, first, count = np.unique(label[by_class], return_index=True, return_counts=True)
    place = np.empty(len(order))
    place[by_class] = (np.arange(len(order)) - np.repeat(first, count) + 0.5) / np.repeat(count, count)
    return [order[index] for index in np.argsort(place, kind="stable")]


class Parts(Sampler[list[Draw]]):
    """The micro-batches of one process, from a step to the last, over all epochs."""

    def __init__(self, order: Order, first: int, steps: int, rank: int, processes: int) -> None:
        self.order, self.first, self.steps = order, first, steps
        self.mine = range(rank, order.parts, processes)

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.first, self.steps):
            for part in self.mine:
                yield self.order.part(step, part)

    def __len__(self) -> int:
        return (self.steps - self.first) * len(self.mine)
