"""The options of a fine-tuning: a recipe with changes, and a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..data.remote import refuse_remote
from ..errors import BadInput
from ..hosts.header import finetuned
from ..methods import Method, method
from .load_recipe import load_recipe
from .recipe import Recipe


@dataclass
class Options:
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
    skip_bad: bool | None = None
    workers: int | None = None
    precision: str | None = None
    seed: int | None = None
    changes: Sequence[str] = ()
    """anything in the recipe, as "section.key=value\""""
    device: str = "auto"
    trackers: Sequence[str] = ()
    out: Path | None = None
    aside: bool = False
    allow_remote: bool = False
    """fetch data and weights that only the recipe names"""
    show: bool = False

    def resolved(self) -> Recipe:
        """The recipe with all changes; a checkpoint of ours to start from says its model itself."""
        values: dict[str, Any] = {
            "data.name": self.data,
            "reduction.method": self.method,
            "reduction.keep_rate": self.keep_rate,
            "reduction.blocks": self.blocks,
            "model.name": self.model,
            "model.weights": self.weights,
            "model.heads": self.heads,
            "schedule.epochs": self.epochs,
            "train.batch_size": self.batch_size,
            "train.accumulate": self.accumulate,
            "optimizer.lr": self.lr,
            "loss.distill": self.distill,
            "loss.teacher": self.teacher,
            "data.skip_bad": self.skip_bad,
            "data.workers": self.workers,
            "train.precision": self.precision,
            "train.seed": self.seed,
        }
        recipe = load_recipe(self.recipe, values, self.changes)
        chosen = method(recipe.reduction.method)
        if self.options:
            values["reduction.options"] = chosen.parse(self.options)
        values["model.name"] = self.model or (finetuned(recipe.model.weights) or {}).get("model")
        recipe = load_recipe(self.recipe, values, self.changes)
        check_together(recipe, chosen)
        said = {key for key, value in values.items() if value}
        said |= {word.partition("=")[0].strip() for word in self.changes}
        named = {
            "data.name": recipe.data.name,
            "model.weights": recipe.model.weights,
            "loss.teacher": recipe.loss.teacher,
        }
        for key, spec in named.items():
            refuse_remote(spec, f"the recipe {self.recipe}", self.allow_remote or key in said)
        return recipe

    def run(self) -> Iterator[str]:
        """Do it; yields what to say at the end."""
        recipe = self.resolved()
        if self.show:
            yield yaml.safe_dump(recipe.values(), sort_keys=False).rstrip()
            return
        from .finetune import finetune

        out = self.out or Path("finetuned") / recipe.title
        tuned = finetune(recipe, out, self.device, self.trackers, aside=self.aside)
        from accelerate import PartialState  # type: ignore[import-untyped]

        if not PartialState().is_main_process:
            return
        best = ", ".join(f"{name} {value:.1f} % (epoch {epoch})" for name, (value, epoch) in tuned.best.items())
        yield f"{recipe.reduction.method}: best {tuned.measure} of the {best} -> {tuned.checkpoint}"


def check_together(recipe: Recipe, chosen: Method) -> None:
    """Refuse settings that this method would leave without effect."""
    loss, learns, epochs = recipe.loss, chosen.reducer, recipe.schedule.epochs
    policy = learns.policy and (loss.class_distillation > 0 or loss.token_distillation > 0)
    if loss.teacher is not None and loss.distill == "none" and not policy:
        raise BadInput(
            f"nothing is learned from the teacher {loss.teacher}: {chosen.name} is trained without one; "
            "add --distill soft or --distill hard, or leave --teacher out"
        )
    rests, scale = recipe.optimizer.freeze_epochs, recipe.optimizer.backbone_scale
    if learns.trained and scale > 0 and rests >= epochs:
        raise BadInput(
            f"optimizer.freeze_epochs is {rests}, and of {epochs} epochs none is left to train the backbone; give "
            "fewer with --set optimizer.freeze_epochs=N, or let it rest for good with --set optimizer.backbone_scale=0"
        )
