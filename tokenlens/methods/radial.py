"""Radial patterns: keep the patches nearest to the image's centre, whatever the image shows.

Haurum et al., 2023, arXiv:2308.04657. Held against JoakimHaurum/TokenReduction@88fe07e (MIT).
Rings are coarse: of all rings, the one whose number of patches is nearest to what was asked stays. The contiguous
variant ignores the keep rate and shrinks the radius a little at every block from the first stage to the last, from the
corner's on its way to `min_radius` (0: the middle patch's).
Departs: patches outside leave the sequence; the published code masks them, with the same result.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.plan import Plan, positions, select
from ..core.reducer import Look, Reducer, Stage, demand
from ..core.schedule import Schedule
from ..core.view import View
from ..errors import BadInput
from .registry import register

NORMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "l1": lambda y, x: np.abs(x) + np.abs(y),
    "l2": lambda y, x: np.sqrt(x * x + y * y),
    "linf": lambda y, x: np.maximum(np.abs(x), np.abs(y)),
}


def line(start: float, end: float, count: int) -> np.ndarray:
    """(count,) float32: `torch.linspace`, rounded alike by every processor: from each end, and once a number."""
    if count == 1:
        return np.array([start], np.float32)
    start, end = float(np.float32(start)), float(np.float32(end))
    step = float(np.float32(end - start) / np.float32(count - 1))
    place = np.arange(count)
    return np.where(place < count // 2, start + step * place, end - step * (count - 1 - place)).astype(np.float32)


def radii(grid: tuple[int, int], norm: str) -> np.ndarray:
    """(patches,) float32: the distance of each patch from the centre, on a grid `linspace(-side // 2, side // 2)`.

    In the published arithmetic, operation by operation: its rounding splits some rings (l1 at 0.5 leaves 92 patches,
    where 84 or 112 are even), and `-side // 2` puts the centre of an odd side half a patch off. Not by torch, which
    rounds a line and a root by the processor, so that one splits rings that another does not.
    """
    rows, columns = (line(-side // 2, side // 2, side) for side in grid)
    return NORMS[norm](rows[:, None], columns[None, :]).ravel()


def ring(grid: tuple[int, int], norm: str, keep: int) -> list[bool]:
    """For each patch: is it inside the ring whose number of patches is nearest to `keep`?"""
    distance = radii(grid, norm)
    rings = np.unique(distance)
    sizes = (distance[:, None] <= rings).sum(0)
    inside: list[bool] = (distance <= rings[np.abs(sizes - keep).argmin()]).tolist()
    return inside


def check(norm: str, min_radius: float) -> None:
    """Refuse options that describe no disc."""
    if norm not in NORMS:
        raise BadInput(f"there is no radial pattern with norm {norm!r}; there are {', '.join(NORMS)}")
    demand(0 <= min_radius < float("inf"), "min_radius", min_radius, "a number from 0 up")


@register("linf", norm="linf", look=Look("ℓ∞", "#55b596", "1"))
@register("l2", norm="l2", look=Look("ℓ2", "#009e73", "x"))
@register("l1", norm="l1", look=Look("ℓ1", "#004d3a", "+"))  # decorators apply from the last to the first
class Radial(Reducer):
    """Keep a disc (l2), a diamond (l1) or a square (linf) around the centre."""

    site = "before_block"
    family = "radial"
    fixed = True
    portable = True
    paper = "arXiv:2308.04657"

    def __init__(self, stage: Stage, norm: str = "l2", contiguous: bool = False, min_radius: float = 1.0) -> None:
        super().__init__(stage)
        check(norm, min_radius)
        self.norm = norm
        own = ring(stage.grid, norm, stage.keep) if stage.grid else []
        self.size = sum(own)
        self.inside: Tensor
        self.register_buffer("inside", torch.tensor(own, dtype=torch.bool), persistent=False)

    def forward(self, view: View) -> Plan:
        within, size = self._ring(view.grid, view.keep)
        inside = within[view.patch]
        count = min(size, inside.shape[1])  # what is left is a ring itself, the same in every image
        place = positions(inside.shape[0], inside.shape[1], inside.device)
        return select(view, torch.where(inside, place, inside.shape[1]).topk(count, largest=False).indices)

    @torch.compiler.assume_constant_result
    def _ring(self, grid: tuple[int, int], keep: int) -> tuple[Tensor, int]:
        """(P,) bool, and how many are inside: made once for images of the model's own size, else for each walk."""
        if (grid, keep) == (self.stage.grid, self.stage.keep):
            return self.inside, self.size
        made = ring(grid, self.norm, keep)
        return torch.tensor(made, device=self.inside.device), sum(made)

    @classmethod
    def schedule(cls, asked: Schedule, grid: tuple[int, int], **options: Any) -> Schedule:
        if not options.get("contiguous"):
            return asked
        check(options.get("norm", "l2"), options.get("min_radius", 1.0))
        distance = radii(grid, options.get("norm", "l2"))
        blocks = tuple(range(asked.blocks[0], asked.blocks[-1] + 1))
        centre = distance.reshape(grid)[grid[0] // 2, grid[1] // 2]
        radius = line(distance[0], options.get("min_radius", 1.0) or centre, len(blocks) + 2)
        first = min(blocks[0], 1)  # from block 0 on the published code is a step behind: all patches stay there
        limits = radius[first : first + len(blocks)]
        counts = tuple(int((distance <= limit).sum()) for limit in limits)
        return replace(Schedule(blocks), counts=counts)
