"""What `tokenlens finetune` was asked for: a recipe with changes, and a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..checkpoints import finetuned
from ..methods import method
from .reading import load_recipe
from .recipe import Recipe


@dataclass
class Asked:
    """The options of the command; None leaves what the recipe says."""

    recipe: str = "shapes"
    data: str | None = None
    method: str | None = None
    keep_rate: float | list[float] | None = None
    blocks: list[int] | None = None
    options: Sequence[str] = ()
    model: str | None = None
    weights: str | None = None
    heads: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    lr: float | None = None
    distill: str | None = None
    teacher: str | None = None
    workers: int | None = None
    precision: str | None = None
    seed: int | None = None
    words: Sequence[str] = ()
    device: str = "auto"
    trackers: Sequence[str] = ()
    out: Path | None = None
    show: bool = False

    def resolved(self) -> Recipe:
        """The recipe with all changes; a checkpoint of ours to start from says its model itself."""
        changes = {
            "data.name": self.data,
            "reduction.method": self.method,
            "reduction.keep_rate": self.keep_rate,
            "reduction.blocks": self.blocks,
            "model.name": self.model or (finetuned(self.weights) or {}).get("model"),
            "model.weights": self.weights,
            "model.heads": self.heads,
            "schedule.epochs": self.epochs,
            "train.batch_size": self.batch_size,
            "train.accumulate": self.accumulate,
            "optimizer.lr": self.lr,
            "loss.distill": self.distill,
            "loss.teacher": self.teacher,
            "data.workers": self.workers,
            "train.precision": self.precision,
            "train.seed": self.seed,
        }
        recipe = load_recipe(self.recipe, changes, self.words)
        if not self.options:
            return recipe
        options = method(recipe.reduction.method).parse(self.options)
        return load_recipe(self.recipe, {**changes, "reduction.options": options}, self.words)

    def run(self) -> Iterator[str]:
        """Do it; yields what to say at the end."""
        recipe = self.resolved()
        if self.show:
            yield yaml.safe_dump(recipe.values(), sort_keys=False).rstrip()
            return
        from .finetune import finetune

        tuned = finetune(recipe, self.out or Path("finetuned") / recipe.title, self.device, self.trackers)
        best = ", ".join(f"{name} {value:.1f} % (epoch {epoch})" for name, (value, epoch) in tuned.best.items())
        yield f"{recipe.reduction.method}: best {tuned.measure} of the {best} -> {tuned.checkpoint}"
