"""Where tokens stand, for hosts that tell every attention so: rows of a rotary embedding, or a bias between places.

Pruning is exact: who stays keeps its place. Where a merged token stands is an open question, with no settled rule
(asked in facebookresearch/ToMe#29 and dbolya/tomesd#59), so the rule is an option of every method that merges:

* `member`: the place of the member whose token is nearest to the merged one; under soft maps, of the heaviest.
* `mean`: the mean place of the members, weighed as their tokens are.
* `rotation`: the mean of the members' rotations, which is no rotation any more but a shorter one.

`auto` is `member` under rotations and `mean` under biases.

Shapes: B images, P places of the grid, N tokens before a stage, K after it, H heads, D channels of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import BadInput
from .plan import Plan, gather, positions

RULES = ("auto", "member", "mean", "rotation")


class Positions(Protocol):
    """What travels with the tokens to every block."""

    def carried(self, plan: Plan, x: Float[Tensor, "b n c"], rule: str) -> Self:
        """Those of the new tokens, of a plan for the tokens x."""

    def joined(self, waited: Self) -> Self:
        """Those of these tokens and, behind them, of some that waited, which the same plan sent aside."""


def nearest_member(plan: Plan, x: Float[Tensor, "b n c"]) -> Int[Tensor, "b k"]:
    """The old token that each new one stands nearest to: itself, or the member of its group nearest to their blend.

    The first of several that are equally near. Padding, and a new token that none went into, get the first token.

    Examples:
        >>> plan = Plan(torch.tensor([[0, -1]]), torch.tensor([[0, 1, 1]]), torch.tensor([[1.0, 0.1, 0.9]]))
        >>> nearest_member(plan, torch.tensor([[[1.0], [2.0], [4.0]]]))
        tensor([[0, 2]])
    """
    if plan.weights is not None:
        return plan.weights.argmax(-1)
    if plan.share is None:
        return plan.origin
    batch, old = plan.group.shape
    wide = torch.promote_types(x.dtype, torch.float32)
    away = torch.linalg.vector_norm(x - plan.spread(plan.carry(x)), dim=-1, dtype=wide)
    into = torch.where(plan.group < 0, plan.count, plan.group)  # the dropped into a column that is cut off
    least = away.new_full((batch, plan.count + 1), torch.inf).scatter_reduce(1, into, away, "amin")
    place = torch.where(away == least.gather(1, into), positions(batch, old, x.device), old)
    first = place.new_full((batch, plan.count + 1), old).scatter_reduce(1, into, place, "amin")[:, :-1]
    return torch.where(first == old, 0, first)


def together(ahead: Tensor | None, behind: Tensor | None) -> Tensor:
    """What travels with the tokens of two parts, which a plan has made."""
    assert ahead is not None and behind is not None
    return torch.cat([ahead, behind], 1)


class Rotary:
    """Rows of a rotary embedding, one for each token; the same for all blocks, or a table a block and head."""

    def __init__(
        self,
        table: Float[Tensor, "*blocks_heads p d"],
        places: Callable[[], Float[Tensor, "p 2"]],
        at: Callable[[Tensor, int], Tensor],
        rule: str = "member",
        state: Tensor | None = None,
    ) -> None:
        """Of all places, before the first stage.

        Args:
            table: the library's own rows: (P, D), or (blocks, H, P, D).
            places: coordinates of the P places, asked for under `mean`.
            at: rows (B, 1 or H, N, D) of block i at (B, N, 2) coordinates, asked for under `mean`.
            rule: for merged tokens.
            state: what travels: (B, N) places, (B, N, 2) coordinates or (B, N, ...) rows; None: all are there.
        """
        self.table, self.places, self.at, self.rule, self.state = table, places, at, rule, state

    def carried(self, plan: Plan, x: Float[Tensor, "b n c"], rule: str) -> Rotary:
        """Those of the new tokens."""
        rule = "member" if rule == "auto" else rule
        state = self._start(rule, len(x)) if self.state is None else self.state
        state = gather(state, nearest_member(plan, x)) if rule == "member" else plan.carry(state)
        return Rotary(self.table, self.places, self.at, rule, state)

    def joined(self, waited: Rotary) -> Rotary:
        """Those of all of them."""
        return Rotary(self.table, self.places, self.at, self.rule, together(self.state, waited.state))

    def _start(self, rule: str, batch: int) -> Tensor:
        if rule == "member":
            return positions(batch, self.table.shape[-2], self.table.device)
        own = self.places() if rule == "mean" else self.table.movedim(-2, 0)
        return own.expand(batch, *own.shape)

    def rows(self, block: int) -> Tensor:
        """Of all tokens at a block: the library's own (P, D) or (H, P, D), or (B, 1 or H, N, D) after a stage."""
        each = self.table.dim() == 4
        table = self.table[block] if each else self.table
        if self.state is None:
            return table
        if self.rule == "mean":
            return self.at(self.state, block)
        if self.rule == "rotation":
            return self.state[:, :, block].transpose(1, 2) if each else self.state.unsqueeze(1)
        return table[:, self.state].transpose(0, 1) if each else table[self.state].unsqueeze(1)


class Biases:
    """What relative positions add to the products of queries and keys: in each block a table of all pairs of tokens."""

    def __init__(self, count: int, shared: Float[Tensor, "1 h t t"] | None = None, state: Tensor | None = None) -> None:
        """Of all P places, before the first stage.

        Args:
            count: P.
            shared: what is added in all blocks alike, beside their own.
            state: what travels: (B, N) places, or (B, N, P) shares that each token has of them; None: all are there.
        """
        self.count, self.shared, self.state = count, shared, state

    def carried(self, plan: Plan, x: Float[Tensor, "b n c"], rule: str) -> Biases:
        """Those of the new tokens."""
        if rule == "rotation":
            raise BadInput("position=rotation is for positions that rotate and not for biases; take mean or member")
        state = positions(x.shape[0], x.shape[1], x.device) if self.state is None else self.state
        if rule == "member" or (plan.share is None and plan.weights is None):  # then each is one old token
            return Biases(self.count, self.shared, gather(state, nearest_member(plan, x)))
        shares = nn.functional.one_hot(state, self.count).to(x.dtype) if state.dim() == 2 else state
        return Biases(self.count, self.shared, plan.carry(shares))

    def joined(self, waited: Biases) -> Biases:
        """Those of all of them."""
        return Biases(self.count, self.shared, together(self.state, waited.state))

    def among(self, table: Float[Tensor, "1 h t t"] | None) -> Float[Tensor, "b h s s"] | None:
        """The rows and columns of those that are there, or the means over what they were blended from."""
        if self.state is None or table is None:
            return table
        prefix = table.shape[-1] - self.count
        if self.state.dim() == 2:
            ahead = positions(len(self.state), prefix, self.state.device)
            place = torch.cat([ahead, self.state + prefix], 1)
            return table[0][:, place.unsqueeze(2), place.unsqueeze(1)].transpose(0, 1)
        ahead = torch.eye(prefix, table.shape[-1], dtype=table.dtype, device=table.device)
        own = nn.functional.pad(self.state.to(table.dtype), (prefix, 0))
        shares = torch.cat([ahead.expand(len(own), -1, -1), own], 1).unsqueeze(1)
        return shares @ table @ shares.transpose(-2, -1)
