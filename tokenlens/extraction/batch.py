"""One batch: what a reduced model does to it, in the words of the schema.

Shapes: B images, S stages, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.reduced_vit import ReducedViT
from ..core.trace import Trace
from ..errors import BadInput, UnknownName
from ..methods.registry import METHODS, Method
from ..records.run import Run
from .passes import Batch, Captured

MOST_SCORES = 100  # classes; beyond, scores would outweigh the patterns many times over
FEATURES = ("float32", "float16")


def canonical(group: Tensor) -> Tensor:
    """Number the groups of each row by first occurrence: (..., P) integers; -1 and -2 stay."""
    flat = group.reshape(-1, group.shape[-1]).long()
    patches = flat.shape[1]
    here = torch.arange(patches, device=flat.device).expand_as(flat)
    column = torch.where(flat >= 0, flat, patches)
    first = torch.full((len(flat), patches + 1), patches, device=flat.device)
    first = first.scatter_reduce(1, column, here, "amin").gather(1, column)  # of the patches in the same group
    number = (first == here).masked_fill(flat < 0, False).cumsum(1) - 1  # of groups that have begun before a patch
    return torch.where(flat >= 0, number.gather(1, first), flat).view(group.shape).to(torch.int16)


@torch.inference_mode()
def record(
    model: ReducedViT,
    batch: Batch | Captured,
    labels: Tensor | None = None,
    features: bool | str = False,
    soft: bool = False,
    precision: str = "float32",
    names: Sequence[str] = (),
    attention: bool = False,
) -> dict[str, np.ndarray]:
    """Run one batch and write down everything that the schema of a run knows (see `tokenlens.records.schema`).

    Args:
        model: in eval mode.
        batch: of images (B, 3, H, W) float, on the model's device.
        labels: (B,) integers, -1 where unknown; or (B, classes) bool, of several classes an image.
        features: with class-token features, as float32; or the word float16.
        soft: with the soft maps of a soft merger.
        precision: float32, or bfloat16 or float16 through autocast; decisions are made in float32 all the same.
        names: of the images, for a message.
        attention: with the attention that is paid to the patches that a stage decides of, as float16.

    Raises:
        BadInput: logits are NaN or infinite, or features beyond float16.
    """
    logits, trace = batch.trace(model, precision, bool(features), soft, attention)
    # of a timm model without a head they are features, of no class
    arrays = retold(trace, logits[:, : getattr(model, "num_classes", None)], labels, model.host.name, names)
    if features:
        arrays["feature"] = _stored(
            torch.stack([trace.features[layer] for layer in sorted(trace.features)], 1), features
        )
    if attention:
        none = torch.full_like(arrays["kept"][:, 0], torch.nan, dtype=torch.float16)  # a stage that had nothing to do
        arrays["attention"] = torch.stack([trace.attention.get(block, none).half() for block in trace.blocks], 1)
    for block, weights in trace.soft.items():
        arrays[f"soft_{block}"] = weights.half()
    return {name: value.cpu().numpy() for name, value in arrays.items()}


def retold(
    trace: Trace, logits: Tensor, labels: Tensor | None, name: str, names: Sequence[str] = ()
) -> dict[str, Tensor]:
    """What became of every patch, and what the model of this name made of the images, in the words of the schema."""
    logits = logits.float()
    if not bool(logits.isfinite().all()):
        which = int((~logits.isfinite().all(1)).nonzero()[0])
        raise BadInput(
            f"{name} gave NaN or infinite logits for image {names[which] if names else which}, "
            "so its pattern is not stored; look at the weights, or use --precision float32"
        )
    labels = torch.full((len(logits),), -1) if labels is None else labels
    patterns = {"kept": trace.kept, "group": canonical(trace.group), "tokens_left": trace.tokens_left}
    return {**patterns, **_judged(logits, labels.to(logits.device))}


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


def method_of(model: ReducedViT) -> Method:
    """The method of a model, also of one whose reducers were never registered."""
    kind = type(model.reducer(model.blocks[0]))
    return METHODS.get(model.method) or Method(model.method or kind.__name__.lower(), kind)


def run_of(model: ReducedViT, /, **others: Any) -> Run:
    """The identity of a run: what a model says itself, and the other fields of `Run`."""
    made_by = method_of(model)
    own: dict[str, Any] = {
        "method": made_by.name, "keep_rate": model.rate, "blocks": model.blocks, "keep": model.keep,
        "options": model.options, "source": made_by.digest, "seed": model.seed,
        "device": next(model.parameters()).device.type,
    }  # fmt: skip
    return Run(**{**own, **others})


def attributes_of(model: ReducedViT) -> dict[str, Any]:
    """What a run's attributes say about the model, beside its identity."""
    made_by = method_of(model)
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
        "num_classes": int(getattr(model, "num_classes", None) or 0),
        "versions": {name: version(name) for name in ("tokenlens-vit", "torch", "timm")},
    }
