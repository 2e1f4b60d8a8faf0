"""The feature pyramid over a backbone's maps: lateral convolutions, a path from coarse to fine, one level more.

Lin et al., 2017, arXiv:1612.03144. Held against mmdet 2.28.2 (Apache-2.0); parameters are called as there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


def convolution(inside: int, outside: int, side: int) -> nn.Sequential:
    """A convolution that keeps the map's size, called `conv` as in mmcv's ConvModule."""
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(inside, outside, side, padding=side // 2)))


class FPN(nn.Module):
    """From maps of 1/4 to 1/32 of the image to those of 1/4 to 1/64."""

    def __init__(self, width: int, channels: int, levels: int = 4) -> None:
        """`width` channels in, `channels` out."""
        super().__init__()
        self.lateral_convs = nn.ModuleList(convolution(width, channels, 1) for _ in range(levels))
        self.fpn_convs = nn.ModuleList(convolution(channels, channels, 3) for _ in range(levels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, width, h, w), fine to coarse -> one more, (B, channels, h, w)."""
        path = [lateral(level) for lateral, level in zip(self.lateral_convs, maps, strict=True)]
        for fine in range(len(path) - 2, -1, -1):
            path[fine] = path[fine] + functional.interpolate(path[fine + 1], path[fine].shape[-2:], mode="nearest")
        done = [smooth(level) for smooth, level in zip(self.fpn_convs, path, strict=True)]
        return [*done, functional.max_pool2d(done[-1], 1, stride=2)]
