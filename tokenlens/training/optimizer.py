"""Who learns how fast: timm's parameter groups, optimizer and cosine, with a slower backbone where modules are new.

Held against github.com/JoakimHaurum/TokenReduction/blob/dc1c77333a63c849b06e800041f745596e25eec4/optim.py, where the
heads and the embeddings of patches and positions are never slower; a backbone that rests gathers moments all the same.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler

from ..core.reduced_vit import ReducedViT
from ..errors import BadInput
from .draws import Order
from .recipe import Optimizer, Recipe

BACKBONE = "backbone"  # the mark of groups that rest at first


def parameter_groups(model: ReducedViT, part: Optimizer, new_head: bool) -> list[dict[str, Any]]:
    """Parameters as timm groups them; where the method has some of its own, the backbone is slower.

    Which parts of it are not, `part.full_rate` says, by the first words of their names; a new head never is.
    """
    vit, skip = model.vit, model.vit.no_weight_decay()
    if part.layer_decay is None:
        groups = param_groups_weight_decay(vit, part.weight_decay, no_weight_decay_list=skip)
    else:
        groups = param_groups_layer_decay(
            vit, part.weight_decay, no_weight_decay_list=skip, layer_decay=part.layer_decay
        )
    own = param_groups_weight_decay(model.reducers, part.weight_decay)
    if not own:
        return groups
    full = {*part.full_rate, *(["head", "head_dist"] if new_head else [])}
    new = {id(parameter) for name, parameter in vit.named_parameters() if name.split(".")[0] in full}
    found = []
    for group in groups:
        quick = [parameter for parameter in group["params"] if id(parameter) in new]
        rest = [parameter for parameter in group["params"] if id(parameter) not in new]
        slower = {"lr_scale": part.backbone_scale * group.get("lr_scale", 1.0), BACKBONE: True}
        found += [{**group, "params": quick}] * bool(quick) + [{**group, "params": rest, **slower}] * bool(rest)
    return found + own


class Pace:
    """The learning rate of every step: a function of the step alone, so that nothing of it need be saved."""

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, order: Order) -> None:
        each = order.steps_an_epoch
        self.optimizer = optimizer
        self.frozen = recipe.optimizer.freeze_epochs * each
        if recipe.detection is None:
            self.schedule: Any = CosineLRScheduler(
                optimizer,
                t_initial=recipe.schedule.epochs * each,
                lr_min=min(recipe.schedule.min_lr, optimizer.defaults["lr"]),
                warmup_t=recipe.schedule.warmup_epochs * each,
                warmup_lr_init=recipe.schedule.warmup_lr,
                t_in_epochs=False,
            )
        else:
            self.schedule = MultiStepLRScheduler(
                optimizer,
                decay_t=[epoch * each + 1 for epoch in recipe.detection.falls],  # timm's falls come one step early
                decay_rate=0.1,
                warmup_t=recipe.detection.warmup_steps,
                warmup_lr_init=recipe.schedule.warmup_lr,
                warmup_prefix=False,
                t_in_epochs=False,
            )

    def set(self, step: int) -> float:
        """Set the rates of a step; returns the highest."""
        self.schedule.step_update(step)
        if step < self.frozen:
            for group in self.optimizer.param_groups:
                if group.get(BACKBONE):
                    group["lr"] = 0.0
        return max(float(group["lr"]) for group in self.optimizer.param_groups)


def make_optimizer(
    model: ReducedViT, recipe: Recipe, order: Order, new_head: bool
) -> tuple[torch.optim.Optimizer, Pace]:
    """The optimizer that timm has under this name, and its pace; the learning rate grows with the images a step."""
    part = recipe.optimizer
    if recipe.schedule.warmup_epochs > recipe.schedule.epochs:
        raise BadInput(
            f"schedule.warmup_epochs is {recipe.schedule.warmup_epochs}, more than the {recipe.schedule.epochs} epochs "
            "of training; give fewer with --set schedule.warmup_epochs=N"
        )
    return with_pace(parameter_groups(model, part, new_head), recipe, order)


def with_pace(groups: list[dict[str, Any]], recipe: Recipe, order: Order) -> tuple[torch.optim.Optimizer, Pace]:
    """The optimizer of groups of parameters, and its pace."""
    part = recipe.optimizer
    rate = part.lr * order.images_a_step / part.lr_images
    more: dict[str, Any] = {} if part.betas is None else {"betas": tuple(part.betas)}
    try:
        optimizer = create_optimizer_v2(groups, part.name, lr=rate, weight_decay=part.weight_decay, **more)
    except (ValueError, TypeError, AssertionError) as error:
        raise BadInput(f"timm makes no optimizer {part.name!r} ({error}); for example adamw") from error
    return optimizer, Pace(optimizer, recipe, order)
