"""Extraction into memory: a reduced model and images in, patterns out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..core.host import Host
from ..data import content_of_ids
from ..errors import BadInput
from ..hosts.checkpoints import digest_of
from ..records.accuracy import summary
from ..records.patterns import Patterns
from ..records.run import capacity_of
from ..records.schema import PICTURE, SCHEMA, coordinates, dims_of
from .batch import attributes_of, layers_of, record, run_of
from .flops import mean_gflops
from .inputs import as_batches, as_pictures, ids_by_content, read_batch, set_behind, unwrapped
from .passes import Passes, graph_on


def extract(
    model: nn.Module,
    loader: Any,
    ids: Iterable[str] | None = None,
    features: bool | str = False,
    soft: bool = False,
    attention: bool = False,
    *,
    name: str | None = None,
    dataset: str | None = None,
    pictures: int = 500,
    graph: str = "auto",
) -> Patterns:
    """Extract the patterns of all images into memory: a run like those on disk, which compares, draws and reports.

    Args:
        model: what `tokenlens.reduce` returned, also inside torch.compile or DataParallel; it is put into eval mode.
        loader: a DataLoader, or any batches: images (B, 3, H, W) as tensors or arrays; (images, labels), or also object
            masks (B, P) bool in the third place; or dicts with pixel_values and labels. Or else, cut into batches here:
            images (B, 3, H, W), a list of PIL images, a torch data set, what `tokenlens.open_data` returns; pictures
            are resized and normalised as the model asks. Labels are (B,) classes, or (B, classes) bool.
        ids: a stable name for each image, in order; by default the loader's data set's `ids`, else digests of the
            pixels.
        features: with class-token features, (image, layer, channel), as float32; or the word float16.
        soft: with the soft maps of a soft merger.
        attention: with what the class token (or else all tokens) paid to the patches before each stage.
        name: what the run is called; by default after data, model, method and rate, with a digest of all that makes it.
        dataset: what the images are called; by default as the data set behind the loader is, or "memory".
        pictures: keep so many of the images to draw patterns on, the first ones.
        graph: let batches of one shape go by CUDA graphs: auto (on a GPU), yes or no.

    Returns:
        An `xarray.Dataset` of the same schema as a run on disk (see `tokenlens.records.schema`).

    Raises:
        BadInput: there are no images, they are of another size than the model's, ids are too few or too many, logits
            are NaN or infinite, or features of no type that is stored.

    Examples:
        >>> import timm, torch, tokenlens
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=4, img_size=64)
        >>> tokenlens.extract(tokenlens.reduce(vit, "topk", 0.5, (1, 2)), torch.randn(4, 3, 64, 64)).sizes["stage"]
        2
    """
    model = unwrapped(model).eval()
    device = next(model.parameters()).device
    behind = set_behind(loader)
    known = ids if ids is not None else getattr(behind, "ids", None)
    known = None if known is None else [str(one) for one in known]
    passes = Passes(graph_on(device, graph))
    names: list[str] = []
    seen: dict[str, int] = {}
    parts, shown = [], []
    for batch in as_batches(loader, model):
        images, labels, objects = read_batch(batch, model.host.image[0])
        if not len(images):
            continue
        _check_size(images, model.host)
        arrays = record(model, passes.of(images.to(device)), labels, features, soft, attention=attention)
        if objects is not None and objects.shape[1] == arrays["kept"].shape[-1]:  # else on another grid
            arrays["object"] = objects.cpu().numpy()
        parts.append(arrays)
        shown.append(as_pictures(images[: max(pictures - len(names), 0)], model))
        names += known[len(names) : len(names) + len(images)] if known is not None else ids_by_content(images, seen)
    images_seen = sum(len(part["kept"]) for part in parts)
    if not images_seen:
        raise BadInput("the loader gave no images; check the data set behind it")
    if len(names) != images_seen or (known is not None and len(known) != images_seen):
        raise BadInput(f"there are {len(known or ())} ids for {images_seen} images; give one for each, in their order")
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    run = run_of(
        model,
        dataset=dataset or str(getattr(behind, "dataset", None) or getattr(behind, "name", "memory")),
        split=str(getattr(behind, "split", "")),
        images=len(names),
        content=content_of_ids(names),
        model=model.host.name,
        weights=digest_of(model.state_dict()),
        features=features,
        soft=soft,
        attention=attention,
    )
    attributes = {**run.attributes(), **attributes_of(model), "capacity": capacity_of(run.model)}
    made = Patterns(
        {name: (dims_of(name, values.ndim), values) for name, values in whole.items()},
        {"image": names, **coordinates(model.blocks, attributes["grid"], layers_of(model) if features else ())},
        {
            **attributes,
            "run": name or run.name,
            "schema": SCHEMA,
            "written": len(names),
            "complete": True,
            "place": str(getattr(behind, "name", run.dataset)),
            "input_size": list(model.host.image[1:]),
            "metrics": summary(whole),
            "gflops": mean_gflops(model, whole["tokens_left"]),
        },
    )
    held = np.concatenate(shown)
    return made.assign({"picture": (PICTURE, held)}).assign_coords(pictured=names[: len(held)]) if len(held) else made


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
