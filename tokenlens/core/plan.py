"""A plan is what a reducer decided at one stage: where each old token goes, decided once and carried out by anyone.

There are three kinds: select, merge and mix. Shapes: B images, N patch tokens in, K patch tokens out, C channels, and
`...` any further dimensions. Prefix tokens never appear in a plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from ..kernels.merge import merged
from ..kernels.tally import tallied
from .attention import strongest

if TYPE_CHECKING:
    from .view import View


@dataclass
class Plan:
    """What becomes of the N tokens of a view. What travels with the tokens follows by `carry`, and back by `spread`.

    Examples:
        >>> import torch
        >>> plan = Plan(kept=torch.tensor([[2, 0]]), group=torch.tensor([[1, -1, 0]]))  # token 1 is dropped
        >>> plan.spread(plan.carry(torch.tensor([[5, 6, 7]])))
        tensor([[5, 0, 7]])
    """

    kept: Int[Tensor, "b k"]
    """the old token that each one still is; -1: a blend, or padding"""
    group: Int[Tensor, "b n"]
    """the new token that each old one went into; -1: dropped"""
    share: Float[Tensor, "b n"] | None = None
    """how much each old token counts in its new one, which is their weighted sum; None: new tokens are old ones"""
    mass: Float[Tensor, "b k"] | None = None
    """how much each weighs in averages, and as an attention key; 0: padding; None: all 1"""
    weights: Float[Tensor, "b k n"] | None = None
    """the soft map of a soft merger"""
    source: Int[Tensor, "b k"] | None = None
    """the old token that each new one is copied from, where that is not `kept`: padding, or a policy in training"""
    content: Float[Tensor, "b n c"] | None = None
    """what is carried in the tokens' place, as by methods that mix normalised tokens; None: the tokens themselves"""
    size: Float[Tensor, "b k"] | None = None
    """how much each counts in later averages, where that is not its mass (PiToMe); None: as its mass"""
    waiting: Int[Tensor, "b w"] | None = None
    """the old tokens that wait, `group` -2: they go on as they are, behind the others, at the next stage or the end"""
    stays: Float[Tensor, "b k"] | None = None
    """in training: how much each is there, where its mass counts what it stands for too; None: its mass"""
    sparsity: float = 1.0
    """the share of an attention, of each image and head, that is left: its strongest; the others are 0"""
    memory: Tensor | None = None
    """what the next stage is told"""

    @property
    def count(self) -> int:
        """K, padding included."""
        return self.kept.shape[1]

    def carry(self, x: Shaped[Tensor, "b n ..."], prefix: int = 0) -> Shaped[Tensor, "b k ..."]:
        """Take along what belongs to the old tokens: tokens, positions, scores.

        The first `prefix` of x are none of the N and go on as they are. Sums are made in float32 (float64 of float64),
        the result is of the type of x.

        Examples:
            >>> import torch
            >>> plan = Plan(torch.tensor([[0, -1]]), torch.tensor([[0, 1, 1]]), torch.tensor([[1.0, 0.5, 0.5]]))
            >>> plan.carry(torch.tensor([[1.0, 2.0, 4.0]]))
            tensor([[1., 3.]])
            >>> plan.spread(torch.tensor([[7.0, 8.0]]))
            tensor([[7., 8., 8.]])
        """
        if self.weights is None and self.share is None:  # one gather, of prefix and survivors
            ahead = positions(x.shape[0], prefix, x.device)
            return gather(x, torch.cat([ahead, self.origin + prefix], 1) if prefix else self.origin)
        flat = x.reshape(*x.shape[:2], -1)
        if self.share is not None:
            new = merged(flat, self.share, self.group, self.count, prefix)
        else:
            wide = flat[:, prefix:].to(torch.promote_types(x.dtype, torch.float32))
            new = (self.weights.to(wide.dtype) @ wide).to(x.dtype)  # type: ignore[union-attr]
            new = torch.cat([flat[:, :prefix], new], 1) if prefix else new
        return new.reshape(x.shape[0], prefix + self.count, *x.shape[2:])

    def spread(self, y: Shaped[Tensor, "b k ..."]) -> Shaped[Tensor, "b n ..."]:
        """Un-merge: every old token gets what its new one has, dropped ones get 0."""
        there = self.group >= 0
        back = gather(y, self.group.clamp(min=0))
        return back.masked_fill(~there.reshape(*there.shape, *[1] * (back.dim() - 2)), 0)

    def carry_attention(self, weights: Float[Tensor, "b h t t"], prefix: int) -> Float[Tensor, "b h s s"]:
        """Take along a softmax over all tokens: rows are carried, what was paid to the members of a group is summed.

        What was paid to dropped tokens is shared out among the others, so that rows sum to 1 again; not so what was
        made sparse.
        """
        if self.sparsity < 1:
            return strongest(weights, self.sparsity)
        summing = self if self.share is None else replace(self, share=torch.ones_like(self.share))
        rows = self.carry(weights.transpose(1, 2), prefix)
        new = summing.carry(rows.permute(0, 3, 2, 1), prefix).permute(0, 2, 3, 1)
        if self.mass is not None:
            new = new.masked_fill(nn.functional.pad(self.mass == 0, (prefix, 0))[:, None, None], 0)
        return new / new.sum(-1, keepdim=True)

    @property
    def origin(self) -> Int[Tensor, "b k"]:
        """The old token that each new one is a copy of, in plans that blend none; token 0 for padding."""
        return self.kept.clamp(min=0) if self.source is None else self.source


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Take values[b, index[b, k]]: (B, N, ...) by (B, K) -> (B, K, ...)."""
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

    Examples:
        >>> import torch
        >>> from tokenlens import View
        >>> tokens = torch.tensor([[[1.0], [3.0], [2.0], [4.0]]])
        >>> view = View(tokens, torch.arange(4)[None], None, grid=(2, 2), keep=2, planned=4, prefix=0)
        >>> plan = select(view, torch.tensor([[1, 3]]))
        >>> plan.group, plan.carry(tokens).flatten()
        (tensor([[-1,  0, -1,  1]]), tensor([3., 4.]))
    """
    padding = index < 0
    source = index.clamp(min=0) if padded else index
    mass, size = (None if given is None else gather(given, source) for given in (view.mass, view.size))
    group = torch.full(view.patch.shape, -1, dtype=torch.int64, device=index.device)
    places = positions(index.shape[0], index.shape[1], index.device)
    if padded:
        mass = (torch.ones_like(index, dtype=torch.float32) if mass is None else mass).masked_fill(padding, 0.0)
        spare = torch.full((index.shape[0], 1), -1, dtype=torch.int64, device=index.device)
        aside = source.masked_fill(padding, group.shape[1])  # padding writes into a column that is cut off again
        group = torch.cat([group, spare], 1).scatter(1, aside, places)[:, :-1]
    else:
        group = group.scatter(1, source, places)
    return Plan(index, group, mass=mass, source=source, size=size)


def merge(
    view: View,
    group: Tensor,
    count: int,
    weight: Tensor | None = None,
    sizes: bool = True,
    eps: float = 0.0,
    proportional: bool = True,
) -> Plan:
    """Average the tokens of each group.

    Args:
        view: the N tokens.
        group: (B, N) int64 in [0, count), the new token that each old one goes into; no group is empty.
        count: K.
        weight: (B, N) float, how much each token counts in its average; the size of the tokens by default.
        sizes: hand on how much each new token stands for, and count old sizes in the average.
        eps: added to each sum of weights.
        proportional: what is handed on weighs in attention too, as the mass of the tokens.

    A token that is alone in its group is still itself (`kept`), all others are blends.

    Examples:
        >>> import torch
        >>> from tokenlens import View
        >>> tokens = torch.tensor([[[1.0], [3.0], [2.0], [4.0]]])
        >>> view = View(tokens, torch.arange(4)[None], None, grid=(2, 2), keep=2, planned=4, prefix=0)
        >>> plan = merge(view, torch.tensor([[0, 0, 0, 1]]), 2)
        >>> plan.kept, plan.carry(tokens).flatten(), plan.mass
        (tensor([[-1,  3]]), tensor([2., 4.]), tensor([[3., 1.]]))
    """
    known = view.mass if view.size is None else view.size
    if sizes and known is None:
        known = torch.ones(group.shape, device=group.device)
    share, kept, new = tallied(group, count, weight, known if sizes else None, eps)
    return Plan(kept, group, share, new) if proportional else Plan(kept, group, share, size=new)


def mix(weights: Tensor, values: Tensor) -> Plan:
    """Make each new token a soft mixture of all old ones.

    Args:
        weights: (B, K, N), the share of each old token in each new one.
        values: (B, N, C), what is mixed.

    An old token counts as gone into the new token that weighs it most.

    Examples:
        >>> import torch
        >>> plan = mix(torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]]]), torch.tensor([[[2.0], [4.0], [9.0]]]))
        >>> plan.group, plan.carry(plan.content).flatten()
        (tensor([[0, 0, 1]]), tensor([3., 8.]))
    """
    batch, count, _ = weights.shape
    kept = torch.full((batch, count), -1, dtype=torch.int64, device=weights.device)
    return Plan(kept, weights.argmax(1), weights=weights, content=values)
