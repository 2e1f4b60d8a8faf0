"""One batch: what a reduced model does to it, in the words of the schema.

Shapes: B images, S stages, P patches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.reduced_vit import ReducedViT
from ..core.walk import Beginning
from ..errors import BadInput, UnknownName
from ..methods.registry import METHODS, Method

MOST_SCORES = 100  # classes; beyond, scores would outweigh the patterns many times over
FEATURES = ("float32", "float16")


def canonical(group: Tensor) -> Tensor:
    """Number the groups of each row by first occurrence: (..., P) integers; -1 and -2 stay."""
    flat = group.reshape(-1, group.shape[-1]).long()
    patches = flat.shape[1]
    here = torch.arange(patches, device=flat.device).expand_as(flat)
    column = torch.where(flat >= 0, flat, patches)
    first = torch.full((len(flat), patches + 1), patches, device=flat.device)
    first = first.scatter_reduce(1, column, here, "amin")[:, :patches]
    number = torch.empty_like(first).scatter(1, first.argsort(dim=1, stable=True), here)
    return torch.where(flat >= 0, number.gather(1, flat.clamp(min=0)), flat).view(group.shape).to(torch.int16)


@torch.inference_mode()
def record(
    model: ReducedViT,
    images: Tensor,
    labels: Tensor | None = None,
    features: bool | str = False,
    soft: bool = False,
    precision: str = "float32",
    names: Sequence[str] = (),
    begin: Callable[[], Beginning] | None = None,
) -> dict[str, np.ndarray]:
    """Run one batch and write down everything that the schema of a run knows (see `tokenlens.records.schema`).

    Args:
        model: in eval mode.
        images: (B, 3, H, W) float, on the model's device.
        labels: (B,) integers, -1 where unknown; or (B, classes) bool, of several classes an image.
        features: with class-token features, as float32; or the word float16.
        soft: with the soft maps of a soft merger.
        precision: float32, or bfloat16 or float16 through autocast; decisions are made in float32 all the same.
        names: of the images, for a message.
        begin: gives what several models of the same weights have in common; it is called in the same precision.

    Raises:
        BadInput: logits are NaN or infinite, or features beyond float16.
    """
    half = nullcontext() if precision == "float32" else torch.autocast(images.device.type, getattr(torch, precision))
    with half:
        logits, trace = model.trace(images, bool(features), soft, None if begin is None else begin())
    logits = logits.float()
    if not bool(logits.isfinite().all()):
        which = int((~logits.isfinite().all(1)).nonzero()[0])
        raise BadInput(
            f"{model.host.name} gave NaN or infinite logits for image {names[which] if names else which}, "
            "so its pattern is not stored; look at the weights, or use --precision float32"
        )
    labels = torch.full((len(images),), -1) if labels is None else labels
    arrays: dict[str, Any] = {
        "kept": trace.kept,
        "group": canonical(trace.group),
        "tokens_left": trace.tokens_left,
        # of a timm model without a head they are features, of no class
        **_judged(logits[:, : getattr(model, "num_classes", None)], labels.to(logits.device)),
    }
    if features:
        arrays["feature"] = _stored(
            torch.stack([trace.features[layer] for layer in sorted(trace.features)], 1), features
        )
    for block, weights in trace.soft.items():
        arrays[f"soft_{block}"] = weights.half()
    return {name: value.cpu().numpy() for name, value in arrays.items()}


def _stored(feature: Tensor, kind: bool | str) -> Tensor:
    if kind not in (True, *FEATURES):
        raise UnknownName("type of features", str(kind), FEATURES)
    feature = feature.half() if kind == "float16" else feature.float()
    if not bool(feature.isfinite().all()):
        raise BadInput("some class-token features are NaN or beyond what float16 holds; use --features float32")
    return feature


def _judged(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What is known of the classes: labels, and what the model made of them."""
    classes, unknown = logits.shape[1], torch.full((len(logits),), -1, dtype=torch.int32)
    if labels.ndim == 2:  # labels of other classes than the model's say nothing about its scores
        found = {"label": labels.bool(), "prediction": unknown, "rank": unknown}
        return {**found, "score": logits} if labels.shape[1] == classes else found
    found = {
        "label": labels.int(),
        "prediction": logits.argmax(1).int() if classes else unknown,
        "rank": ranks(logits, labels.long()),
    }
    return {**found, "score": logits} if 0 < classes <= MOST_SCORES else found


def read_batch(batch: Any, channels: int = 3) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Images, labels and object masks of whatever a loader yields, as `record` takes them.

    Args:
        batch: images, or a list or tuple (images, labels, masks) of which the latter may be missing.
        channels: of the model's images.

    Raises:
        BadInput: images that are none, or labels that are no classes.
    """
    if isinstance(batch, dict):
        raise BadInput(
            f"the loader yields a dict of {', '.join(map(str, batch))}; give images, or (images, labels), as in "
            '((batch["pixel_values"], batch["labels"]) for batch in loader)'
        )
    images, labels, objects = (*(batch if isinstance(batch, list | tuple) else (batch,)), None, None)[:3]
    ours = isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] == channels
    if not ours or not images.is_floating_point():
        kind = f"{images.dtype!s} {tuple(images.shape)}" if hasattr(images, "shape") else type(images).__name__
        raise BadInput(f"a batch of images is {kind}; give torch tensors (B, {channels}, H, W) of floats, normalised")
    return images.float(), None if labels is None else classes_of(labels, len(images)), objects


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


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes score above the label's.

    Args:
        logits: (B, classes) float.
        labels: (B,) int64, on the same device.

    Returns:
        (B,) int32: 0 is right, below 5 is right by top-5; -1 where the label is no class of the model.
    """
    classes = logits.shape[1]
    known = (labels >= 0) & (labels < classes)
    own = logits.gather(1, (labels * known).unsqueeze(1)) if classes else logits.new_zeros(len(logits), 1)
    return ((logits > own).sum(1) * known - 1 * ~known).int()


def layers_of(model: ReducedViT) -> list[int]:
    """The blocks whose class tokens are recorded as features: the stages' and the last."""
    return sorted({*model.blocks, model.host.blocks - 1})


def attributes_of(model: ReducedViT) -> dict[str, Any]:
    """What a run's attributes say about the model, beside its identity."""
    kind = type(model.reducer(model.blocks[0]))
    made_by = METHODS.get(model.method) or Method(model.method or kind.__name__.lower(), kind)
    return {
        **made_by.facts(),
        "method": made_by.name,
        "options": model.options,
        "follows_rate": model.follows_rate,
        "schedule": model.schedule.kind,
        "keep_rates": [count / model.patches for count in model.keep],
        "grid": list(model.host.grid),
        "depth": model.host.blocks,
        "heads": model.host.heads,
        "versions": {name: version(name) for name in ("tokenlens-vit", "torch", "timm")},
    }


def ids_by_content(images: Tensor, seen: dict[str, int]) -> list[str]:
    """Names for images that come without: a digest of their pixels, numbered where it repeats."""
    names = []
    for image in images.detach().float().cpu().contiguous().numpy():
        digest = hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        names.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return names
