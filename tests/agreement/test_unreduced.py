"""What needs no reducer: the un-reduced model, and DynamicViT's attention in training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import tokenlens
from tokenlens.core.attention import key_bias


@torch.no_grad()
def test_unreduced_model_agrees(golden: Path, vit: torch.nn.Module, images: torch.Tensor, tolerance: float) -> None:
    if not (golden / "golden-deit.npz").exists():
        pytest.skip(f"{golden} has no golden-deit.npz")
    data, depth = np.load(golden / "golden-deit.npz"), len(vit.blocks)
    model = tokenlens.reduce(vit, "none", blocks=range(depth))
    last: list[torch.Tensor] = []
    model.vit.norm.register_forward_pre_hook(lambda _norm, args: last.append(args[0]))
    logits, trace = model.trace(images, features=True)
    assert np.abs(logits.numpy() - data["logits"]).max() <= tolerance
    blocks = [int(name.removeprefix("cls_")) for name in data.files if name.startswith("cls_")]
    assert blocks
    for block in blocks:
        assert np.abs(trace.features[block].numpy() - data[f"cls_{block}"]).max() <= tolerance
    if f"tokens_{depth - 1}" in data:
        there, ours = data[f"tokens_{depth - 1}"], last[0].numpy()
        every = (14, vit.patch_embed.grid_size[1])  # 14 is a row of the public grid
        step = next(step for step in every if len(ours[0, ::step]) == there.shape[1])
        assert np.abs(ours[:, ::step] - there).max() <= tolerance


def test_mass_is_the_published_policy_softmax(part: Callable[[str], Path]) -> None:
    """DynamicViT's training policy as an additive log-mass, for the rows of tokens that stay."""
    data = np.load(part("synthetic.npz"))
    logits, policy = torch.from_numpy(data["policy_logits"]), torch.from_numpy(data["policy_mask"])[..., 0]
    ours = (logits + key_bias(policy.clone().requires_grad_(), 0, logits.dtype)).softmax(-1)  # type: ignore[operator]
    rows = policy.bool()[:, None, :].expand(-1, logits.shape[1], -1)
    assert (ours - torch.from_numpy(data["policy_softmax"])).abs()[rows].max() < 1e-5
