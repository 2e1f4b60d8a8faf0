"""A trace retells plans on the patch grid: what became of every patch at every stage.

Shapes: B images, S stages, P patches, N tokens before a stage, K after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..words import as_html, in_a_line
from .plan import Plan, gather, positions


@dataclass(frozen=True)
class About:
    """What a trace is of: whoever looks at it need not have the model at hand."""

    method: str
    merges: bool
    """its patterns are partitions"""
    grid: tuple[int, int]
    training: bool
    mean: tuple[float, ...]
    """of the images, by channel, before they were normalised"""
    std: tuple[float, ...]


@dataclass(frozen=True)
class _Left:
    """How many tokens there are after a stage; counted when somebody asks."""

    mass: Tensor | None
    """(B, K): of these those above 0"""
    count: int
    """else so many"""
    more: int = 0
    """that waited, and came back"""

    def counts(self, like: Tensor) -> Tensor:
        """(B,), of as many images as `like` has."""
        if self.mass is None:  # `len` would fix the batch in ONNX
            return torch.full((like.shape[0],), self.count + self.more, device=like.device)
        return (self.mass > 0).sum(1) + self.more


@dataclass(frozen=True)
class _Stage:
    group: Tensor | None
    """(B, N), as in a plan; None: nothing was done"""

    def after(self, home: Tensor) -> Tensor:
        """(B, P): the token that each patch's content is in; -1: dropped, -2: waiting."""
        if self.group is None:
            return home
        return torch.where(home >= 0, gather(self.group, home.clamp(min=0)), -1)


@dataclass(frozen=True)
class _Return:
    home: Tensor
    """(B, P): where those that waited are"""

    def after(self, home: Tensor) -> Tensor:
        """As `_Stage.after`."""
        return torch.where(home == -2, self.home, home)


class Trace:
    """The record of one walk.

    Examples:
        >>> import timm, torch, tokenlens
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=4, img_size=64).eval()
        >>> _, trace = tokenlens.reduce(vit, "topk", 0.5, (1, 2)).trace(torch.randn(2, 3, 64, 64))
        >>> trace
        topk, 2 images, 2 stages, 16 → 8 → 4
    """

    about: About | None = None
    """None where it is no ViT's, or was made by hand"""

    def __init__(self, batch: int, patches: int, device: torch.device) -> None:
        self.blocks: list[int] = []
        """the stages, by their block"""
        self.patch = positions(batch, patches, device)
        """(B, N) int64: the patch that each token still is; -1: a blend or padding"""
        self.features: dict[int, Tensor] = {}
        """block -> (B, C): the class token after that block, for the blocks that were asked for"""
        self.soft: dict[int, Tensor] = {}
        """block -> (B, K, N): the soft maps, where asked for"""
        self.mass: dict[int, Tensor] = {}
        """block -> (B, K): the masses after a stage, where not all are 1; in training what a policy learns from"""
        self.stays: dict[int, Tensor] = {}
        """block -> (B, N): how much each token is there, in training, where its mass does not say it"""
        self.attention: dict[int, Tensor] = {}
        """block -> (B, P): the attention paid to the token that a patch was in when the stage decided, where asked for;
        NaN for patches that were gone"""
        self._start = self.patch
        # what moved the patches' contents, in order: it is followed when somebody asks, and anew each time, since in a
        # CUDA graph the numbers change and this stays
        self._steps: list[_Stage | _Return] = []
        self._aside = self.patch[:, :0], self.patch  # what waits: its patches, and the home it has when it comes back
        self._patch: list[Tensor] = []
        self._left: list[_Left] = []
        self._now = _Left(None, patches)

    def add(self, block: int, plan: Plan | None, keep_weights: bool = False) -> None:
        """Write a plan down; None is a stage that had nothing to do."""
        if plan is not None:
            if plan.waiting is not None:
                behind = plan.count + positions(plan.waiting.shape[0], plan.waiting.shape[1], self.patch.device)
                place = torch.zeros_like(plan.group).scatter(1, plan.waiting, behind)
                self._aside = gather(self.patch, plan.waiting), gather(place, self.home.clamp(min=0))
            inside = gather(self.patch, plan.kept.clamp(min=0))
            self.patch = torch.where(plan.kept >= 0, inside, -1)
            if plan.mass is not None:
                self.mass[block] = plan.mass
            if plan.stays is not None:
                self.stays[block] = plan.stays
            if keep_weights and plan.weights is not None:
                self.soft[block] = plan.weights
            self._now = _Left(plan.mass, plan.count)
        self._steps.append(_Stage(None if plan is None else plan.group))
        self._patch.append(self.patch)
        self._left.append(self._now)
        self.blocks.append(block)

    def attend(self, block: int, paid: Tensor) -> None:
        """Write down the attention that was paid to each of the tokens (B, N) that a stage is about to decide of."""
        home = self.home
        self.attention[block] = gather(paid, home.clamp(min=0)).masked_fill(home < 0, torch.nan)

    def rejoin(self) -> None:
        """Write down that those who waited came back."""
        patch, home = self._aside
        self._now = replace(self._now, more=self._now.more + patch.shape[1])
        self.patch = torch.cat([self.patch, patch], 1)
        self._steps.append(_Return(home))

    @property
    def kept(self) -> Tensor:
        """(B, S, P) bool: the patch still stands for itself after the stage; not while it waits."""
        batch, patches = self._start.shape
        stages = []
        for patch in self._patch:
            column = torch.where(patch >= 0, patch, patches)  # blends go to a column that is cut off
            kept = torch.zeros(batch, patches + 1, dtype=torch.bool, device=patch.device)
            stages.append(kept.scatter(1, column, True)[:, :-1])
        return torch.stack(stages, 1)

    @property
    def group(self) -> Tensor:
        """(B, S, P) int16: the token in the sequence that the patch is in after the stage; -1: dropped, -2: waiting."""
        return torch.stack(self._followed()[0], 1).to(torch.int16)

    @property
    def home(self) -> Tensor:
        """(B, P) int64: the token of the sequence that the patch is in now; negative: none."""
        return self._followed()[1]

    def _followed(self) -> tuple[list[Tensor], Tensor]:
        """(B, P) each: the token that a patch's content is in, after each stage and now."""
        home, found = self._start, []
        for step in self._steps:
            home = step.after(home)
            if isinstance(step, _Stage):
                found.append(home)
        return found, home

    @property
    def tokens_left(self) -> Tensor:
        """(B, S) int16: patch tokens after the stage; padding does not count."""
        return torch.stack([left.counts(self._start) for left in self._left], 1).to(torch.int16)

    def __repr__(self) -> str:
        return in_a_line(self.about.method if self.about else "", len(self._start), self._counts()) + self._caution()

    def _repr_html_(self) -> str:
        counts = self._counts()
        rows = [(block, f"{count:g}", f"{count / counts[0]:.0%}") for block, count in zip(self.blocks, counts[1:],
                                                                                       strict=True)]  # fmt: skip
        return as_html(repr(self), ("after block", "tokens left", "of the patches"), rows)

    def _counts(self) -> list[float]:
        """Tokens before the first stage and after each, means over images."""
        means = [float(left.counts(self._start).float().mean()) for left in self._left]
        return [float(self._start.shape[1]), *means]

    def _caution(self) -> str:
        return " (in training mode, where patterns may change from call to call)" * bool(
            self.about and self.about.training
        )

    def show(self, images: Any, **options: Any) -> Any:
        """The patterns on the images that were traced, a column a stage; see `tokenlens.show`."""
        import tokenlens  # the front, as a user calls it: the core knows no figure

        return tokenlens.show(self, images, **options)

    def plot(self, images: Any, ax: Any = None, *, image: int = 0, stage: int = -1) -> Any:
        """One image's pattern at one stage into matplotlib axes; see `tokenlens.figures.show.plot`."""
        import tokenlens

        return tokenlens.plot(self, images, ax, image=image, stage=stage)


@dataclass
class Part:
    """The trace of those images of a batch that have one grid."""

    rows: list[int]
    """which of the batch they are"""
    grid: tuple[int, int]
    trace: Trace


class RaggedTrace:
    """The record of images whose grids differ: each lies in the upper left of the largest, and `valid` says where."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts, self.blocks = parts, parts[0].trace.blocks
        self.grid = max(part.grid[0] for part in parts), max(part.grid[1] for part in parts)
        """rows and columns of the largest"""
        first = torch.tensor([row for part in parts for row in part.rows])
        self._order = first.argsort().to(parts[0].trace.patch.device)

    @property
    def valid(self) -> Tensor:
        """(B, P) bool: the places of the largest grid that an image has."""
        ones = [part.trace.kept.new_ones(len(part.rows), part.grid[0] * part.grid[1]) for part in self._parts]
        return self._joined(
            [laid(one, part.grid, self.grid, False) for one, part in zip(ones, self._parts, strict=True)]
        )

    @property
    def kept(self) -> Tensor:
        """(B, S, P) bool, as in a `Trace`; False where an image has no place."""
        return self._joined([laid(part.trace.kept, part.grid, self.grid, False) for part in self._parts])

    @property
    def group(self) -> Tensor:
        """(B, S, P) int16, as in a `Trace`; -1 where an image has no place."""
        return self._joined([laid(part.trace.group, part.grid, self.grid, -1) for part in self._parts])

    @property
    def tokens_left(self) -> Tensor:
        """(B, S) int16, as in a `Trace`."""
        return self._joined([part.trace.tokens_left for part in self._parts])

    @property
    def features(self) -> dict[int, Tensor]:
        """Block -> (B, C), as in a `Trace`."""
        blocks = self._parts[0].trace.features
        return {block: self._joined([part.trace.features[block] for part in self._parts]) for block in blocks}

    def _joined(self, values: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(values))[self._order]


def laid(values: Tensor, own: tuple[int, int], grid: tuple[int, int], outside: float) -> Tensor:
    """(..., own rows x columns) in the upper left of a larger grid, (..., rows x columns), and `outside` elsewhere."""
    room = (0, grid[1] - own[1], 0, grid[0] - own[0])
    return functional.pad(values.unflatten(-1, own), room, value=outside).flatten(-2)
