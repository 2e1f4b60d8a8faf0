"""The layers of transformers' vision towers: a norm, an attention, a norm and an MLP, under many names.

Shapes: B images, H heads, T tokens with the prefix, N patch tokens, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.attention import QKV
from ..core.host import Between, Decide, Ear
from .decided import decided
from .twins import Heard, twin

PROJECTIONS = ("q_proj", "k_proj", "v_proj")
Rotation = tuple[Tensor, Tensor] | None  # cosines and sines of patches


@dataclass(frozen=True)
class Names:
    """What a family calls its parts."""

    norms: tuple[str, str]
    """of a layer: before its attention, before its MLP"""
    attention: str = "attention"
    after: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """of a layer: what attention and MLP go through before they are added"""
    layers: str = "encoder.layers"
    """of the tower: its list of layers"""
    norm: str | None = None
    """of the tower: the norm of all tokens after the last layer; None: it norms the pooled token alone"""
    prenorm: str | None = None
    """of the tower: a norm before the first layer"""
    patches: str = "patch_embeddings.projection"
    """of the embeddings: the projection of patches"""
    rotary: str | None = None
    """of the tower: what makes cosines and sines of patches"""
    averages: bool = False
    """its image classifier averages the patches"""


_VIT = Names(("layernorm_before", "layernorm_after"), after=(("dropout",), ("dropout",)), layers="layers",
             norm="layernorm")  # fmt: skip
_DINO = Names(("norm1", "norm2"), after=(("layer_scale1", "drop_path"), ("layer_scale2", "drop_path")),
              layers="encoder.layer", norm="layernorm", averages=True)  # fmt: skip
_CLIP: dict[str, Any] = {
    "norms": ("layer_norm1", "layer_norm2"),
    "attention": "self_attn",
    "patches": "patch_embedding",
    "averages": True,
}
TOWERS: dict[str, Names] = {
    "ViTModel": _VIT,
    "DeiTModel": _VIT,
    "Dinov2Model": _DINO,
    "Dinov2WithRegistersModel": _DINO,
    "DINOv3ViTModel": Names(_DINO.norms, after=_DINO.after, layers="model.layer", norm="norm",
                            patches="patch_embeddings", rotary="rope_embeddings"),
    "CLIPVisionModel": Names(**_CLIP, prenorm="pre_layrnorm"),
    "SiglipVisionModel": Names(**_CLIP, norm="post_layernorm"),
    "Siglip2VisionModel": Names(**_CLIP, norm="post_layernorm"),
}  # fmt: skip


class SplitLayer(nn.Module):
    """Before a library's layer. Modifications: an ear on its attention; what stands between or before its halves."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
        **named: Any,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), or fewer tokens."""
        names: Names = self._names  # type: ignore[assignment]
        x, y = hidden_states, getattr(self, names.norms[0])(hidden_states)
        attention = getattr(self, names.attention)
        if decide is not None:
            x, heard = attended_after(self, x, attention_mask, decide, named.get("position_embeddings"))
        else:
            if ear is not None:
                ear.given = y
                attention = overheard(attention, ear, named.get("position_embeddings"))
            heard = attention(hidden_states=y, attention_mask=attention_mask, **named)[0]
        x = x + self._through(names.after[0], heard)
        return self.second(x if between is None else between(x))

    def second(self: Any, x: Tensor) -> Tensor:
        """Tokens (B, T, C) after attention -> those that leave the layer."""
        names: Names = self._names
        out: Tensor = x + self._through(names.after[1], self.mlp(getattr(self, names.norms[1])(x)))
        return out

    @property
    def gradient_checkpointing(self) -> bool:
        """Never: what listens or decides is not run a second time."""
        return False

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        """Let others of the model be."""

    def _through(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        for name in names:
            x = getattr(self, name)(x)
        return x


@cache
def split_layer(kind: Any, names: Names) -> type[nn.Module]:
    """The class that a layer becomes: its own, with one more way to be called."""
    return type(kind.__name__, (SplitLayer, kind), {"_names": names})


def overheard(attention: nn.Module, ear: Ear, rotation: Rotation) -> nn.Module:
    """A twin of an attention that tells the ear what its three projections give, and how they are turned."""
    ear.heard = {"rotation": rotation}
    return twin(attention, {name: Heard(getattr(attention, name), ear.heard, name) for name in PROJECTIONS})


def split(attention: Any, projected: Sequence[Tensor], rotation: Rotation) -> QKV:
    """Queries, keys and values (B, H, T, D) of three projections (B, T, H D); turned where the model turns them."""
    heads = heads_of(attention)
    queries, keys, values = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in projected)
    scale = queries.shape[-1] ** -0.5
    if rotation is None:
        return QKV(queries, keys, values, scale)
    return QKV(rotated(queries, *rotation), rotated(keys, *rotation), values, scale, content=keys)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the patches of (B, H, T, D), which come last, by (N, D) or (B, 1, N, D)."""
    prefix = x.shape[2] - cos.shape[-2]
    patches = x[:, :, prefix:]
    first, second = patches.chunk(2, -1)
    return torch.cat([x[:, :, :prefix], patches * cos + torch.cat([-second, first], -1) * sin], 2)


def heads_of(attention: Any) -> int:
    """How many heads, whatever the library calls their number."""
    found = getattr(attention, "num_heads", None)
    return int(attention.num_attention_heads if found is None else found)


def attended_after(
    layer: Any, x: Tensor, mask: Tensor | None, decide: Decide, rotation: Rotation
) -> tuple[Tensor, Tensor]:
    """The tokens that go on and what their attention gives, with the softmax of all tokens carried over to them."""
    attention = getattr(layer, layer._names.attention)
    x, weights, values = decided(
        decide, projected(layer, x, rotation), x, mask, lambda x: projected(layer, x, None).values
    )
    dropped = getattr(attention, "attention_dropout", None)
    weights = functional.dropout(weights, attention.dropout if dropped is None else dropped, attention.training)
    last = attention.o_proj if hasattr(attention, "o_proj") else attention.out_proj
    return x, last((weights @ values).transpose(1, 2).flatten(2))


def projected(layer: Any, x: Tensor, rotation: Rotation) -> QKV:
    """What a layer's attention makes of its input (B, T, C), and what it makes it of."""
    attention, y = getattr(layer, layer._names.attention), getattr(layer, layer._names.norms[0])(x)
    return split(attention, [getattr(attention, name)(y) for name in PROJECTIONS], rotation)._replace(given=y)
