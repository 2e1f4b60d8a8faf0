"""The ViT that a name, a weights file or both describe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import timm
from timm.data import resolve_model_data_config

from ..core.host import HOSTS, host_of, name_of
from ..errors import BadInput, UnknownName
from ..hub import answers_at_once
from ..weights import ARCHITECTURE, NANOS, nano_shape
from .checkpoints import Weights, load_vit
from .published_checkpoints import PUBLISHED
from .state_dicts import PATCHES, names_in
from .timm_vit import TimmViT


def timm_name(name: str) -> str:
    """The timm name of a model: itself, or the DeiT that a published `<method>_<capacity>_patch16_224` started from."""
    bare = name.split(".")[0]
    if timm.is_model(bare):
        return name
    published = PUBLISHED.fullmatch(name)
    if published is None:
        raise UnknownName("model", name, [*NANOS, *timm.list_models("vit_*"), *timm.list_models("deit*")])
    return f"deit_{published[1]}_patch16_{published[2]}"


def library_of(name: str) -> Any:
    """The host whose library a model's name begins with, as in `hf:owner/name`, or whose folder it is; None: timm's."""
    word = "hf" if _is_folder(name) else name.partition(":")[0]
    return next((kind for kind in HOSTS.values() if getattr(kind, "library", None) == word), None)


def pretrained(name: str) -> TimmViT:
    """A model with the weights that its library publishes for it."""
    try:
        with answers_at_once():
            if library := library_of(name):
                return library.open(_within(name), True)
            return timm.create_model(timm_name(name), pretrained=True)
    except BadInput:
        raise
    except Exception as error:  # the hub's client raises the errors of several network libraries
        reason = str(error).split("\n")[0] or type(error).__name__
        raise BadInput(
            f"could not get the published weights of {name} ({reason}); try again, "
            "or give a file with --weights, or --weights random for untrained ones"
        ) from error


def untrained(name: str, classes: int) -> TimmViT:
    """A randomly initialised model; the nano ViTs included."""
    if library := library_of(name):
        return library.open(_within(name), False, classes)
    if name in NANOS:
        return timm.create_model(ARCHITECTURE, **nano_shape(name, classes))
    return timm.create_model(timm_name(name).split(".")[0], num_classes=classes)


def called(vit: TimmViT, name: str) -> str:
    """What a run calls a model that was opened by a name: never a folder's place."""
    return name_of(vit) if library_of(name) else name


def _within(name: str) -> str:
    """A model's name in its library; a folder's is itself."""
    return name if _is_folder(name) else name.partition(":")[2]


def _is_folder(name: str) -> bool:
    return (Path(name) / "config.json").is_file()


def vit_for(weights: Weights, source: str, model: str | None = None, heads: int | None = None) -> TimmViT:
    """Build the ViT that the weights fit, with width, depth, classes and input size read off them, and load them.

    The number of attention heads leaves no mark on the weights: it comes from the model's name, or from `heads` where
    the width is not the named model's.
    """
    name = model or weights.args.get("model") or weights.architecture
    heads = heads or weights.args.get("heads")
    if name in NANOS:
        classes = len(weights.vit.get("head.weight", ()))
        vit = timm.create_model(ARCHITECTURE, **nano_shape(name, classes))
        load_vit(vit, weights, source)
        return _told_size(vit)
    if name is None:
        raise BadInput(
            f"{source} does not say which model it holds; name it with --model, for example deit_tiny_patch16_224"
        )
    if library_of(str(name)):
        raise BadInput(
            f"{name} comes with weights of its own; leave --weights out, give --weights random, or load {source} in "
            "Python and give the model to tokenlens.reduce"
        )
    name = timm_name(str(name))
    bare = name.split(".")[0]
    if name not in timm.list_pretrained(name):  # a tag that timm knows tells the mean of its images
        name = bare
    if PATCHES not in weights.vit or weights.vit[PATCHES].ndim != 4:
        raise BadInput(
            f"{source} holds no ViT that is understood (it has no {PATCHES}, but {names_in(weights.vit)}); "
            "give the weights of a timm ViT"
        )
    plain: TimmViT = timm.create_model(name)
    heads_of_name = host_of(plain).heads
    shape = _shape(weights, plain)
    if heads is None and shape["embed_dim"] != plain.embed_dim:
        raise BadInput(
            f"{source} is {shape['embed_dim']} wide and {name} {plain.embed_dim}, so the name does not tell its "
            "attention heads; say --heads"
        )
    heads = heads or heads_of_name
    if shape["embed_dim"] % heads:
        raise BadInput(f"a width of {shape['embed_dim']} does not divide into {heads} heads; say --heads")
    try:
        vit = timm.create_model(name, num_heads=heads, **shape)
    except (TypeError, AssertionError) as error:
        raise BadInput(f"{name} cannot be built to fit {source} ({error}); name its model with --model") from error
    load_vit(vit, weights, source)
    seen: TimmViT = _told_size(vit)
    seen.pretrained_cfg = {**seen.pretrained_cfg, **weights.args.get("input", {})}
    return seen


def _told_size(vit: TimmViT) -> TimmViT:
    """With the size of its images where timm looks for it, which has that of the architecture's own weights there."""
    vit.pretrained_cfg = {**vit.pretrained_cfg, "input_size": host_of(vit).image}
    return vit


def _shape(weights: Weights, plain: TimmViT) -> dict[str, Any]:
    """What can be read off the weights, as arguments of timm's `create_model`."""
    state = weights.vit
    dim, _, patch, _ = state[PATCHES].shape
    blocks = [int(found[1]) for name in state if (found := re.match(r"blocks\.(\d{1,4})\.", name))]
    shape: dict[str, Any] = {"embed_dim": dim, "depth": 1 + max(blocks, default=-1)}
    shape["num_classes"] = len(state["head.weight"]) if "head.weight" in state else 0
    if patch != plain.patch_embed.patch_size[0]:
        shape["patch_size"] = patch
    if "pos_embed" in state and plain.pos_embed is not None:
        extra = plain.pos_embed.shape[1] - plain.patch_embed.num_patches
        places = state["pos_embed"].shape[1] - extra
        if places != plain.patch_embed.num_patches or "patch_size" in shape:
            side = round(places**0.5)
            if side * side != places:
                raise BadInput(f"{places} positions make no square image; build the model in Python and load it there")
            shape["img_size"] = side * patch
    return shape


def resize(vit: TimmViT, size: int) -> None:
    """Have a ViT take square images of another size: positions are interpolated as timm does it (bicubic).

    Raises:
        BadInput: the model comes with one size only, or its patches do not tile such an image.
    """
    if not hasattr(vit, "set_input_size"):
        raise BadInput(f"{name_of(vit)} takes images of its own size only; leave --img-size out, or take a ViT of timm")
    patch = int(vit.patch_embed.feat_ratio())
    if size % patch:
        near = max(1, round(size / patch)) * patch
        raise BadInput(f"images of {size} pixels are not tiled by patches of {patch}; give, for instance, {near}")
    vit.set_input_size((size, size))
    _told_size(vit)


def input_of(vit: TimmViT) -> dict[str, Any]:
    """How a ViT wants its images: input_size (C, H, W), mean, std, interpolation, crop_pct (timm's words)."""
    config = resolve_model_data_config(vit)
    config["input_size"] = (3, *host_of(vit).image[1:])
    return config
