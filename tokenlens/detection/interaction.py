"""What a ViT-Adapter adds to a ViT: a convolutional prior of space, and how it and the ViT's tokens tell each other.

Chen et al., 2023, arXiv:2205.08534. Held against czczup/ViT-Adapter@fd64a51 (Apache-2.0) by way of
JoakimHaurum/ATC@227c94b; parameters are called as there.

Shapes: B images, N patches, C channels; the pyramid's S places lie on maps of 1/8, 1/16 and 1/32 of the image, one
after the other, row by row: 4 N + N + N / 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from .deformable import DeformableAttention, Shape

EPS = 1e-6  # of all layer norms


@dataclass(frozen=True)
class AdapterConfig:
    """The sizes of a ViT-Adapter, each with the published tiny model's value."""

    width: int = 192
    heads: int = 3
    depth: int = 12
    mlp_ratio: float = 4.0
    patch: int = 16
    pretrained: Shape = (14, 14)
    """rows and columns of the position embedding"""
    drop_path: float = 0.1
    stem: int = 64
    """channels of the prior's first map"""
    deform_heads: int = 6
    points: int = 4
    deform_ratio: float = 1.0
    ffn_ratio: float = 0.25
    spans: tuple[tuple[int, int], ...] = ((0, 2), (3, 5), (6, 8), (9, 11))
    """first and last block of each interaction"""


class SpatialPrior(nn.Module):
    """Convolutions from the image to maps of 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self, stem: int, width: int) -> None:
        super().__init__()

        def layer(inside: int, outside: int, stride: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outside),
                nn.ReLU(inplace=True),
            ]

        self.stem = nn.Sequential(
            *layer(3, stem, 2), *layer(stem, stem, 1), *layer(stem, stem, 1), nn.MaxPool2d(3, 2, 1)
        )
        self.conv2 = nn.Sequential(*layer(stem, 2 * stem, 2))
        self.conv3 = nn.Sequential(*layer(2 * stem, 4 * stem, 2))
        self.conv4 = nn.Sequential(*layer(4 * stem, 4 * stem, 2))
        self.fc1, self.fc2 = nn.Conv2d(stem, width, 1), nn.Conv2d(2 * stem, width, 1)
        self.fc3, self.fc4 = nn.Conv2d(4 * stem, width, 1), nn.Conv2d(4 * stem, width, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, H, W) -> four maps (B, C, H / 4, W / 4) to (B, C, H / 32, W / 32)."""
        c1 = self.stem(images)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        return self.fc1(c1), self.fc2(c2), self.fc3(c3), self.fc4(self.conv4(c3))


class FeedForward(nn.Module):
    """Two linear layers with a convolution of each map between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)})
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        parts = self.fc1(x).transpose(1, 2).split([rows * columns for rows, columns in shapes], 2)
        maps = [self.dwconv["dwconv"](part.unflatten(2, shape)) for part, shape in zip(parts, shapes, strict=True)]
        done: Tensor = self.fc2(functional.gelu(torch.cat([made.flatten(2) for made in maps], 2).transpose(1, 2)))
        return done


class Injector(nn.Module):
    """The patches read the pyramid."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        c = config
        self.query_norm, self.feat_norm = nn.LayerNorm(c.width, eps=EPS), nn.LayerNorm(c.width, eps=EPS)
        self.attn = DeformableAttention(c.width, 3, c.deform_heads, c.points, c.deform_ratio)
        self.gamma = nn.Parameter(torch.zeros(c.width))

    def forward(self, x: Tensor, places: Tensor, pyramid: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """(B, N, C) patches, (N, 2) their places, (B, S, C) pyramid of these shapes -> (B, N, C)."""
        return x + self.gamma * self.attn(self.query_norm(x), places, self.feat_norm(pyramid), shapes)


class Extractor(nn.Module):
    """The pyramid reads the patches."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        c = config
        self.query_norm, self.feat_norm = nn.LayerNorm(c.width, eps=EPS), nn.LayerNorm(c.width, eps=EPS)
        self.attn = DeformableAttention(c.width, 1, c.deform_heads, c.points, c.deform_ratio)
        self.ffn = FeedForward(c.width, int(c.width * c.ffn_ratio))
        self.ffn_norm = nn.LayerNorm(c.width, eps=EPS)
        self.drop_path = DropPath(c.drop_path)

    def forward(self, pyramid: Tensor, places: Tensor, x: Tensor, grid: Shape, shapes: Sequence[Shape]) -> Tensor:
        """(B, S, C) pyramid of these shapes, (S, 2) its places, (B, N, C) patches of the grid -> (B, S, C)."""
        pyramid = pyramid + self.attn(self.query_norm(pyramid), places, self.feat_norm(x), [grid])
        done: Tensor = pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), shapes))
        return done


class Interaction(nn.Module):
    """What stands around some of the ViT's blocks: an injector before them, extractors after them."""

    def __init__(self, config: AdapterConfig, last: bool) -> None:
        """The `last` one has two extractors more."""
        super().__init__()
        self.injector, self.extractor = Injector(config), Extractor(config)
        extra = [Extractor(config) for _ in range(2)] if last else []
        self.extra_extractors = nn.ModuleList(extra)

    def extract(self, pyramid: Tensor, places: Tensor, x: Tensor, grid: Shape, shapes: Sequence[Shape]) -> Tensor:
        """As `Extractor`, by all extractors in turn."""
        for extractor in (self.extractor, *self.extra_extractors):
            pyramid = extractor(pyramid, places, x, grid, shapes)
        return pyramid
