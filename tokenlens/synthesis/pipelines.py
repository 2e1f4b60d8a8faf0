"""Pipelines by name: the embedded one, a folder as diffusers writes it, or one of the hub."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import BadInput, check_no_pipe, needed
from ..hosts.checkpoints import digest_of
from ..hub import answers_at_once, without_hub
from ..weights import nano_path
from .denoiser import denoiser_of

NANO = "nano"
LIBRARIES = (
    "diffusers",
    "transformers",
    "stable_diffusion",
)  # whose classes a folder may name; others would be its own
INDEX = "model_index.json"


@dataclass(frozen=True)
class Opened:
    """A pipeline, and what a run says of it."""

    pipe: Any
    name: str
    digest: str
    """of the denoiser's weights"""
    steps: int
    """that it makes unless told otherwise"""
    guidance: float


def open_pipeline(where: str, device: torch.device, dtype: torch.dtype) -> Opened:
    """Open nano, nano:FILE with weights of one's own, a folder, or hf:owner/name. Code that a folder names is not run.

    Raises:
        BadInput: there is none, it cannot be read or fetched, takes no prompts, or its denoiser is not understood.
    """
    needed("diffusers", "synthesis", "image synthesis")
    kind, _, file = where.partition(":")
    pipe: Any = (_nano(file) if kind == NANO else _from_files(where)).to(device, dtype)
    defaults = {name: one.default for name, one in inspect.signature(pipe.__call__).parameters.items()}
    lacking = [
        name for name in ("prompt", "num_inference_steps", "guidance_scale", "generator") if name not in defaults
    ]
    if lacking:
        raise BadInput(
            f"{where} is a {type(pipe).__name__}, which takes no {lacking[0]}; give one that draws from prompts"
        )
    pipe.set_progress_bar_config(disable=True)
    name = NANO if kind == NANO else where.removeprefix("hf:").rstrip("/").rpartition("/")[2]
    digest = digest_of(denoiser_of(pipe).state_dict())[:16]
    return Opened(pipe, name, digest, int(defaults["num_inference_steps"]), float(defaults["guidance_scale"]))


def _nano(file: str) -> Any:
    from . import nano

    try:
        check_no_pipe(Path(file))
        return nano.nano_pipeline(Path(file) if file else nano_path("nano-diffusion"))
    except Exception as error:  # of safetensors, torch and the file system
        raise BadInput(
            f"the nano pipeline cannot be had from {file or 'the package'} ({str(error).split(chr(10))[0]:.200}); "
            "train weights with python -m tokenlens.workflows.nano.diffusion, and give them as nano:FILE"
        ) from error


def _from_files(where: str) -> Any:
    diffusers = needed("diffusers", "synthesis", "image synthesis")
    place, remote = where.removeprefix("hf:"), where.startswith("hf:")
    if not remote:
        _check_folder(Path(place))
    try:
        with answers_at_once() if remote else without_hub():
            return diffusers.DiffusionPipeline.from_pretrained(
                place, use_safetensors=True, local_files_only=not remote, safety_checker=None
            )  # fmt: skip
    except Exception as error:  # the hub, safetensors, transformers and diffusers fail in many ways
        reason = (str(error) or type(error).__name__).strip().split("\n")[0]
        way_out = (
            "download it where there is a network, and give the folder" if remote else "save it anew with diffusers"
        )
        raise BadInput(f"{where} cannot be opened as a diffusers pipeline ({reason:.200}); {way_out}") from error


def _check_folder(folder: Path) -> None:
    """Refuse what is no pipeline, or names classes of its own, before any of it is read."""
    if not (folder / INDEX).is_file():
        raise BadInput(
            f"{folder} is no folder of a diffusers pipeline, having no {INDEX}; give nano, a folder that diffusers' "
            "save_pretrained wrote, or hf:owner/name"
        )
    try:
        index = json.loads((folder / INDEX).read_text())
        strange = [f"{name}: {value}" for name, value in index.items() if not _known(name, value)]
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"{folder / INDEX} cannot be read ({error}); save the pipeline anew with diffusers") from error
    if strange:
        raise BadInput(
            f"{folder / INDEX} names a class of its own ({strange[0]:.100}), and code from a file is not run"
        )


def _known(name: str, value: Any) -> bool:
    if name == "_class_name":
        return isinstance(value, str)
    return not isinstance(value, list) or (len(value) == 2 and value[0] in (None, *LIBRARIES))
