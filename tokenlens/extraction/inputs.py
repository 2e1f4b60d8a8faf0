"""What people have as models and images, as the reduced model and the batches that extraction takes.

Shapes: B images, P patches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler, default_collate

from ..core.reduced_vit import ReducedViT
from ..data.loading import Loading, batches
from ..errors import BadInput
from ..hosts.loading import input_of

TOGETHER = 32  # images in a batch where nobody says how many
IMAGES, LABELS = ("pixel_values", "image", "images"), ("labels", "label")  # in the dicts of transformers and datasets


def unwrapped(model: Any) -> ReducedViT:
    """The reduced model inside what torch.compile, DataParallel and DistributedDataParallel return.

    Raises:
        BadInput: there is none.
    """
    inner = model
    while not isinstance(inner, ReducedViT):
        inner, wrapper = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None), inner
        if not isinstance(inner, torch.nn.Module):
            kind = type(wrapper).__name__
            raise BadInput(f"the model is a {kind}; give what tokenlens.reduce returns, as in reduce(model, 'topk')")
    return inner


def as_batches(images: Any, model: ReducedViT) -> Iterable[Any]:
    """Batches of whatever a user has: a loader is itself; arrays, lists of pictures and data sets are cut into some.

    Pictures are resized, cropped and normalised as the model asks.
    """
    if _is_set(images):
        return batches(images, Loading.of(input_of(model.vit), images, TOGETHER, 0))
    if isinstance(images, Tensor | np.ndarray) and images.ndim == 4:
        return [images[start : start + TOGETHER] for start in range(0, len(images), TOGETHER)]
    if isinstance(images, Tensor | np.ndarray):
        return [images]
    if isinstance(images, Sequence) and not isinstance(images, str) and images and isinstance(images[0], Image.Image):
        return _batches_of_pictures(images, model)
    if isinstance(images, Dataset):
        transform = create_transform(**input_of(model.vit))
        return DataLoader(images, TOGETHER, collate_fn=lambda items: default_collate(_as_tensors(items, transform)))
    if isinstance(images, str | Mapping) or not isinstance(images, Iterable):
        raise BadInput(
            f"the loader is a {type(images).__name__}; give a DataLoader, a list of batches, images (B, 3, H, W), a "
            'list of PIL images, or a data set, as of tokenlens.open_data("folder:PATH")'
        )
    return images


def _is_set(images: Any) -> bool:
    return all(hasattr(images, name) for name in ("ids", "image", "label", "mask", "multi_label"))


def _batches_of_pictures(images: Sequence[Image.Image], model: ReducedViT) -> Iterator[Tensor]:
    transform = create_transform(**input_of(model.vit))
    for start in range(0, len(images), TOGETHER):
        yield torch.stack([transform(image.convert("RGB")) for image in images[start : start + TOGETHER]])


def _as_tensors(items: Any, transform: Any) -> Any:
    """The pictures among what a data set returns as tensors, whatever lies beside them."""
    if isinstance(items, Image.Image):
        return transform(items.convert("RGB"))
    if isinstance(items, list | tuple):
        return [_as_tensors(item, transform) for item in items]
    if isinstance(items, Mapping):
        return {name: _as_tensors(item, transform) for name, item in items.items()}
    return items


def set_behind(loader: Any) -> Any:
    """The data set behind a loader, or the loader that is one, if it is gone through once and in order; else None."""
    if _is_set(loader) or (isinstance(loader, Dataset) and not isinstance(loader, DataLoader)):
        return loader
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    in_order = isinstance(sampler, SequentialSampler) and not getattr(loader, "drop_last", False)
    return getattr(loader, "dataset", None) if in_order else None


def read_batch(batch: Any, channels: int = 3) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Images, labels and object masks of whatever a loader yields, as `batch.record` takes them.

    Args:
        batch: images as torch tensor or NumPy array; a list or tuple (images, labels, masks) of which the latter may be
            missing; or a dict as transformers and datasets have it, with pixel_values and labels.
        channels: of the model's images.

    Raises:
        BadInput: images that are none, or labels that are no classes.
    """
    if isinstance(batch, Mapping):
        found = next((batch[name] for name in IMAGES if name in batch), None)
        if found is None:
            raise BadInput(
                f"the loader yields a dict of {', '.join(map(str, batch))}; give images as pixel_values, or "
                "(images, labels), as in ((batch[...], batch[...]) for batch in loader)"
            )
        batch = (found, next((batch[name] for name in LABELS if name in batch), None))
    images, labels, objects = (*(batch if isinstance(batch, list | tuple) else (batch,)), None, None)[:3]
    given = images
    if isinstance(images, np.ndarray) and images.dtype.kind in "fiub":
        images = torch.from_numpy(np.ascontiguousarray(images))
    ours = isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] == channels
    if not ours or not images.is_floating_point():
        kind = f"{given.dtype!s} {tuple(given.shape)}" if hasattr(given, "shape") else type(given).__name__
        said = f"a batch of images is {kind}"
        if isinstance(images, Tensor) and images.ndim == 4 and images.shape[-1] == channels and not ours:
            move = "transpose" if isinstance(given, np.ndarray) else "permute"
            raise BadInput(f"{said}, with channels last; give images.{move}(0, 3, 1, 2), of floats, normalised")
        raise BadInput(f"{said}; give tensors or arrays (B, {channels}, H, W) of floats, normalised")
    return images.float(), None if labels is None else classes_of(labels, len(images)), objects


def as_pictures(images: Tensor, model: ReducedViT) -> np.ndarray:
    """Normalised images (B, 3, H, W) as pictures (B, H, W, 3) uint8; (0, ...) where they are not of three colours."""
    config = input_of(model.vit)
    if images.shape[1] != len(config["mean"]) or images.shape[1] != 3:
        return np.zeros((0, *images.shape[2:], 3), np.uint8)
    mean, std = (images.new_tensor(config[name])[:, None, None] for name in ("mean", "std"))
    bright: np.ndarray = (255 * (images * std + mean)).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return bright


def classes_of(labels: Any, count: int) -> Tensor:
    """Labels as a loader has them, as (B,) int64 classes or (B, classes) bool.

    Raises:
        BadInput: they are no classes (smoothed, mixed, words), or not one for each image.
    """
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"labels are {labels!r:.60}; give their numbers, -1 where unknown") from error
    if found.ndim == 2 and found.shape[1] == 1 and found.dtype != torch.bool:  # as medical sets have them
        raise BadInput(f"labels are {tuple(found.shape)}, a class each or one of one class; give labels[:, 0] or bool")
    if found.ndim not in (1, 2) or len(found) != count:
        raise BadInput(f"labels are {tuple(found.shape)} for {count} images; give (B,) classes or (B, classes) bool")
    whole = not found.is_complex() and bool((found == found.to(torch.int64)).all())
    if not whole or (found.ndim == 2 and not bool(((found == 0) | (found == 1)).all())):
        raise BadInput(
            f"labels are no classes: a row is {[round(x, 3) for x in found[0].reshape(-1)[:4].tolist()]}, as after "
            "label smoothing or mixup; give the loader that is for evaluation"
        )
    return found.bool() if found.ndim == 2 else found.long()


def ids_by_content(images: Tensor, seen: dict[str, int]) -> list[str]:
    """Names for images that come without: a digest of their pixels, numbered where it repeats."""
    names = []
    for image in images.detach().float().cpu().contiguous().numpy():
        digest = hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        names.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return names
