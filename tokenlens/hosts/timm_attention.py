"""What timm's attentions have in common: how they project, how they are overheard, and how they go on after a softmax.

Shapes: B images, H heads, T tokens with the prefix, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..core.attention import QKV
from ..core.host import Decide, Ear
from .decided import decided
from .twins import twin


class _Listening(nn.Module):
    """Stands in a layer's place, calls it, and tells an ear what came out."""

    def __init__(self, layer: nn.Module, ear: Ear) -> None:
        super().__init__()
        self.layer, self.ear = layer, ear

    def forward(self, x: Tensor) -> Tensor:
        self.ear.given, self.ear.heard = x, self.layer(x)
        return self.ear.heard


class Given(nn.Module):
    """Stands in a projection's place and gives what is known already."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known

    def forward(self, _: Tensor) -> Tensor:
        """Whatever it is asked."""
        return self.known


def overheard(attention: Any, ear: Ear) -> nn.Module:
    """A twin that tells the ear what its `qkv` gives, whatever stands there now (LoRA, say)."""
    return twin(attention, {"qkv": _Listening(attention.qkv, ear)})


def attended_after(
    decide: Decide, attention: Any, qkv: QKV, x: Tensor, mask: Tensor | None, norm: Callable[[Tensor], Tensor],
    values: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The softmax of all tokens, carried over to those of a plan, as timm's attentions go on with it.

    Args:
        decide: gives the plan.
        attention: timm's, or one that is built alike.
        qkv: what it makes of x.
        x: (B, T, C) tokens.
        mask: additive, such as (B, 1, 1, T).
        norm: what tokens go through before they are attended to.
        values: makes values (B, H, T', D) of tokens (B, T', C).

    Returns:
        The tokens (B, T', C) and what attention gives for them.
    """
    x, weights, new = decided(decide, qkv, x, mask, values)
    mixed = (attention.attn_drop(weights) @ new).transpose(1, 2).flatten(2)
    inner, gate = getattr(attention, "norm", None), getattr(attention, "gate", None)
    mixed = mixed if inner is None else inner(mixed)
    mixed = mixed if gate is None else mixed * gate(norm(x)).sigmoid()
    return x, attention.proj_drop(attention.proj(mixed))


def split(attention: Any, projected: Tensor) -> QKV:
    """Queries, keys and values (B, H, T, D) of what `qkv` gave, (B, T, 3 H D)."""
    parts = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    queries, keys = normed(attention, "q_norm", parts[0]), normed(attention, "k_norm", parts[1])
    return QKV(queries, keys, parts[2], attention.scale)


def normed(attention: nn.Module, name: str, part: Tensor) -> Tensor:
    """What the norm of this name, if there is one, makes of queries or keys."""
    norm: Any = getattr(attention, name, None)
    weight = getattr(norm, "weight", None)  # decided outside autocast, so nothing else makes the two types agree
    return part if norm is None else norm(part if weight is None else part.to(weight.dtype))


def fused(attention: Any, y: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, 3 H D): queries, keys and values, with the biases that some attentions keep apart."""
    if getattr(attention, "q_bias", None) is None:
        return attention.qkv(y)
    bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
    return attention.qkv(y) + bias if attention.qkv_bias_separate else linear(y, attention.qkv.weight, bias)
