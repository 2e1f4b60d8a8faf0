"""The ViT that a name, a weights file or both describe, with the parameters of learned methods."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ..core.host import host_of
from ..core.reduced_vit import ReducedViT
from ..core.schedule import STUDY_BLOCKS
from ..errors import BadInput
from ..hosts.checkpoints import Weights, check_numbers, digest_of, read
from ..hosts.loading import called, pretrained, resize, untrained, vit_for
from ..hosts.published_checkpoints import trained_with
from ..hosts.timm_vit import TimmViT
from ..reduce import reduce
from ..weights import NANOS, nano_path


@dataclass(frozen=True)
class Pretrained:
    """A ViT with its name, and where the parameters of learned methods come from."""

    vit: TimmViT
    model: str
    digest: str
    """of the weights; "random" for untrained ones"""
    source: str
    weights: Weights | None = None

    @property
    def origin(self) -> str:
        """Where the weights come from and their licence, where somebody else's package brings them."""
        return self.weights.origin if self.weights else ""

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
    img_size: int | None = None,
) -> Pretrained:
    """The model that a user names.

    Args:
        model: "nano" or another of `weights.NANOS`, or a timm name; by default what the weights say, or nano.
        weights: what `checkpoints.read` takes, or "random"; by default the published ones.
        heads: attention heads, where neither name nor weights tell.
        classes: of an untrained model.
        seed: of an untrained model.
        img_size: pixels of an image's side, where it is to be another than the model's own.

    Raises:
        BadInput: an unknown or unsupported model, or weights that cannot be had, read or fitted.
    """
    if heads is not None and weights in (None, "random"):
        raise BadInput("--heads says what a weights file does not; it goes with --weights FILE, or leave it out")
    host = _open(model, weights, heads, classes, seed)
    host_of(host.vit)
    if img_size is None:
        return host
    resize(host.vit, img_size)
    return replace(host, model=f"{host.model}@{img_size}")  # another grid, and so other patterns


def _open(model: str | None, weights: str | None, heads: int | None, classes: int, seed: int) -> Pretrained:
    if weights == "random":
        torch.manual_seed(seed)
        vit = untrained(model or "nano", classes).eval()
        return Pretrained(vit, called(vit, model or "nano"), "random", "random weights")
    if weights is not None:
        found = read(weights)
        vit = vit_for(found, weights, model, heads).eval()
        name = str(model or found.args.get("model") or found.architecture)
        digest = hashlib.sha256(f"{found.digest} {host_of(vit).heads}".encode()).hexdigest()
        return Pretrained(vit, name, digest[:16], weights, found)  # heads leave no mark on the weights
    if model in (None, "nano"):
        found = read(str(nano_path()))
        digest = hashlib.sha256(b"".join(nano_path(n).read_bytes() for n in ("nano", "nano-reducers"))).hexdigest()
        return Pretrained(vit_for(found, "nano", "nano").eval(), "nano", digest[:16], "nano", found)
    assert model is not None
    if model in NANOS:
        raise BadInput(f"{model} comes without weights; give a file with --weights, or --weights random to train it")
    vit = pretrained(model).eval()
    name = called(vit, model)
    return Pretrained(vit, name, digest_of(vit.state_dict())[:16], f"the published weights of {name}")


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


def load_reducers(model: ReducedViT, weights: Weights, source: str) -> None:
    """Load the parameters of each stage's reducer, in the order of the stages."""
    for stage, reducer in enumerate(model.reducers.values()):
        own = reducer.state_dict()
        there = weights.reducers[stage] if stage < len(weights.reducers) else {}
        if not own:
            continue
        if set(own) != set(there):
            kind = type(reducer).__name__
            raise BadInput(f"{source} has no parameters of {kind} for stage {stage}; give a checkpoint trained with it")
        for name in own:
            if own[name].shape != there[name].shape:
                raise BadInput(
                    f"{name} of stage {stage} is {tuple(there[name].shape)} in {source}, and {tuple(own[name].shape)} "
                    "is asked for; use the keep rate that it was trained with"
                )
            check_numbers(name, own[name], there[name], source)
        reducer.load_state_dict(there)


def load(weights: str | Path, model: str | None = None, heads: int | None = None) -> TimmViT:
    """Load a model from a file or the hub.

    Args:
        weights: as for `checkpoints.read`; or "nano", the small ViT that comes with the package.
        model: the timm name; by default the one that the file was trained as, if it says so.
        heads: attention heads, where the model's name cannot tell (its width is not the named model's).

    Returns:
        A `ReducedViT` where the file says which method it was trained with, else the ViT; in eval mode.

    Raises:
        BadInput: as `checkpoints.read`, or the parameters do not fit the model.

    Examples:
        >>> import tokenlens
        >>> tokenlens.load("nano").num_classes
        10
    """
    if not isinstance(weights, str | Path):
        raise BadInput(f"weights are {weights!r}; give a path, or hf:owner/name")
    source = str(weights)
    if source == "nano":
        return open_host().vit
    found = read(source)
    vit = vit_for(found, source, model, heads).eval()
    trained = trained_with(found.args)
    if trained is None:
        return vit
    reduced = reduce(vit, **trained)
    load_reducers(reduced, found, source)
    return reduced
