"""Weights from files: our own checkpoints and published ones, bare timm state dicts, safetensors, the Hugging Face hub.

What `tokenlens finetune` writes is a safetensors file whose header says all that is needed to use it, as JSON under
`tokenlens`: model, heads, reduction (method, keep_rate, blocks, options), input (timm's data config), classes, data,
recipe, and of the weights epoch, step, ema and metrics.

No pickled code is run: tensors, plain containers and the few harmless types below are read, anything else is refused.
"""

from __future__ import annotations

import _codecs
import argparse
import hashlib
import json
import pathlib
import pickle
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ..core.host import name_of
from ..errors import BadInput
from ..hub import answers_at_once
from . import packaged
from .header import DAMAGED, finetuned
from .published_checkpoints import settings
from .state_dicts import State, settings_of, state_of
from .timm_vit import TimmViT

# what published checkpoints hold beside tensors: the run's settings, and NumPy scalars among its numbers
ALLOWED: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    _codecs.encode,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "int64", "int32", "float64", "float32")),
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
]
# parameter names of the published code, `<list>.<stage>.<name>`, and of ours, `reducers.<block>.<name>`
STAGED = re.compile(r"(?:score_predictor|cluster_layers|reducers)\.(\d+)\.(.+)")


@dataclass
class Weights:
    """What a file holds, in our names."""

    vit: State
    reducers: list[State] = field(default_factory=list)
    """for each stage, in order"""
    args: dict[str, Any] = field(default_factory=dict)
    """the settings that a published checkpoint, or one of ours, was trained with"""
    architecture: str | None = None
    digest: str = ""
    """what tells one set of weights from another, whatever file they lie in"""
    origin: str = ""
    """where they come from and their licence, where somebody else's package brings them"""


def read(source: str) -> Weights:
    """Read weights.

    Args:
        source: a path to `.safetensors`, `.pth`, `.pt` or `.bin`; `hf:owner/name` on the Hugging Face hub; or
            `dinov2-small`, which comes with the extra `photographs`.

    Raises:
        BadInput: there is no such file, it is damaged or no checkpoint, it holds objects that would run code, it holds
            a NaN, or the download failed.
    """
    if source == packaged.DINOV2:
        state = packaged.dinov2()
        return Weights(state, architecture=packaged.MODEL, digest=digest_of(state), origin=packaged.ORIGIN)
    path, architecture = _from_hub(source) if source.startswith("hf:") else (Path(source), None)
    if not path.is_file():
        raise BadInput(f"there is no weights file {source}; give a path, hf:owner/name, {packaged.DINOV2}, or 'random'")
    content = load_content(path, source)
    args = finetuned(str(path)) or settings(settings_of(content))
    state = state_of(content, source)
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BadInput(f"{name} in {source} holds NaN or infinite values; the training must have diverged")
    weights = rename(state)
    weights.args, weights.architecture = args, architecture
    weights.digest = digest_of(state)
    return weights


def digest_of(state: State) -> str:
    """SHA-256 of the tensors: names, kinds, shapes and bits."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load_content(path: Path, source: str) -> dict[str, Any]:
    """The dict in a file, without running code from it; `source` is what messages call it."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickle protocols; what it cannot read fails below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise BadInput(f"{source} cannot be read (permission denied); check its permissions") from error
    except pickle.UnpicklingError as error:
        wants = re.search(r"(?:GLOBAL|class|global) ([\w.]+\.[\w.]+)", str(error))
        if wants is None:
            raise BadInput(DAMAGED.format(source)) from error
        raise BadInput(
            f"{source} wants {wants[1]} to be run while loading, which tokenlens does not do; "
            "save its state dict as safetensors, or with torch.save as tensors only"
        ) from error
    except Exception as error:  # on bytes that are no checkpoint, torch's unpickler stumbles in many ways
        raise BadInput(DAMAGED.format(source)) from error
    if not isinstance(loaded, dict):
        raise BadInput(f"{source} holds a {type(loaded).__name__}, not a state dict; save model.state_dict()")
    return loaded


def _from_hub(source: str) -> tuple[Path, str | None]:
    """Download `hf:owner/name`: its weights and, where it says so, its architecture."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository = source.removeprefix("hf:")
    try:
        with answers_at_once():
            try:
                path = Path(hf_hub_download(repository, "model.safetensors"))
            except EntryNotFoundError:
                path = Path(hf_hub_download(repository, "pytorch_model.bin"))
            try:
                config = json.loads(Path(hf_hub_download(repository, "config.json")).read_text())
                architecture, tag = config.get("architecture"), (config.get("pretrained_cfg") or {}).get("tag")
                architecture = f"{architecture}.{tag}" if architecture and tag else architecture
            except EntryNotFoundError:
                architecture = None
    except Exception as error:  # the hub's client raises the errors of several network libraries
        reason = str(error).split("\n")[0] or type(error).__name__
        raise BadInput(
            f"could not download {source} ({reason}); try again, what is there is kept, or give a file"
        ) from error
    return path, architecture


def rename(state: State) -> Weights:
    """Sort parameters into the ViT's and the reducers', whether they carry the published names or ours."""
    staged: dict[int, State] = {}
    vit: State = {}
    for name, value in state.items():
        if found := STAGED.fullmatch(name):
            staged.setdefault(int(found[1]), {})[found[2]] = value
        else:
            vit[name.removeprefix("vit.")] = value
    return Weights(vit, [staged[stage] for stage in sorted(staged)])


def load_vit(vit: TimmViT, weights: Weights, source: str) -> None:
    """Load the ViT's parameters, all of them or none."""
    own = vit.state_dict()
    for name in sorted({*own, *weights.vit}):
        if name not in weights.vit or name not in own:
            where = source if name not in weights.vit else name_of(vit)
            raise BadInput(f"{name} is missing in {where}; name the model that {source} was saved from with --model")
        if own[name].shape != weights.vit[name].shape:
            there, here = tuple(weights.vit[name].shape), tuple(own[name].shape)
            raise BadInput(f"{name} is {there} in {source} and {here} in {name_of(vit)}; name its model with --model")
        check_numbers(name, own[name], weights.vit[name], source)
    vit.load_state_dict(weights.vit)


def check_numbers(name: str, own: Tensor, there: Tensor, source: str) -> None:
    """Refuse complex and whole numbers where weights belong: a cast would make other weights of them."""
    if own.is_floating_point() and not there.is_floating_point():
        kind = str(there.dtype).removeprefix("torch.")
        raise BadInput(f"{name} in {source} is {kind} and not floating point; save the weights as they were trained")
