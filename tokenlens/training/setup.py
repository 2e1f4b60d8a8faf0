"""What a fine-tuning starts from: the model with its reducers, its teacher, and the card that its checkpoints carry."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from timm.layers import DropPath

from ..core.host import host_of
from ..core.reduced_vit import ReducedViT
from ..data import ImageSet, check_apart, open_data
from ..errors import BadInput
from ..extraction.pretrained import Pretrained, open_host
from ..hosts.checkpoints import digest_of
from ..hosts.header import FORMAT
from ..hosts.loading import input_of
from ..hosts.timm_vit import TimmViT
from ..methods import method
from ..reduce import reduce
from .losses import has_policy
from .recipe import Recipe

TEACHER_OF_A_NEW_HEAD = (
    "{method} learns from the un-reduced model, and the head of {source} knows {there} classes, not the {here} of "
    "{data}; fine-tune with --method none first and give its checkpoint as --weights or --teacher, or leave it out "
    "with {without}"
)


@dataclass(frozen=True)
class Start:
    """A model to train."""

    model: ReducedViT
    teacher: TimmViT | None
    config: dict[str, Any]
    """timm's data config: input size, mean, std, interpolation, crop"""
    new_head: bool
    origin: dict[str, Any]
    """digests of the weights that training starts from and of its teacher's"""
    licence: str
    """where the weights come from and their licence, where another package brings them"""
    card: dict[str, Any]
    """what a checkpoint says of itself: model, heads, reduction, input, classes, recipe"""


def open_sets(recipe: Recipe) -> tuple[ImageSet, ImageSet]:
    """The images to learn from and to judge by; refuses sets without classes, or with other ones."""
    part = recipe.data
    if part.name is None:
        raise BadInput("say what to learn from with --data, for example imagenet:PATH or folder:PATH")
    train = open_data(part.name, part.train, part.limit, part.skip_bad)
    val = open_data(part.name, part.val, part.val_limit, part.skip_bad)
    if not train.classes:
        raise BadInput(f"{train.name} says no classes, so there is nothing to learn; give a set with class folders")
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        which = f"{odd[0]!r} is in one of them only" if odd else "their order differs"
        raise BadInput(f"{part.train} and {part.val} of {train.name} have other classes ({which}); give the same")
    check_apart(train, val)
    if not train.multi_label:
        for data in (train, val):
            strays = [index for index in range(len(data)) if data.label(index) < 0]
            if strays:
                raise BadInput(
                    f"{len(strays)} images of {data.name} {data.split} are of no class, such as "
                    f"{data.ids[strays[0]]}; move them into a class folder, or out"
                )
    return train, val


def labels_of(data: ImageSet) -> bytes | None:
    """The class of every image, as `draws.Order` takes it; None where images have several, and there are no strata."""
    if data.multi_label:
        return None
    return np.array([data.label(index) for index in range(len(data))], np.int64).tobytes()


def start(recipe: Recipe, data: ImageSet) -> Start:
    """Build the model that a recipe describes, for the classes of a data set."""
    part, seed, classes = recipe.model, recipe.train.seed, len(data.classes)
    if recipe.loss.distill != "none" and data.multi_label:
        raise BadInput(
            f"DeiT's distillation teaches one class an image, and images of {data.name} have several; "
            "leave it out with --distill none"
        )
    host = open_host(part.name, part.weights, part.heads, classes, seed)
    untouched = copy.deepcopy(host.vit)
    known = host.vit.num_classes
    new_head = known != classes
    torch.manual_seed(seed)
    if new_head:
        host.vit.reset_classifier(classes)
    set_drop_path(host.vit, part.drop_path)
    asked, chosen = recipe.reduction, method(recipe.reduction.method)
    model = reduce(host.vit, chosen.name, asked.keep_rate, asked.blocks, seed=seed, **chosen.options(asked.options))
    if not part.fresh and (host.source == "nano" or (host.weights is not None and host.weights.reducers)):
        try:
            host.equip(model, chosen.name)
        except BadInput as error:
            raise BadInput(f"{error}; or start its parameters anew with --set model.fresh=true") from error
    rests = recipe.optimizer.backbone_scale == 0 and chosen.reducer.trained
    if rests and not (new_head or recipe.optimizer.full_rate):
        model.vit.requires_grad_(False)  # for good, so no gradient is formed for it
    teacher, origin = None, {"weights to start from": host.digest}
    if needs_teacher(model, recipe):
        words = {"method": chosen.name, "source": host.source, "there": known, "here": classes, "data": data.name}
        teacher = teacher_of(recipe, untouched, model, new_head, words)
        origin["weights of the teacher"] = digest_of(teacher.state_dict())[:16]
    return Start(model, teacher, input_of(host.vit), new_head, origin, host.origin, card_of(recipe, host, data))


def card_of(recipe: Recipe, host: Pretrained, data: ImageSet) -> dict[str, Any]:
    """All that is needed to use a checkpoint."""
    values = recipe.values()
    return {
        "format": FORMAT,
        "model": host.model,
        "heads": host_of(host.vit).heads,
        "reduction": values["reduction"],
        "input": input_of(host.vit),
        "classes": list(data.classes),
        "multi_label": data.multi_label,
        "data": data.name,
        "recipe": values,
    }


def set_drop_path(vit: TimmViT, rate: float) -> None:
    """Stochastic depth as timm spreads it, from none at the first block to `rate` at the last."""
    last = max(len(vit.blocks) - 1, 1)
    for i, block in enumerate(vit.blocks):
        block.drop_path1, block.drop_path2 = (
            DropPath(rate * i / last) if rate * i > 0 else torch.nn.Identity() for _ in range(2)
        )


def needs_teacher(model: ReducedViT, recipe: Recipe) -> bool:
    """Whether the loss asks an un-reduced model."""
    loss = recipe.loss
    taught = has_policy(model) and (loss.class_distillation > 0 or loss.token_distillation > 0)
    return loss.distill != "none" or taught


def teacher_of(recipe: Recipe, untouched: TimmViT, model: ReducedViT, new_head: bool, words: dict[str, Any]) -> TimmViT:
    """The model to learn from, frozen: the one that is named, or what training starts from, un-reduced."""
    teacher = untouched
    if recipe.loss.teacher is not None:
        teacher = open_host(None, recipe.loss.teacher, recipe.model.heads).vit
        if teacher.num_classes != words["here"]:
            raise BadInput(
                f"the teacher {recipe.loss.teacher} tells {teacher.num_classes} classes apart and {words['data']} has "
                f"{words['here']}; give one that was trained on it"
            )
        check_teacher(teacher, model, recipe.loss.teacher)
    elif new_head:
        ways = ["--distill none"] * (recipe.loss.distill != "none")
        ways += ["--set loss.class_distillation=0 --set loss.token_distillation=0"] * has_policy(model)
        raise BadInput(TEACHER_OF_A_NEW_HEAD.format(**words, without=" ".join(ways)))
    return teacher.eval().requires_grad_(False)


def check_teacher(teacher: TimmViT, model: ReducedViT, source: str) -> None:
    """Refuse a teacher that cannot see the model's images, or whose tokens a policy cannot learn from."""
    compared = {"image size": attrgetter("patch_embed.img_size")}
    if has_policy(model):
        compared |= {"grid of patches": attrgetter("patch_embed.grid_size"), "width": attrgetter("embed_dim")}
    for what, of in compared.items():
        there, here = of(teacher), of(model.vit)
        if there != here:
            raise BadInput(
                f"the {what} of the teacher {source} is {there} and the model's {here}; give a teacher of the same"
            )
