"""Multi-scale deformable attention in plain torch: each query reads a few places of each level's map.

Zhu et al., 2021, arXiv:2010.04159. Held against czczup/ViT-Adapter@fd64a51 by way of JoakimHaurum/ATC@227c94b.

Shapes: B images, Q queries, V values (all levels', one after the other, row by row), C channels, H heads, L levels, P
points, D channels a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, int]
"""Rows and columns of a map."""


def centres(shapes: Sequence[Shape], like: Tensor) -> Tensor:
    """(Q, 2): x and y, 0 to 1, of the middle of each place of these maps, one map after the other, row by row.

    Examples:
        >>> centres([(1, 2)], torch.zeros(1))
        tensor([[0.2500, 0.5000],
                [0.7500, 0.5000]])
    """
    found = []
    for rows, columns in shapes:
        y, x = (torch.linspace(0.5, n - 0.5, n, dtype=like.dtype, device=like.device) / n for n in (rows, columns))
        found.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1))
    return torch.cat(found)


class DeformableAttention(nn.Module):
    """The weighted sum of values, read bilinearly around each query's own place; outside a map they are 0.

    State dict: `sampling_offsets`, `attention_weights`, `value_proj`, `output_proj`, as in mmcv.
    """

    def __init__(self, width: int, levels: int, heads: int, points: int, ratio: float = 1.0) -> None:
        """`ratio`: channels of the values to `width`."""
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        inner = int(width * ratio)
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, inner)
        self.output_proj = nn.Linear(inner, width)
        self._reset()

    def _reset(self) -> None:
        """Start with all points alike, each head looking into a direction of its own, farther from point to point."""
        turn = torch.arange(self.heads) * (2 * math.pi / self.heads)
        ways = torch.stack([turn.cos(), turn.sin()], -1)
        ways = (ways / ways.abs().amax(-1, keepdim=True)).view(self.heads, 1, 1, 2)
        steps = torch.arange(1.0, self.points + 1).view(1, 1, -1, 1)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((ways * steps).repeat(1, self.levels, 1, 1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, places: Tensor, values: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """Read the values around each query.

        Args:
            queries: (B, Q, C).
            places: (Q, 2), x and y of each query, 0 to 1, as `centres` gives them.
            values: (B, V, C).
            shapes: of the L maps that the values lie on.

        Returns:
            (B, Q, C).
        """
        batch, count, _ = queries.shape
        each = (batch, count, self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(queries).view(*each, 2)
        weights = self.attention_weights(queries).view(*each[:3], -1).softmax(-1)
        maps = self.value_proj(values).split([rows * columns for rows, columns in shapes], 1)
        read = []
        for level, (of, (rows, columns)) in enumerate(zip(maps, shapes, strict=True)):
            picture = of.unflatten(2, (self.heads, -1)).permute(0, 2, 3, 1).reshape(
                batch * self.heads, -1, rows, columns
            )  # fmt: skip
            away = torch.stack([offsets[..., level, :, 0] / columns, offsets[..., level, :, 1] / rows], -1)
            at = (places[:, None, None] + away).transpose(1, 2).flatten(0, 1)  # (B H, Q, P, 2)
            read.append(functional.grid_sample(picture, 2 * at - 1, align_corners=False))
        share = weights.transpose(1, 2).reshape(batch * self.heads, 1, count, -1)
        mixed = (torch.cat(read, -1) * share).sum(-1)  # (B H, D, Q)
        done: Tensor = self.output_proj(mixed.view(batch, -1, count).transpose(1, 2))
        return done
