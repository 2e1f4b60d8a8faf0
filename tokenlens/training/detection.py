"""Learning to find objects: a detector whose backbone reduces tokens, from published weights.

The fine-tuning of Haurum et al., 2024, arXiv:2409.11923; what is drawn of an image is DETR's (Carion et al., 2020,
arXiv:2005.12872), as mmdet 2.28.2 has it. Departs: batch norms keep the statistics that they came with, where the
published training gathers them over all GPUs, so that neither batches nor processes change what is learned; float32
where it has float16.

Shapes: B images, G objects of an image.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from ..data import check_apart
from ..data.loading import Loader
from ..detection.checkpoints import check_classes, load_detector, name_of
from ..detection.data import DetectionSet, open_detection
from ..detection.evaluation import average_precision
from ..detection.mask_rcnn import DetectorConfig, MaskRCNN, Objects
from ..detection.objects import pixels_of
from ..detection.patterns import entries
from ..detection.preparing import MULTIPLE, batched
from ..detection.reducing import reduced_detector
from ..errors import BadInput
from ..hosts.checkpoints import digest_of
from ..hosts.header import FORMAT
from .draws import IMAGE, Draw, Order, Parts, seed_with
from .optimizer import Pace, with_pace
from .recipe import Detecting, Recipe
from .task import Learned

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

Batch = tuple[Tensor, list[Objects]]
UNDECAYED = ("backbone.pos_embed", "backbone.level_embed")
UNBOUNDED = 4  # times the longest side: what is cropped afterwards may be larger


class ObjectDetection:
    """Boxes, classes and masks of objects, by a detector whose backbone reduces tokens."""

    counts, measure = False, "box_AP"

    def __init__(self, recipe: Recipe, accelerator: Accelerator) -> None:
        assert recipe.detection is not None
        self.recipe, self.accelerator, self.part = recipe, accelerator, recipe.detection
        _check_effects(recipe)
        self.train, self.val = open_sets(recipe)
        source, asked = recipe.model.weights or "nano", recipe.reduction
        whole = load_detector(source, recipe.model.heads)
        check_classes(whole, self.train, source)
        dropping = replace(whole.config, backbone=replace(whole.config.backbone, drop_path=recipe.model.drop_path))
        begun = MaskRCNN(dropping)
        begun.load_state_dict(whole.state_dict())
        options = [f"{name}={value}" for name, value in asked.options.items()]
        model = reduced_detector(begun, asked.method, asked.keep_rate, asked.blocks, options, recipe.train.seed)
        self.model = learning(model.to(accelerator.device))
        self.origin = {"weights to start from": digest_of(whole.state_dict())}
        values = recipe.values()
        self.card = {
            "format": FORMAT,
            "model": name_of(whole.config),
            "heads": whole.config.backbone.heads,
            "reduction": values["reduction"],
            "classes": list(self.train.classes),
            "data": self.train.name,
            "detector": asdict(whole.config),
            "recipe": values,
        }

    def strata(self) -> None:
        """An image has objects of several classes."""

    def notes(self) -> list[str]:
        """Nothing to say."""
        return []

    def optimizer(self, order: Order, steps: int) -> tuple[torch.optim.Optimizer, Pace]:
        """timm's, with the published steps."""
        part = self.recipe.optimizer
        groups = param_groups_weight_decay(self.model, part.weight_decay, no_weight_decay_list=UNDECAYED)
        return with_pace(groups, self.recipe, order)

    def at(self, step: int) -> None:
        """Nothing changes from step to step."""

    def student(self) -> nn.Module:
        """The detector, which gives its losses."""
        return Student(self.model)

    def batches(self, parts: Parts) -> Iterator[Batch]:
        """Images (B, 3, H, W), padded to the largest of them, and what is to be found in each."""
        drawn = Drawn(self.train, self.part, self.recipe, self.model.config)
        return iter(Loader(drawn, padded, batch_sampler=parts, num_workers=self.recipe.data.workers))

    def learn(self, student: nn.Module, batch: Batch) -> Learned:
        """The sum of the five losses; which boxes they are taken of follows from torch's seed and the images."""
        device = self.accelerator.device
        objects = [Objects(*(part.to(device) for part in (of.boxes, of.classes, of.masks))) for of in batch[1]]
        losses = student(batch[0].to(device), objects, int(torch.randint(2**31, ())))
        return Learned(losses.sum(), len(objects), None)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """AP and AP50 of boxes; 0 where there is nothing to find."""
        from accelerate.utils import gather_object  # type: ignore[import-untyped]

        was_training, found = model.training, []
        model.eval()
        for row in range(self.accelerator.process_index, len(self.val), self.accelerator.num_processes):
            images, frames = batched([self.val.image(row)], self.model.config)
            (seen,) = model(images.to(self.accelerator.device), frames)
            found += entries(self.val, row, seen.boxes.cpu(), seen.scores.cpu(), seen.classes.cpu())
        if was_training:
            learning(model)
        every = sorted(gather_object(found), key=lambda one: one["image_id"])
        precision = average_precision(self.val.truth, every, bounds=self.val.bounds)
        return {f"box_{name}": max(precision[name], 0.0) for name in ("AP", "AP50")}


def open_sets(recipe: Recipe) -> tuple[DetectionSet, DetectionSet]:
    """The images to learn from, those with objects, and those to judge by."""
    part = recipe.data
    if part.name is None:
        raise BadInput("say what to learn from with --data, for example coco:PATH or embedded:scenes")
    train = open_detection(part.name, part.train, part.limit)
    val = open_detection(part.name, part.val, part.val_limit)
    if train.categories != val.categories:
        raise BadInput(f"{part.train} and {part.val} of {part.name} have other categories; give the same")
    train = train.subset([row for row in range(len(train)) if _apart(train.of(row))])
    check_apart(train, val)
    return train, val


def _apart(annotations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are one object each, and have an area."""
    return [one for one in annotations if not one.get("iscrowd") and min(one["bbox"][2:]) > 0]


def _check_effects(recipe: Recipe) -> None:
    """Refuse what a detector's training would leave without effect."""
    for name in ("mixup", "cutmix", "erasing", "cutout", "patch_drop"):
        if getattr(recipe.augment, name):
            nothing = "[]" if name == "patch_drop" else 0
            raise BadInput(f"augment.{name} has no effect on a detector; say --set augment.{name}={nothing}")
    if recipe.data.stratify or recipe.loss.distill != "none":
        raise BadInput("a detector is trained without strata and without a teacher; leave out data.stratify and "
                       "--distill")  # fmt: skip


def learning(model: nn.Module) -> Any:
    """The model in training mode, but for its batch norms."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


class Student(nn.Module):
    """A detector that gives its losses through `forward`, as DDP wants it."""

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, objects: Sequence[Objects], seed: int) -> Tensor:
        """(5,): the losses of a batch."""
        return torch.stack(list(self.model.losses(images, objects, seed).values()))


class Drawn(Dataset[tuple[Tensor, Objects]]):
    """Images as a training sees them, each drawn from a seed of its own."""

    def __init__(self, data: DetectionSet, part: Detecting, recipe: Recipe, config: DetectorConfig) -> None:
        self.data, self.part, self.config = data, part, config
        self.flip, self.seed = recipe.augment.flip, recipe.train.seed

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Objects]:
        turn, place, index = draw
        seed_with(IMAGE, self.seed, turn, place)
        there = _apart(self.data.of(index))
        size = self.data.sizes[index]
        pixels = torch.from_numpy(np.array(self.data.image(index), dtype=np.float32)).permute(2, 0, 1)
        masks = torch.stack([pixels_of(one, size) for one in there]).bool()
        boxes = torch.tensor([one["bbox"] for one in there], dtype=torch.float32)
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        kinds = torch.tensor([self.data.categories.index(one["category_id"]) for one in there])
        pixels, objects = self._varied(pixels, Objects(boxes, kinds, masks))
        mean, std = (torch.tensor(of)[:, None, None] for of in (self.config.mean, self.config.std))
        return (pixels - mean) / std, objects

    def _varied(self, pixels: Tensor, objects: Objects) -> tuple[Tensor, Objects]:
        """Flipped or not, of another size, every other time of a part of the image; at last no larger than allowed."""
        part = self.part
        if random.random() < self.flip:
            width = pixels.shape[2]
            boxes = objects.boxes * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([width, 0.0, width, 0])
            pixels, objects = pixels.flip(2), Objects(boxes[:, [2, 1, 0, 3]], objects.classes, objects.masks.flip(2))
        if random.random() < 0.5:
            pixels, objects = resized(pixels, objects, random.choice(part.first), UNBOUNDED * part.long)
            most = [random.randint(min(side, part.crop[0]), min(side, part.crop[1])) for side in pixels.shape[1:]]
            pixels, objects = cropped(pixels, objects, most)
        pixels, objects = resized(pixels, objects, random.choice(part.sides), part.long)
        return cropped(pixels, objects, [part.largest, part.largest])


def resized(pixels: Tensor, objects: Objects, short: int, long: int) -> tuple[Tensor, Objects]:
    """So large that the shorter side is `short`, unless the longer one would be more than `long`."""
    size = (pixels.shape[1], pixels.shape[2])
    scale = min(long / max(size), short / min(size))
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    stretch = torch.tensor([width / size[1], height / size[0]] * 2)
    masks = functional.interpolate(objects.masks[:, None].float(), (height, width), mode="nearest")[:, 0].bool()
    larger = functional.interpolate(pixels[None], (height, width), mode="bilinear").round()[0]
    return larger, Objects(objects.boxes * stretch, objects.classes, masks)


def cropped(pixels: Tensor, objects: Objects, most: Sequence[int]) -> tuple[Tensor, Objects]:
    """A part of at most this height and width, anywhere; objects that are not in it are gone."""
    size = [min(side, limit) for side, limit in zip(pixels.shape[1:], most, strict=True)]
    top, left = (random.randint(0, side - part) for side, part in zip(pixels.shape[1:], size, strict=True))
    far = torch.tensor([size[1], size[0]] * 2, dtype=torch.float32)
    boxes = (objects.boxes - torch.tensor([left, top, left, top])).clamp(min=0).minimum(far)
    there = (boxes[:, 2:] > boxes[:, :2]).all(1)
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    return pixels[:, rows, columns], Objects(
        boxes[there], objects.classes[there], objects.masks[there][:, rows, columns]
    )


def padded(items: Sequence[tuple[Tensor, Objects]]) -> Batch:
    """One batch: each image in the upper left of the largest, whose sides are multiples of 32."""
    sides = [max(pixels.shape[axis] for pixels, _ in items) for axis in (1, 2)]
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in sides)

    def wide(values: Tensor) -> Tensor:
        return functional.pad(values, (0, width - values.shape[2], 0, height - values.shape[1]))

    objects = [Objects(of.boxes, of.classes, wide(of.masks)) for _, of in items]
    return torch.stack([wide(pixels) for pixels, _ in items]), objects
