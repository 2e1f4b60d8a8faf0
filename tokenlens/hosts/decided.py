"""What stands before an attention: the softmax of all tokens is formed first and carried over to those of a plan.

Shapes: B images, H heads, T tokens with the prefix, T' that go on, C channels, D channels a head.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..core.attention import QKV
from ..core.host import Decide


def decided(
    decide: Decide, qkv: QKV, x: Tensor, mask: Tensor | None, values: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Form the softmax, ask, and carry it over.

    Args:
        decide: gives the plan, or none.
        qkv: of all tokens.
        x: (B, T, C) tokens.
        mask: additive, such as (B, 1, 1, T).
        values: makes (B, H, T', D) of what tokens have become, (B, T', C).

    Returns:
        The tokens (B, T', C) that go on, their softmax (B, H, T', T') and their values (B, H, T', D).
    """
    scores = (qkv.queries * qkv.scale) @ qkv.keys.transpose(-2, -1)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    plan = decide(x, qkv, weights)
    if plan is None:
        return x, weights, qkv.values
    prefix = x.shape[1] - plan.group.shape[1]
    x = plan.carry(x, prefix)
    return x, plan.carry_attention(weights, prefix), values(x)
