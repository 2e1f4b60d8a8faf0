"""Down-sampling: keep every n-th patch of the grid, whatever the image shows.

No paper: what a method has to beat. Nearest-neighbour interpolation: of each cell of the grid its first patch stays.
Cells are made by halving the longer side again and again; a half step halves as many of them as are needed, spread
evenly. So any number of tokens can be asked for, and the cells of a later stage are made of whole ones of an earlier.
"""

import numpy as np
import torch
from torch import Tensor

from ..core.plan import Plan, select
from ..core.reducer import Look, Reducer, Stage
from ..core.view import View
from .registry import register

GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo 1, are spread evenly, however many are taken


def halvings(grid: tuple[int, int]) -> Tensor:
    """(2, P) int64: how many cells there are once a patch is none's first any more, and the first it falls to then."""
    first = np.arange(grid[0] * grid[1]).reshape(grid)
    at, into = np.zeros_like(first.ravel()), first.ravel().copy()
    cells = first.size
    while cells > 1:
        high, wide = first.shape
        first = first if wide >= high else first.T
        pairs = first.shape[1] // 2
        stays, goes = first[:, 0::2][:, :pairs].ravel(), first[:, 1::2].ravel()
        order = np.argsort(np.arange(len(goes)) * GOLDEN % 1)
        at[goes[order]] = cells - 1 - np.arange(len(goes))
        into[goes] = stays
        first = first[:, 0::2] if wide >= high else first[:, 0::2].T
        cells -= len(goes)
    return torch.from_numpy(np.stack([at, into]))


@register("downsample")
class Downsample(Reducer):
    """Keep the first patch of each cell."""

    site = "before_block"
    portable = True
    fixed = True
    look = Look("Down-sampling")

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.tree: Tensor
        self.register_buffer("tree", halvings(stage.grid or (1, stage.patches)), persistent=False)

    def forward(self, view: View) -> Plan:
        at, _ = self._tree(view.grid)
        here = at.argsort()[: view.patch.shape[1]].sort().values  # the patches that the tokens are the first of
        index = at[here].argsort()[: view.keep].sort().values
        return select(view, index.expand(view.patch.shape[0], -1))

    @torch.compiler.assume_constant_result
    def _tree(self, grid: tuple[int, int]) -> Tensor:
        """Made once for images of the model's own size, else for each walk."""
        return self.tree if grid == self.stage.grid else halvings(grid).to(self.tree.device)
