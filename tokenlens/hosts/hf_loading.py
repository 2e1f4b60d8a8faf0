"""Models of transformers by name or folder, with the image processor of their checkpoint in timm's words.

No code of a repository is ever run: what needs some is refused.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import BadInput
from .hf_layers import TOWERS
from .multihead import configuration

EXTRA = "transformers is not installed, which {} needs; install it with: pip install 'tokenlens-vit[hosts]'"
ALONE = {  # of models with more than a tower: which class reads the tower alone
    "clip": "CLIPVisionModelWithProjection", "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel", "siglip_vision_model": "SiglipVisionModel",
    "siglip2": "Siglip2VisionModel", "siglip2_vision_model": "Siglip2VisionModel",
}  # fmt: skip
INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's numbers


def open_tower(name: str, pretrained: bool, classes: int = 1000) -> nn.Module:
    """A vision model of transformers, in float32, without running code that its repository brings.

    Args:
        name: owner/name on the hub, or a folder.
        pretrained: with the checkpoint's weights; else only its configuration is read.
        classes: of a model without weights.

    Raises:
        BadInput: it cannot be had, needs code of its own, is of another task, lacks weights; or the extra is missing.
    """
    try:
        import transformers
    except ImportError as error:
        raise BadInput(EXTRA.format(f"hf:{name}")) from error
    called = f"hf:{Path(name).name if Path(name).is_dir() else name}"
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        kind = _class_for(transformers, config, called)
        model: Any = _with_weights(kind, name, called) if pretrained else _without(kind, config, classes)
    except BadInput:
        raise
    except Exception as error:  # the library and the hub's client raise the errors of many others
        reason = str(error).split("\n")[0] or type(error).__name__
        if "trust_remote_code" in str(error):
            raise BadInput(
                f"{called} wants code of its own to be run, which tokenlens does not do; load it in Python yourself, "
                "and give the model to tokenlens.reduce"
            ) from error
        raise BadInput(
            f"could not get {called} ({reason}); give owner/name of a model on the hub, or a folder that "
            "save_pretrained wrote"
        ) from error
    model.pretrained_cfg = configuration_of(transformers, name, called, model)
    model.num_classes = model.config.num_labels if hasattr(model, "classifier") else 0
    return model.eval()


def _class_for(transformers: Any, config: Any, called: str) -> Any:
    """The class that a checkpoint is read as: its classifier if it has one, else its tower."""
    saved = str((config.architectures or [""])[0])
    known = transformers.MODEL_MAPPING.get(type(config), None)
    known = known[0] if isinstance(known, tuple) else known
    if known is None and config.model_type not in ALONE:
        raise BadInput(f"{called} is a {saved or config.model_type}, which is no vision model; give one of an image")
    if config.model_type not in ALONE and known.__name__ not in TOWERS:  # others fetch what their configuration names
        raise BadInput(
            f"{called} is a {saved or known.__name__}, which has no tower of patch tokens that is understood; give a "
            f"folder or repository of one of {', '.join(TOWERS)}"
        )
    if saved.endswith("ForImageClassification") or saved.endswith("ForImageClassificationWithTeacher"):
        kind = getattr(transformers, saved)
        if kind.config_class is not type(config):
            raise BadInput(f"{called} says that it is a {saved} and of type {config.model_type}; save it anew")
        return kind
    if config.model_type in ALONE:
        return getattr(transformers, ALONE[config.model_type])
    return known


def _pooling(kind: Any) -> dict[str, Any]:
    """Without the pooler of ViT and DeiT, which few checkpoints hold."""
    return {"add_pooling_layer": False} if kind.__name__ in ("ViTModel", "DeiTModel") else {}


def _with_weights(kind: Any, name: str, called: str) -> Any:
    model, said = kind.from_pretrained(
        name, trust_remote_code=False, dtype=torch.float32, output_loading_info=True, **_pooling(kind)
    )
    if lost := sorted(said["missing_keys"]):
        raise BadInput(f"{called} holds no {lost[0]} of a {kind.__name__}; give a checkpoint that is whole")
    return model


def _without(kind: Any, config: Any, classes: int) -> Any:
    if hasattr(config, "num_labels"):
        config.num_labels = classes
    part = getattr(config, "vision_config", config) if kind.__name__ in ALONE.values() else config
    return kind(part, **_pooling(kind))


def configuration_of(transformers: Any, name: str, called: str, model: Any) -> dict[str, Any]:
    """How the checkpoint's image processor makes images, in timm's words; without one timm's, with a warning."""
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except Exception:  # a file that is not there, or code that would have to run
        warnings.warn(
            f"{called} comes without an image processor that is understood: images are made as timm makes them",
            stacklevel=2,
        )
        return {"architecture": called}
    size, crop = processor.size or {}, processor.crop_size if getattr(processor, "do_center_crop", False) else None
    edge = size.get("shortest_edge") or size.get("height")
    if edge is None:  # SigLIP 2: any shape of so many patches
        return {"architecture": called}
    seen = (crop["height"], crop["width"]) if crop else (size.get("height") or edge, size.get("width") or edge)
    plain = not getattr(processor, "do_normalize", True)
    return configuration(
        called,
        seen,
        [0.0] * 3 if plain else processor.image_mean,
        [1.0] * 3 if plain else processor.image_std,
        interpolation=INTERPOLATION[int(processor.resample)],
        crop_pct=seen[0] / edge,
        crop_mode="center" if size.get("shortest_edge") else "squash",
    )
