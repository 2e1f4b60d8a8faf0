"""Detectors from files: mmcv's checkpoints (`meta`, `state_dict`, `optimizer`), and our own safetensors.

Sizes are read off the tensors, in the names of ATC's and SViT's published detectors. No pickled code is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.schedule import STUDY_BLOCKS
from ..errors import BadInput
from ..hosts.checkpoints import check_numbers, load_content
from ..hosts.header import finetuned
from ..hub import answers_at_once
from ..weights import nano_path
from .data import DetectionSet
from .interaction import AdapterConfig
from .mask_rcnn import DetectorConfig, MaskRCNN
from .nano import NAME, NANO

# in published files, of the ViT that they began with; and in ours what a reducer looks up
UNUSED = re.compile(r"backbone\.(cls_token|norm\.\w+|head\.\w+|reducers\..+)")
COUNTED = "num_batches_tracked"  # of a batch norm; some files lack it, and nothing here reads it
DEFORM_HEADS = 6  # of all published ViT-Adapters; leaves no mark on the weights
CAPACITIES = {192: "tiny", 384: "small", 768: "base"}  # of DeiT, by width
HEAD = 64  # channels of an attention head in all DeiTs
MOST = 4096  # that any size of a detector in a header may be
RATES = {"025": 0.25, "05": 0.5, "07": 0.7, "09": 0.9}  # as published files are called
UNTUNED = {"method": "atc-average", "keep_rate": 0.5, "blocks": STUDY_BLOCKS}  # how others are reduced
HUB = re.compile(r"hf:([\w.-]+/(atc_\w+-\w+)-(single|complete|average))(?::(\w+))?")


def load_detector(source: str, heads: int | None = None) -> MaskRCNN:
    """A detector, in evaluation mode, from a file or from the Hugging Face hub.

    Args:
        source: "nano", which comes with the package; a path to `.safetensors` or mmcv's `.pth`; or
            "hf:joakimbh/atc_small-coco17-average:07", with the keep rate (025, 05, 07, 09) that it was tuned for.
        heads: of attention, where the width is no DeiT's.

    Raises:
        BadInput: there is no such file, it is damaged, wants code to be run, or holds no such detector.
    """
    path = nano_path(NAME) if source == "nano" else _from_hub(source) if source.startswith("hf:") else Path(source)
    if not path.is_file():
        raise BadInput(
            f"there is no weights file {source}; give a path, hf:joakimbh/atc_small-coco17-average:07, or 'nano'"
        )
    content = load_content(path, source)
    found = content.get("state_dict", content)
    state = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if source == "nano":
        config = NANO
    elif (card := finetuned(str(path))) is not None and "detector" in card:
        config = _said(card["detector"], source)
        with torch.device("meta"):  # a header may say anything: nothing is made before it fits the tensors
            _check_shapes(MaskRCNN(config), state, source)
    else:
        config = config_of(state, source, heads=heads)
    model = MaskRCNN(config)
    fill(model, state, source)
    return model.eval()


def tuned_for(source: str) -> dict[str, Any] | None:
    """The reduction that a detector was fine-tuned with (method, keep_rate, blocks, options), if its source says it.

    Examples:
        >>> tuned_for("hf:joakimbh/atc_small-coco17-average:07")
        {'method': 'atc-average', 'keep_rate': 0.7, 'blocks': (3, 6, 9)}
    """
    if source.startswith("hf:"):
        _, _, linkage, rate = _published(source)
        return {"method": f"atc-{linkage}", "keep_rate": RATES[rate], "blocks": STUDY_BLOCKS}
    return (finetuned(source) or {}).get("reduction")


def check_classes(detector: MaskRCNN, data: DetectionSet, source: str) -> None:
    """Refuse data of other classes than a detector's, as far as their numbers tell."""
    if detector.config.classes != len(data.categories):
        raise BadInput(
            f"{source} tells {detector.config.classes} classes apart and {data.name} has {len(data.categories)}; "
            "give other weights or other data"
        )


def _said(found: Any, source: str) -> DetectorConfig:
    """The sizes that the header of one of our checkpoints says."""
    try:
        parts = dict(found)
        backbone = {name: _plain(value) for name, value in dict(parts.pop("backbone")).items()}
        rest: dict[str, Any] = {name: _plain(value) for name, value in parts.items()}
        return DetectorConfig(AdapterConfig(**backbone), **rest)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"the header of {source} says sizes of a detector that no tokenlens writes ({error}); "
            "save its tensors without the entry tokenlens"
        ) from error


def _plain(value: Any) -> Any:
    """A number, or numbers in tuples, none of them beyond what a detector could have."""
    if isinstance(value, list) and len(value) <= MOST:
        return tuple(map(_plain, value))
    if type(value) in (int, float) and 0 <= value <= MOST:
        return value
    raise ValueError(f"{value!r:.40} is no number up to {MOST}")


def untrained(name: str) -> MaskRCNN | None:
    """A detector with random weights, of which one can measure speed and memory: "vit-adapter-tiny", -small or -base.

    Examples:
        >>> untrained("vit-adapter-small").config.backbone.width, untrained("nano")
        (384, None)
    """
    width = next((width for width, capacity in CAPACITIES.items() if name == f"vit-adapter-{capacity}"), None)
    return None if width is None else MaskRCNN(DetectorConfig(AdapterConfig(width, width // HEAD))).eval()


def name_of(config: DetectorConfig) -> str:
    """What runs call a detector of these sizes: "vit-adapter-tiny", "vit-adapter-small" or "nano-detector"."""
    if config == NANO:
        return NAME
    return f"vit-adapter-{CAPACITIES.get(config.backbone.width, config.backbone.width)}"


def fill(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load parameters, all of them or none; what published files hold beside them is left out."""
    own, given = _check_shapes(model, state, source)
    for name in own.keys() & given.keys():
        check_numbers(name, own[name], given[name], source)
        if given[name].is_floating_point() and not bool(given[name].isfinite().all()):
            raise BadInput(f"{name} in {source} holds NaN or infinite values; the training must have diverged")
    model.load_state_dict({name: given.get(name, value) for name, value in own.items()})


def _check_shapes(
    model: nn.Module, state: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The model's tensors and those that are given for them; refuses others, of other names or shapes."""
    own = model.state_dict()
    given = {name: value for name, value in state.items() if not UNUSED.fullmatch(name)}
    for name in sorted({*own, *given}):
        if name not in given or name not in own:
            if name.endswith(COUNTED):
                continue
            where = source if name not in given else "a Mask R-CNN over a ViT-Adapter"
            raise BadInput(f"{name} is missing in {where}; give the weights of one that ATC or SViT published")
        if own[name].shape != given[name].shape:
            there, here = tuple(given[name].shape), tuple(own[name].shape)
            raise BadInput(f"{name} is {there} in {source} and {here} in the detector that its other tensors make")
    return own, given


def config_of(
    state: Mapping[str, Tensor], source: str, backbone: AdapterConfig | None = None, heads: int | None = None
) -> DetectorConfig:
    """The sizes of the detector that these tensors are, with the published numbers of heads unless others are given."""
    try:
        return DetectorConfig(
            backbone or _backbone(state, source, heads),
            channels=len(state["neck.lateral_convs.0.conv.bias"]),
            hidden=len(state["roi_head.bbox_head.shared_fcs.0.bias"]),
            classes=len(state["roi_head.bbox_head.fc_cls.bias"]) - 1,
        )
    except KeyError as error:
        raise BadInput(
            f"{source} holds no Mask R-CNN over a ViT-Adapter that is understood (it has no {error.args[0]}); "
            "give a checkpoint of ATC's or SViT's detectors"
        ) from error


def _backbone(state: Mapping[str, Tensor], source: str, heads: int | None) -> AdapterConfig:
    kernel = state["backbone.patch_embed.proj.weight"]
    width, patch = kernel.shape[0], kernel.shape[-1]
    if (heads is None and width not in CAPACITIES) or width % (heads or 1):
        raise BadInput(f"{source} is {width} wide, which does not tell its attention heads; say --heads")
    depth, spans = _count(state, "backbone.blocks"), _count(state, "backbone.interactions")
    side = round((state["backbone.pos_embed"].shape[1] - 1) ** 0.5)
    extractor = "backbone.interactions.0.extractor"
    points = len(state[f"{extractor}.attn.attention_weights.bias"]) // DEFORM_HEADS
    return AdapterConfig(
        width=width,
        heads=heads or width // HEAD,
        depth=depth,
        mlp_ratio=len(state["backbone.blocks.0.mlp.fc1.bias"]) / width,
        patch=patch,
        pretrained=(side, side),
        stem=len(state["backbone.spm.stem.0.weight"]),
        deform_heads=DEFORM_HEADS,
        points=points,
        deform_ratio=len(state[f"{extractor}.attn.value_proj.bias"]) / width,
        ffn_ratio=len(state[f"{extractor}.ffn.fc1.bias"]) / width,
        spans=tuple((i * depth // spans, (i + 1) * depth // spans - 1) for i in range(spans)),
    )


def _count(state: Mapping[str, Tensor], list_name: str) -> int:
    numbers = [int(found[1]) for name in state if (found := re.match(rf"{re.escape(list_name)}\.(\d{{1,4}})\.", name))]
    if not numbers:
        raise KeyError(list_name)
    return 1 + max(numbers)


def _from_hub(source: str) -> Path:
    """Download one of the four files of a published detector."""
    from huggingface_hub import hf_hub_download

    repository, stem, linkage, rate = _published(source)
    try:
        with answers_at_once():
            return Path(hf_hub_download(repository, f"{stem}-{rate}-{linkage}.pth"))
    except Exception as error:  # the hub's client raises the errors of several network libraries
        reason = str(error).split("\n")[0] or type(error).__name__
        raise BadInput(
            f"could not download {source} ({reason}); try again, what is there is kept, or give a file"
        ) from error


def _published(source: str) -> tuple[str, str, str, str]:
    """Repository, the beginning of its files' names, linkage, and rate of a published detector."""
    found = HUB.fullmatch(source)
    if found is None or found[4] not in RATES:
        raise BadInput(
            f"{source} names no published detector: write its repository and the keep rate that it was tuned for "
            f"({', '.join(RATES)}), as in hf:joakimbh/atc_small-coco17-average:07"
        )
    return found[1], found[2], found[3], found[4]
