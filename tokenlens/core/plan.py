"""A plan is what a reducer decided at one stage. There are three kinds: select, merge and mix.

Shapes: B images, N patch tokens in, K patch tokens out, C channels. Prefix tokens never appear in a plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .view import View


@dataclass
class Plan:
    """What becomes of the N tokens of a view."""

    tokens: Tensor
    """(B, K, C) the tokens that go on"""
    kept: Tensor
    """(B, K) int64: the old token that each one still is; -1: a blend, or padding"""
    group: Tensor
    """(B, N) int64: the new token that each old one went into; -1: dropped"""
    mass: Tensor | None = None
    """(B, K) float: how much each weighs as an attention key; 0: padding; None: all 1"""
    weights: Tensor | None = None
    """(B, K, N) float: the soft map of a soft merger"""


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Take values[b, index[b, k]]: (B, N) or (B, N, C) by (B, K) -> (B, K) or (B, K, C)."""
    if values.dim() == 2:
        return values.gather(1, index)
    image = torch.arange(values.shape[0], device=values.device).unsqueeze(1)  # `len` would fix the batch in ONNX
    return values[image, index]  # half the time of `gather` with an expanded index, forward and backward


def positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """(rows, columns) int64 with every row 0, 1, 2, ..."""
    return torch.arange(columns, device=device).expand(rows, columns)


def select(view: View, index: Tensor, padded: bool = False) -> Plan:
    """Keep tokens, drop the others.

    Args:
        view: the N tokens.
        index: (B, K) int64, the tokens that go on, in their new order.
        padded: the index may hold -1, anywhere, for padding: images that keep different numbers of tokens.
    """
    padding = index < 0
    source = index.clamp(min=0) if padded else index
    mass = None if view.mass is None else gather(view.mass, source)
    group = torch.full(view.patch.shape, -1, dtype=torch.int64, device=index.device)
    places = positions(index.shape[0], index.shape[1], index.device)
    if padded:
        mass = (torch.ones_like(index, dtype=torch.float32) if mass is None else mass).masked_fill(padding, 0.0)
        spare = torch.full((index.shape[0], 1), -1, dtype=torch.int64, device=index.device)
        aside = source.masked_fill(padding, group.shape[1])  # padding writes into a column that is cut off again
        group = torch.cat([group, spare], 1).scatter(1, aside, places)[:, :-1]
    else:
        group = group.scatter(1, source, places)
    return Plan(gather(view.tokens, source), index, group, mass)


def merge(
    view: View,
    group: Tensor,
    count: int,
    weight: Tensor | None = None,
    sizes: bool = True,
    eps: float = 0.0,
) -> Plan:
    """Average the tokens of each group.

    Args:
        view: the N tokens.
        group: (B, N) int64 in [0, count), the new token that each old one goes into; no group is empty.
        count: K.
        weight: (B, N) float, how much each token counts in its average; the mass of the tokens by default.
        sizes: hand on how much each new token stands for as its mass, and count old masses in the average.
        eps: added to each sum of weights.

    A token that is alone in its group is still itself (`kept`), all others are blends.
    """
    tokens = view.tokens
    batch, old = group.shape
    if weight is None:
        weight = torch.ones(batch, old, device=tokens.device) if view.mass is None or not sizes else view.mass
    weight = weight.to(tokens.dtype)
    total = tokens.new_zeros(batch, count).scatter_add(1, group, weight)
    # one flat index_add is the fastest of the ways to sum by group
    flat = (group + count * torch.arange(batch, device=group.device).unsqueeze(1)).flatten()
    summed = tokens.new_zeros(batch * count, tokens.shape[-1]).index_add(
        0, flat, (tokens * weight.unsqueeze(-1)).flatten(0, 1)
    )
    merged = summed.view(batch, count, -1) / (total + eps).unsqueeze(-1)
    members = torch.zeros(batch, count, dtype=torch.int64, device=group.device).scatter_add(
        1, group, torch.ones_like(group)
    )
    one_member = torch.zeros_like(members).scatter(1, group, positions(batch, old, group.device))
    kept = one_member.masked_fill(members != 1, -1)
    mass = None
    if sizes:
        old_mass = torch.ones_like(weight) if view.mass is None else view.mass.to(weight.dtype)
        mass = torch.zeros_like(total).scatter_add(1, group, old_mass)
    return Plan(merged, kept, group, mass)


def mix(weights: Tensor, values: Tensor) -> Plan:
    """Make each new token a soft mixture of all old ones.

    Args:
        weights: (B, K, N), the share of each old token in each new one.
        values: (B, N, C), what is mixed.

    An old token counts as gone into the new token that weighs it most.
    """
    batch, count, _ = weights.shape
    kept = torch.full((batch, count), -1, dtype=torch.int64, device=weights.device)
    return Plan(weights @ values, kept, weights.argmax(1), None, weights)
