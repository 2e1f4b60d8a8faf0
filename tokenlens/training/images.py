"""Images on their way to the model: timm's augmentations, each image's draws from a seed of its own.

Shapes: B images, C classes.
"""

from __future__ import annotations

import random
from typing import Any

from PIL import Image, ImageDraw
from timm.data import Mixup, create_transform
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, Resize

from ..data import ImageSet
from ..data.loading import Loader
from ..errors import BadInput
from .draws import IMAGE, Draw, Parts, seed_with
from .recipe import Augment, Recipe


class Cutout:
    """Paint over one rectangle, anywhere, in any colour; as in the multi-label code that the study builds on.

    Held against github.com/JoakimHaurum/TokenReduction/blob/dc1c77333a63c849b06e800041f745596e25eec4/aug_factory.py
    """

    def __init__(self, share: float) -> None:
        """`share` of the image's width and height, where the rectangle lies wholly inside."""
        self.share = share

    def __call__(self, image: Image.Image) -> Image.Image:
        """The image, painted over."""
        image, draw = image.copy(), random.randrange
        half = [round(side * self.share) // 2 for side in image.size]
        centre = [draw(side) for side in image.size]
        low = [max(c - h, 0) for c, h in zip(centre, half, strict=True)]
        high = [min(c + h, side) for c, h, side in zip(centre, half, image.size, strict=True)]
        ImageDraw.Draw(image).rectangle((*low, *high), fill=(draw(256), draw(256), draw(256)))
        return image


def train_transform(augment: Augment, config: dict[str, Any]) -> Any:
    """From a PIL image to a tensor (3, H, W), normalised; `config` is timm's of the model."""
    size = tuple(config["input_size"])
    try:
        transform = create_transform(
            size,
            is_training=True,
            scale=(augment.scale[0], augment.scale[1]),
            ratio=(augment.ratio[0], augment.ratio[1]),
            hflip=augment.flip,
            color_jitter=augment.color_jitter,
            auto_augment=augment.randaugment,
            interpolation=augment.interpolation,
            mean=config["mean"],
            std=config["std"],
            re_prob=augment.erasing,
            re_mode="pixel",
        )
    except (AssertionError, ValueError) as error:  # timm reads these words itself
        raise BadInput(
            f"timm knows no augmentation {augment.randaugment!r} ({error}); for example rand-m9-mstd0.5-inc1, or null"
        ) from error
    if augment.crop == "square":
        transform.transforms[0] = Resize(size[1:], InterpolationMode(augment.interpolation))
    if augment.cutout:
        transform.transforms.insert(1, Cutout(augment.cutout))
    return transform


class Drawn(Dataset[tuple[Tensor, Any]]):
    """An image set as augmented tensors."""

    def __init__(self, data: ImageSet, transform: Any, seed: int) -> None:
        self.data, self.transform, self.seed = data, transform, seed

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Any]:
        turn, place, index = draw
        seed_with(IMAGE, self.seed, turn, place)
        return self.transform(self.data.image(index)), self.data.label(index)


def train_loader(data: ImageSet, parts: Parts, recipe: Recipe, config: dict[str, Any]) -> Loader:
    """Batches of images (B, 3, H, W) and labels, (B,) int64 or, of several labels an image, (B, C) bool."""
    drawn = Drawn(data, train_transform(recipe.augment, config), recipe.train.seed)
    return Loader(drawn, batch_sampler=parts, num_workers=recipe.data.workers)


def mixing(recipe: Recipe, classes: int, multi_label: bool) -> Mixup | None:
    """Mixup and cutmix, of timm; None where the recipe has neither."""
    augment = recipe.augment
    if not augment.mixes:
        return None
    if multi_label:
        raise BadInput(
            "mixup and cutmix blend single labels, and this data set has several an image; "
            "take the recipe coco or nuswide, or --set augment.mixup=0 --set augment.cutmix=0"
        )
    if recipe.train.batch_size % 2:
        raise BadInput(f"mixup blends images in pairs; give an even --batch-size, not {recipe.train.batch_size}")
    return Mixup(
        augment.mixup,
        augment.cutmix,
        prob=augment.mix_probability,
        switch_prob=augment.cutmix_share,
        label_smoothing=recipe.loss.smoothing,
        num_classes=classes,
    )
