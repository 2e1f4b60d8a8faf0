"""Extraction: a reduced model and images in, patterns out; in memory, or into a run on disk."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import SequentialSampler
from tqdm import tqdm

from ..core.host import Host
from ..core.reduced_vit import ReducedViT
from ..data import ImageSet
from ..data.loading import Loading, batches
from ..errors import BadInput
from ..hosts.timm_vit import TimmViT
from ..records.accuracy import summary
from ..records.run import Run, capacity_of
from ..records.schema import SCHEMA, coordinates, dims_of
from ..records.store import open_run
from ..records.writer import RunWriter
from .batch import attributes_of, ids_by_content, layers_of, read_batch, record
from .flops import gflops, mean_gflops


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


@dataclass(frozen=True)
class Extracted:
    """What a run amounts to."""

    folder: Path
    metrics: dict[str, float]
    """in percent, where labels are known: top1 and top5, or mAP of a multi-label set"""
    tokens_left: list[float]
    """mean over images, for each stage"""
    gflops: float
    """mean over images; those that the reducers take are counted"""
    gflops_saved: float
    """share of the un-reduced model's, 0 to 1"""
    images_per_second: float | None
    """None where the run was there already"""


def comparable(data: ImageSet, vit: TimmViT) -> bool:
    """Whether the labels can be the model's classes: those of another number would make a meaningless accuracy."""
    return not data.classes or len(data.classes) == vit.num_classes


def extract_run(
    model: ReducedViT,
    data: ImageSet,
    run: Run,
    out: Path,
    loading: Loading,
    device: torch.device,
    progress: bool = True,
) -> Extracted:
    """Extract into `out / run.name`, chunk by chunk; a run that was stopped goes on, a finished one is left alone.

    Where another process writes the same run, this one says so, waits, and takes what it wrote.

    Raises:
        BadInput: the disk is full or the folder holds another run; images that cannot be read; NaN logits.
    """
    attributes = {**attributes_of(model), **loading.attributes(), "capacity": capacity_of(run.model)}
    attributes["place"] = data.name
    if run.features:
        attributes["layers"] = layers_of(model)
    writer, speed = RunWriter(out, run, attributes, data.ids, loading.batch_size), None
    if not writer.complete:
        with writer.alone():
            if not writer.complete:  # another may have gone on meanwhile
                speed = _fill(writer, model.to(device).eval(), data, loading, device, progress)
    return _result(model, writer, speed)


def _fill(
    writer: RunWriter, model: ReducedViT, data: ImageSet, loading: Loading, device: torch.device, progress: bool
) -> float:
    """Write the images that are missing; images a second."""
    run, start, began = writer.run, writer.written, time.perf_counter()
    loader = batches(data, loading.with_batch_size(writer.batch_size), start)
    done = start
    scored = comparable(data, model.vit)
    label = f"{run.method} {run.keep_rate:g}" if run.keep_rate is not None else run.method
    with tqdm(
        total=len(data), initial=start, desc=label, unit="img", smoothing=0.1, disable=not progress, leave=False
    ) as bar:
        for images, labels, objects in loader:
            names, done = data.ids[done : done + len(images)], done + len(images)
            arrays = record(model, images.to(device), labels, run.features, run.soft, run.precision, names)
            if not scored:
                arrays["rank"][:] = -1
            if objects is not None and objects.shape[1] == arrays["kept"].shape[-1]:
                arrays["object"] = objects.numpy()
            writer.add(arrays)
            bar.update(len(images))
    speed = (len(data) - start) / max(time.perf_counter() - began, 1e-9)
    writer.finish(summary(open_run(writer.folder)))
    return speed


def _result(model: ReducedViT, writer: RunWriter, speed: float | None) -> Extracted:
    dataset = open_run(writer.folder)
    left = np.asarray(dataset["tokens_left"])
    if "gflops" not in dataset.attrs:
        writer.note(gflops=mean_gflops(model, left))
        dataset = open_run(writer.folder)
    cost, metrics = float(dataset.attrs["gflops"]), dict(dataset.attrs["metrics"])
    saved = 1 - cost / gflops(model.host, {})
    return Extracted(writer.folder, metrics, left.mean(0).tolist(), cost, saved, speed)
