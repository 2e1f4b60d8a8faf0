"""When to reduce, and to how many tokens: rates, counts, or so many tokens fewer at every block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import index
from typing import Any, TypeVar

from ..errors import BadInput

STUDY_BLOCKS = (3, 6, 9)
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Schedule:
    """The stages of a model: which blocks, and the tokens asked to remain after each.

    Exactly one of `rates` (the share of the patches after each stage), `counts` and `fewer` (tokens removed at each
    stage) is set.
    """

    blocks: tuple[int, ...]
    rates: tuple[float, ...] | None = None
    counts: tuple[int, ...] | None = None
    fewer: tuple[int, ...] | None = None
    rate: float | None = None
    """the one rate that `rates` came from, if it did"""

    @property
    def kind(self) -> str:
        """How it was asked for: rates, counts, or off the shelf constant or decreasing."""
        if self.fewer is not None:
            return "constant" if self.fewer[0] == self.fewer[-1] else "decreasing"
        return "counts" if self.counts is not None else "rates"

    def keep(self, patches: int) -> tuple[int, ...]:
        """Tokens asked to remain after each stage, at least one."""
        if self.rate is not None:
            wanted = [int(patches * self.rate ** (stage + 1)) for stage in range(len(self.blocks))]
        elif self.rates is not None:
            wanted = [int(patches * rate) for rate in self.rates]
        elif self.counts is not None:
            wanted = list(self.counts)
        else:
            gone = 0
            wanted = [patches - (gone := gone + removed) for removed in self.fewer or ()]
        return tuple(min(max(count, 1), patches) for count in wanted)

    def check(self, depth: int) -> Schedule:
        """Refuse blocks that a model of this depth does not have."""
        if any(not 0 <= block < depth for block in self.blocks):
            raise BadInput(f"blocks {list(self.blocks)} are not all in this model: it has blocks 0 to {depth - 1}")
        return self


def schedule(
    blocks: int | Sequence[int] = STUDY_BLOCKS,
    keep_rate: float | Sequence[float] | None = None,
    keep: Sequence[int] | None = None,
    remove: int | None = None,
    decreasing: bool = False,
    depth: int = 12,
) -> Schedule:
    """Make a schedule from what a user says.

    Args:
        blocks: 0-indexed, ascending.
        keep_rate: one rate r in (0, 1] (r, r squared, r cubed ... of the patches remain after the stages, as in the
            study), or one share of the patches for each stage.
        keep: absolute counts, one for each stage.
        remove: off the shelf: this many tokens go at every block, at most what the method can do without there;
            `blocks` does not matter.
        decreasing: with `remove`, int(2 r - 2 r / (depth - 1) i) at block i: twice as many at the first block, down to
            none at the last.
        depth: number of blocks of the model.

    Raises:
        BadInput: none or several of the three given, a rate outside (0, 1], not one value for each block, blocks that
            the model does not have or that are not ascending.
    """
    if sum(way is not None for way in (keep_rate, keep, remove)) != 1:
        raise BadInput("say how many tokens remain in one way: a keep rate, counts to keep, or tokens to remove")
    if remove is not None:
        return _off_the_shelf(remove, decreasing, depth)
    blocks = _numbers(blocks, index, "blocks {} are not whole numbers; for example 3,6,9")
    if not blocks or any(b <= a for a, b in pairwise(blocks)):
        raise BadInput(f"blocks must be ascending, and {list(blocks)} are not; for example 3,6,9")
    made = Schedule(blocks).check(depth)
    if keep is not None:
        refusal = f"counts to keep {{}} must be one positive whole number for each block {list(blocks)}"
        counts = _numbers(keep, index, refusal)
        if len(counts) != len(blocks) or min(counts) < 1:
            raise BadInput(refusal.format(list(counts)))
        return replace(made, counts=counts)
    rates = _numbers(keep_rate, _real, "keep rate {} is not made of numbers; for example 0.5")
    if _alone(keep_rate):
        made = replace(made, rate=rates[0])
    if not rates or any(not 0 < rate <= 1 for rate in rates):
        raise BadInput(f"keep rate {', '.join(f'{r:g}' for r in rates) or '[]'} is outside (0, 1]; for example 0.5")
    if made.rate is not None:
        return replace(made, rates=tuple(made.rate ** (stage + 1) for stage in range(len(blocks))))
    if len(rates) != len(blocks):
        raise BadInput(f"{len(rates)} keep rates for {len(blocks)} blocks {list(blocks)}; give one, or one for each")
    return replace(made, rates=rates)


def _off_the_shelf(remove: int, decreasing: bool, depth: int) -> Schedule:
    refusal = "cannot remove {} tokens at every block; give 0 or more, and a whole number"
    removed = _numbers(remove, index, refusal)
    if len(removed) != 1 or removed[0] < 0:
        raise BadInput(refusal.format(remove))
    (remove,) = removed
    last = max(depth - 1, 1)
    # in floating point, as published
    fewer = [int(2 * remove - 2 * remove / last * block) if decreasing else remove for block in range(depth)]
    return Schedule(tuple(range(depth)), fewer=tuple(fewer))


def _alone(given: Any) -> bool:
    """Is it one value, of Python's, NumPy's or torch's types, and not several?"""
    return not isinstance(given, Sequence) and getattr(given, "ndim", 0) == 0


def _real(value: Any) -> float:
    return float(0.0 + value)  # which text is not, although `float` would read it


def _numbers(given: Any, kind: Callable[[Any], N], refusal: str) -> tuple[N, ...]:
    try:
        return tuple(kind(value) for value in ([given] if _alone(given) else given))
    except (TypeError, ValueError) as error:
        raise BadInput(refusal.format(repr(given))) from error
