"""What reducers read of an attention: keys, values and rows of the softmax, formed only when they are asked for.

Shapes: B images, H heads, T tokens with the prefix, N patch tokens, D channels a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..kernels.attention import first_row, fits, received


class QKV(NamedTuple):
    """What an attention projects its tokens to, in the host's precision."""

    queries: Float[Tensor, "b h t d"]
    keys: Float[Tensor, "b h t d"]
    values: Float[Tensor, "b h t d"]
    scale: float
    """that the products of queries and keys are multiplied by"""
    content: Float[Tensor, "b h t d"] | None = None
    """the keys before their rotation, where positions rotate them"""
    bias: Float[Tensor, "... h t t"] | None = None
    """added to the products, where places bias them"""
    given: Float[Tensor, "b t c"] | None = None
    """what they are projected from, where the host says so"""


def widen(x: Tensor) -> Tensor:
    """At least float32: half-precision numbers tie, and decisions made from ties are arbitrary."""
    return x if x.dtype == torch.float64 else x.float()


def strongest(weights: Tensor, share: float) -> Tensor:
    """(B, H, T, T) with so much of each head's attention left, its largest values, and 0 elsewhere."""
    weakest = int(weights.shape[-1] ** 2 * (1 - share))
    if not weakest:
        return weights
    least = weights.flatten(2).kthvalue(weakest, dim=-1).values
    return weights.masked_fill(weights < least[..., None, None], 0.0)


def key_bias(mass: Tensor | None, prefix: int, dtype: torch.dtype) -> Tensor | None:
    """The additive attention mask log(mass), (B, 1, 1, T), of (B, N) masses; prefix tokens weigh 1. None for no mass.

    A mass that is being learned (DynamicViT's policy) gets a small floor: the logarithm of 0 has no gradient.
    """
    if mass is None:
        return None
    log = torch.log(mass + 1e-8) if mass.requires_grad else torch.log(mass)
    return nn.functional.pad(log, (prefix, 0)).to(dtype)[:, None, None, :]


class Attended:
    """One attention of the walk, in float32 (float64 in a float64 model)."""

    def __init__(self, qkv: Callable[[], QKV], mass: Tensor | None, prefix: int) -> None:
        self._project, self.mass, self.prefix = qkv, mass, prefix
        self.rotated = False
        """compare keys after their rotation, where positions rotate them: far apart is then dissimilar"""
        self._qkv: QKV | None = None

    @property
    def qkv(self) -> QKV:
        """The projections, of all tokens."""
        if self._qkv is None:
            self._qkv = self._project()
        return self._qkv

    @property
    def keys(self) -> Tensor:
        """(B, H, N, D) of the patch tokens, to be compared."""
        return widen(self.compared)

    @property
    def mean_keys(self) -> Tensor:
        """(B, N, D) of the patch tokens, the mean over heads; no head is copied to be widened."""
        narrow = self.compared
        return narrow.mean(1, dtype=torch.promote_types(narrow.dtype, torch.float32))

    @property
    def compared(self) -> Tensor:
        """(B, H, N, D) of the patch tokens, to be compared, in the host's precision."""
        content = None if self.rotated else self.qkv.content
        return (self.qkv.keys if content is None else content)[:, :, self.prefix :]

    @property
    def values(self) -> Tensor:
        """(B, H, N, D) of the patch tokens."""
        return widen(self.qkv.values[:, :, self.prefix :])

    def rows(self, queries: slice) -> Tensor:
        """(B, H, queries, T): rows of the softmax attention."""
        if queries == slice(0, 1) and self._narrow:
            return first_row(self.qkv.queries, self.qkv.keys, self.mass, self.qkv.scale).unsqueeze(2)
        asked = widen(self.qkv.queries[:, :, queries]) * self.qkv.scale
        scores = asked @ widen(self.qkv.keys).transpose(-2, -1)
        if self.qkv.bias is not None:
            scores = scores + self.qkv.bias[..., queries, :]
        mask = key_bias(self.mass, self.prefix, scores.dtype)
        return (scores if mask is None else scores + mask).softmax(-1)

    @property
    def received(self) -> Tensor:
        """(B, N): the attention that each patch token gets from all, summed over heads and queries."""
        if self._narrow:
            return received(self.qkv.queries, self.qkv.keys, self.mass, self.qkv.scale).sum(1)[:, self.prefix :]
        return self.rows(slice(None)).sum((1, 2))[:, self.prefix :]

    @property
    def _narrow(self) -> bool:
        """Whether a kernel reads the projections as they are."""
        return self.qkv.bias is None and fits(self.qkv.queries, self.qkv.keys)

    def paid(self, by_class: bool) -> Tensor:
        """(B, N): what each patch token gets from the class token, or else from all tokens, the mean over heads."""
        rows = self.rows(slice(0, 1))[:, :, 0, self.prefix :] if by_class else self.mean_received
        return rows.mean(1)

    @property
    def mean_received(self) -> Tensor:
        """(B, H, N): the attention that each patch token gets, the mean over all queries that are no padding."""
        if self.mass is None and self._narrow:
            whole = received(self.qkv.queries, self.qkv.keys, None, self.qkv.scale)
            return whole[..., self.prefix :] / whole.shape[2]
        rows = self.rows(slice(None))[..., self.prefix :]
        if self.mass is None:
            return rows.mean(2)
        there = nn.functional.pad((self.mass > 0).to(rows.dtype), (self.prefix, 0), value=1)
        return torch.einsum("bhqn,bq->bhn", rows, there / there.sum(1, keepdim=True))
