"""A recipe: every number of a fine-tuning. `recipes/imagenet.yaml` says what each key means.

What was resolved goes into the checkpoint, whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Values = dict[str, Any]
HARMLESS = {("data", "workers"), ("train", "save_steps")}


@dataclass(frozen=True)
class Model:
    """The ViT, and the weights to start from."""

    name: str
    weights: str | None
    heads: int | None
    drop_path: float
    fresh: bool


@dataclass(frozen=True)
class Reduction:
    """What is put into it."""

    method: str
    keep_rate: float | list[float]
    blocks: list[int]
    options: dict[str, Any]


@dataclass(frozen=True)
class Data:
    """The images to learn from, and those to judge by."""

    name: str | None
    train: str
    val: str
    limit: int | None
    val_limit: int | None
    epoch: int | None
    stratify: bool
    skip_bad: bool
    workers: int


@dataclass(frozen=True)
class Augment:
    """What happens to an image on its way to the model."""

    crop: str
    scale: list[float]
    ratio: list[float]
    flip: float
    interpolation: str
    color_jitter: float
    randaugment: str | None
    cutout: float
    erasing: float
    repeats: int
    patch_drop: list[float]
    mixup: float
    cutmix: float
    mix_probability: float
    cutmix_share: float

    @property
    def mixes(self) -> bool:
        """Images of a batch are blended."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class Loss:
    """What is learned."""

    smoothing: float
    gamma_negative: float
    gamma_positive: float
    clip: float
    ratio: float
    class_distillation: float
    token_distillation: float
    distill: str
    teacher: str | None
    alpha: float
    temperature: float


@dataclass(frozen=True)
class Optimizer:
    """How it is learned."""

    name: str
    lr: float
    lr_images: int
    betas: list[float] | None
    weight_decay: float
    clip_norm: float
    backbone_scale: float
    freeze_epochs: int
    full_rate: list[str]
    layer_decay: float | None


@dataclass(frozen=True)
class Schedule:
    """For how long, and the learning rate on the way."""

    epochs: int
    warmup_epochs: int
    warmup_lr: float
    min_lr: float


@dataclass(frozen=True)
class Train:
    """The batches, and what is kept of the weights."""

    batch_size: int
    accumulate: int
    precision: str
    ema_decay: float
    ema_warmup: bool
    save_steps: int
    seed: int


@dataclass(frozen=True)
class Detecting:
    """What only a detector's training has."""

    first: list[int]
    crop: list[int]
    sides: list[int]
    long: int
    largest: int
    warmup_steps: int
    falls: list[int]


@dataclass(frozen=True)
class Recipe:
    """A fine-tuning, in full."""

    model: Model
    reduction: Reduction
    data: Data
    augment: Augment
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    train: Train
    detection: Detecting | None = None
    """None: images have classes"""

    def values(self) -> dict[str, Values]:
        """As plain containers, as in a file."""
        return {section: values for section, values in asdict(self).items() if values is not None}

    @property
    def title(self) -> str:
        """What a person calls it: data, model, method, rate and seed."""
        asked = self.reduction
        rates = asked.keep_rate if isinstance(asked.keep_rate, list) else [asked.keep_rate]
        where = (self.data.name or "").rstrip("/").replace("\\", "/").split("/")[-1].split(":")[-1]
        amount = "-".join(f"{rate:g}" for rate in rates)
        words = [where, self.model.name.split(".")[0], asked.method, f"r{amount}", f"s{self.train.seed}"]
        return "_".join(re.sub(r"[^A-Za-z0-9.\-]+", "-", word) for word in words)

    def differences(self, other: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Where `other` says something else that would change the result, as `optimizer.lr 0.001 there, 0.01 here`."""
        return [
            f"{section}.{key} {other.get(section, {}).get(key)} there, {value} here"
            for section, values in self.values().items()
            for key, value in values.items()
            if (section, key) not in HARMLESS and other.get(section, {}).get(key) != value
        ]
