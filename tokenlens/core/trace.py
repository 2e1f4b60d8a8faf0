"""A trace retells plans on the patch grid: what became of every patch at every stage.

Shapes: B images, S stages, P patches, N tokens before a stage, K after it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .plan import Plan, gather, positions


class Trace:
    """The record of one walk."""

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
        self._home = self.patch  # (B, P) the token that each patch's content is in; -1: dropped
        self._patch: list[Tensor] = []
        self._group: list[Tensor] = []
        self._left: list[Tensor] = []

    def add(self, block: int, plan: Plan | None, keep_weights: bool = False) -> None:
        """Write a plan down; None is a stage that had nothing to do."""
        if plan is not None:
            inside = gather(self.patch, plan.kept.clamp(min=0))
            self.patch = torch.where(plan.kept >= 0, inside, -1)
            self._home = torch.where(self._home >= 0, gather(plan.group, self._home.clamp(min=0)), -1)
            if plan.mass is not None:
                self.mass[block] = plan.mass
            if keep_weights and plan.weights is not None:
                self.soft[block] = plan.weights
        batch, patches = self._home.shape
        self._patch.append(self.patch)
        self._group.append(self._home)
        if plan is None:
            left = self._left[-1] if self._left else torch.full((batch,), patches, device=self.patch.device)
        elif plan.mass is None:
            left = torch.full((batch,), plan.count, device=self.patch.device)
        else:
            left = (plan.mass > 0).sum(1)
        self._left.append(left)
        self.blocks.append(block)

    @property
    def kept(self) -> Tensor:
        """(B, S, P) bool: the patch still stands for itself after the stage."""
        batch, patches = self._home.shape
        stages = []
        for patch in self._patch:
            column = torch.where(patch >= 0, patch, patches)  # blends go to a column that is cut off
            kept = torch.zeros(batch, patches + 1, dtype=torch.bool, device=patch.device)
            stages.append(kept.scatter(1, column, True)[:, :-1])
        return torch.stack(stages, 1)

    @property
    def group(self) -> Tensor:
        """(B, S, P) int16: the token that the patch's content is in after the stage, in the sequence; -1: dropped."""
        return torch.stack(self._group, 1).to(torch.int16)

    @property
    def tokens_left(self) -> Tensor:
        """(B, S) int16: patch tokens after the stage; padding does not count."""
        return torch.stack(self._left, 1).to(torch.int16)
