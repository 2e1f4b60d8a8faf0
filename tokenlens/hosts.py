"""The ViT that a name, a weights file or both describe."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_model_data_config

from .attention import TimmViT
from .checkpoints import Weights, digest_of, load_reducers, load_vit, read
from .errors import BadInput, UnknownName
from .published import trained_with
from .run import CAPACITIES
from .schedule import STUDY_BLOCKS
from .support import check_host
from .vit import ReducedViT, reduce
from .weights import ARCHITECTURE, NANOS, nano_path, nano_shape


def capacity_of(name: str) -> str:
    """The capacity that a model's name says (tiny, small, base, ...), or the name itself."""
    words = [part for part in re.split(r"[_\-.:/]", name) if part in CAPACITIES]
    return words[-1] if words else name  # nano-tiny is the tiny one of its family


def timm_name(name: str) -> str:
    """The timm name of a model: itself, or the DeiT that a published `<method>_<capacity>_patch16_224` started from."""
    bare = name.split(".")[0]
    if timm.is_model(bare):
        return name
    published = re.fullmatch(r"[a-z]+_(tiny|small|base)_patch16_(224|384)(?:_\w+)?", name)
    if published is None:
        raise UnknownName("model", name, [*NANOS, *timm.list_models("vit_*"), *timm.list_models("deit*")])
    return f"deit_{published[1]}_patch16_{published[2]}"


@dataclass(frozen=True)
class Host:
    """A ViT with its name, and where the parameters of learned methods come from."""

    vit: TimmViT
    model: str
    digest: str
    """of the weights; "random" for untrained ones"""
    source: str
    weights: Weights | None = None

    def equip(self, model: ReducedViT, method: str) -> None:
        """Give the reducers of a learned method their parameters; refuse where there are none."""
        learned = next(iter(model.reducers.values())).trained and model.reducers.state_dict()
        if self.digest == "random" or not learned:
            return
        weights = nano_reducers(method, model) if self.source == "nano" else self.weights
        load_reducers(model, weights or Weights({}), self.source)


def open_host(
    model: str | None = None,
    weights: str | None = None,
    heads: int | None = None,
    classes: int = 1000,
    seed: int = 0,
) -> Host:
    """The model that a user names.

    Args:
        model: "nano" or another of `weights.NANOS`, or a timm name; by default what the weights say, or nano.
        weights: a file or `hf:owner/name` (see `checkpoints.read`), or "random"; by default the published ones.
        heads: attention heads, where neither name nor weights tell.
        classes: of an untrained model.
        seed: of an untrained model.

    Raises:
        BadInput: an unknown or unsupported model, or weights that cannot be had, read or fitted.
    """
    if heads is not None and weights in (None, "random"):
        raise BadInput("--heads says what a weights file does not; it goes with --weights FILE, or leave it out")
    host = _open(model, weights, heads, classes, seed)
    check_host(host.vit)
    return host


def _open(model: str | None, weights: str | None, heads: int | None, classes: int, seed: int) -> Host:
    if weights == "random":
        torch.manual_seed(seed)
        return Host(untrained(model or "nano", classes).eval(), model or "nano", "random", "random weights")
    if weights is not None:
        found = read(weights)
        vit = vit_for(found, weights, model, heads).eval()
        name = str(model or found.args.get("model") or found.architecture)
        digest = hashlib.sha256(f"{found.digest} {vit.blocks[0].attn.num_heads}".encode()).hexdigest()
        return Host(vit, name, digest[:16], weights, found)  # heads leave no mark on the weights
    if model in (None, "nano"):
        found = read(str(nano_path()))
        digest = hashlib.sha256(b"".join(nano_path(n).read_bytes() for n in ("nano", "nano-reducers"))).hexdigest()
        return Host(vit_for(found, "nano", "nano").eval(), "nano", digest[:16], "nano", found)
    assert model is not None
    if model in NANOS:
        raise BadInput(f"{model} comes without weights; give a file with --weights, or --weights random to train it")
    vit = pretrained(model).eval()
    return Host(vit, model, digest_of(vit.state_dict())[:16], f"the published weights of {model}")


def nano_reducers(method: str, model: ReducedViT) -> Weights:
    """The parameters that come with the nano ViT, `<method>/<rate or any>/<stage>/<name>` in its file."""
    state = load_file(nano_path("nano-reducers"))
    rates = sorted({name.split("/")[1] for name in state if name.startswith(f"{method}/")})
    rate = "any" if "any" in rates else f"{model.schedule.rate:g}" if model.schedule.rate else "none"
    if rate not in rates or model.blocks != STUDY_BLOCKS:
        offer = "at any keep rate" if "any" in rates else f"at keep rates {', '.join(rates)}"
        raise BadInput(
            f"the nano ViT comes with {method} trained at blocks 3, 6, 9 {offer}; choose such, or --weights random"
            if rates
            else f"the nano ViT comes without parameters of {method}; give a checkpoint with --weights, or random"
        )
    stages: list[dict[str, Any]] = [{}, {}, {}]
    for name, value in state.items():
        owner, which, stage, parameter = name.split("/")
        if (owner, which) == (method, rate):
            stages[int(stage)][parameter] = value.float()
    return Weights({}, stages)


def pretrained(name: str) -> TimmViT:
    """A timm model with the weights that timm publishes for it."""
    try:
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
    if name in NANOS:
        return timm.create_model(ARCHITECTURE, **nano_shape(name, classes))
    return timm.create_model(timm_name(name).split(".")[0], num_classes=classes)


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
        return vit
    if name is None:
        raise BadInput(
            f"{source} does not say which model it holds; name it with --model, for example deit_tiny_patch16_224"
        )
    name = timm_name(str(name))
    bare = name.split(".")[0]
    if name not in timm.list_pretrained(name):  # a tag that timm knows tells the mean of its images
        name = bare
    if "patch_embed.proj.weight" not in weights.vit:
        raise BadInput(f"{source} holds no ViT (it has no patch_embed.proj.weight); give the weights of a timm ViT")
    plain: TimmViT = timm.create_model(name)
    check_host(plain)
    shape = _shape(weights, plain)
    if heads is None and shape["embed_dim"] != plain.embed_dim:
        raise BadInput(
            f"{source} is {shape['embed_dim']} wide and {name} {plain.embed_dim}, so the name does not tell its "
            "attention heads; say --heads"
        )
    heads = heads or plain.blocks[0].attn.num_heads
    if shape["embed_dim"] % heads:
        raise BadInput(f"a width of {shape['embed_dim']} does not divide into {heads} heads; say --heads")
    try:
        vit = timm.create_model(name, num_heads=heads, **shape)
    except (TypeError, AssertionError) as error:
        raise BadInput(f"{name} cannot be built to fit {source} ({error}); name its model with --model") from error
    load_vit(vit, weights, source)
    seen: TimmViT = vit
    seen.pretrained_cfg = {**seen.pretrained_cfg, **weights.args.get("input", {})}
    return seen


def _shape(weights: Weights, plain: TimmViT) -> dict[str, Any]:
    """What can be read off the weights, as arguments of timm's `create_model`."""
    state = weights.vit
    dim, _, patch, _ = state["patch_embed.proj.weight"].shape
    blocks = [int(name.split(".")[1]) for name in state if name.startswith("blocks.")]
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


def input_of(vit: TimmViT) -> dict[str, Any]:
    """How a ViT wants its images: input_size (C, H, W), mean, std, interpolation, crop_pct (timm's words)."""
    config = resolve_model_data_config(vit)
    height, width = vit.patch_embed.img_size or config["input_size"][1:]
    config["input_size"] = (3, height, width)
    return config


def load(weights: str | Path, model: str | None = None, heads: int | None = None) -> TimmViT:
    """Load a model from a file or the hub.

    Args:
        weights: as for `checkpoints.read`.
        model: the timm name; by default the one that the file was trained as, if it says so.
        heads: attention heads, where the model's name cannot tell (its width is not the named model's).

    Returns:
        A `ReducedViT` where the file says which method it was trained with, else the ViT; in eval mode.

    Raises:
        BadInput: as `checkpoints.read`, or the parameters do not fit the model.
    """
    if not isinstance(weights, str | Path):
        raise BadInput(f"weights are {weights!r}; give a path, or hf:owner/name")
    source = str(weights)
    found = read(source)
    vit = vit_for(found, source, model, heads).eval()
    trained = trained_with(found.args)
    if trained is None:
        return vit
    reduced = reduce(vit, **trained)
    load_reducers(reduced, found, source)
    return reduced
