"""Extraction into memory: a reduced model and images in, patterns out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor
from torch.utils.data import SequentialSampler

from ..core.host import Host
from ..core.reduced_vit import ReducedViT
from ..errors import BadInput
from ..records.accuracy import summary
from ..records.schema import SCHEMA, coordinates, dims_of
from .batch import attributes_of, ids_by_content, layers_of, read_batch, record
from .flops import mean_gflops


def extract(
    model: ReducedViT,
    loader: Iterable[Any],
    ids: Sequence[str] | None = None,
    features: bool | str = False,
    soft: bool = False,
) -> xr.Dataset:
    """Extract the patterns of all images into memory.

    Args:
        model: what `tokenlens.reduce` returned; it is put into eval mode.
        loader: yields batches: images (B, 3, H, W), or (images, labels), as a DataLoader does; or also object masks
            (B, P) bool in the third place. Labels are (B,) classes, or (B, classes) bool.
        ids: a stable name for each image, in order; by default the loader's data set's `ids`, else digests of the
            pixels.
        features: with class-token features, (image, layer, channel), as float32; or the word float16.
        soft: with the soft maps of a soft merger.

    Returns:
        The same schema as a run on disk (see `tokenlens.records.schema`).

    Raises:
        BadInput: there are no images, they are of another size than the model's, ids are too few or too many, logits
            are NaN or infinite, or features of no type that is stored.
    """
    if not isinstance(model, ReducedViT):
        kind = type(model).__name__
        raise BadInput(f"the model is a {kind}; give what tokenlens.reduce returns, as in reduce(model, 'topk')")
    if isinstance(loader, Tensor):
        raise BadInput(f"the loader is one tensor {tuple(loader.shape)}; give a list of batches, as in [images]")
    model.eval()
    device = next(model.parameters()).device
    known = [str(name) for name in ids] if ids is not None else _ids_of(loader)
    names: list[str] = []
    seen: dict[str, int] = {}
    batches = []
    for batch in loader:
        images, labels, objects = read_batch(batch, model.host.image[0])
        if not len(images):
            continue
        _check_size(images, model.host)
        arrays = record(model, images.to(device), labels, features, soft)
        if objects is not None:
            arrays["object"] = objects.cpu().numpy()
        batches.append(arrays)
        names += known[len(names) : len(names) + len(images)] if known is not None else ids_by_content(images, seen)
    images_seen = sum(len(part["kept"]) for part in batches)
    if not images_seen:
        raise BadInput("the loader gave no images; check the data set behind it")
    if len(names) != images_seen or (known is not None and len(known) != images_seen):
        raise BadInput(f"there are {len(known or ())} ids for {images_seen} images; give one for each, in their order")
    whole = {name: np.concatenate([part[name] for part in batches]) for name in batches[0]}
    attributes = attributes_of(model)
    return xr.Dataset(
        {name: (dims_of(name, values.ndim), values) for name, values in whole.items()},
        {"image": names, **coordinates(model.blocks, attributes["grid"], layers_of(model) if features else ())},
        {
            **attributes,
            "run": "in memory",
            "schema": SCHEMA,
            "images": len(names),
            "written": len(names),
            "complete": True,
            "blocks": list(model.blocks),
            "keep_rate": model.rate,
            "seed": model.seed,
            "metrics": summary(whole),
            "gflops": mean_gflops(model, whole["tokens_left"]),
        },
    )


def _check_size(images: Tensor, host: Host) -> None:
    """Refuse images on another grid of patches: the schema knows one, and counts of tokens and GFLOPs are for it."""
    size, own = tuple(images.shape[-2:]), host.grid
    grid = host.grid_of(size)
    if grid != own:
        there, here = (" x ".join(map(str, shape)) for shape in (grid, own))
        raise BadInput(
            f"images of {size[0]} x {size[1]} make {there} patches and {host.name} has {here}; "
            f"resize them, or create the model with img_size={size}"
        )


def _ids_of(loader: Iterable[Any]) -> Sequence[str] | None:
    """The ids of the data set behind a loader, if it goes through it once and in order."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    in_order = isinstance(sampler, SequentialSampler) and not getattr(loader, "drop_last", False)
    return getattr(getattr(loader, "dataset", None), "ids", None) if in_order else None
