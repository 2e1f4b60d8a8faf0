"""The merges of many images, and where a tree is cut; plain torch, on any device.

A merge is told of the token that dies in it. Shapes: B images, N tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Tree(NamedTuple):
    """All merges of each image, by the token that dies."""

    into: Tensor
    """(B, N) int64, a token of the cluster that it goes into; itself if it dies in no merge"""
    height: Tensor
    """(B, N) float, their distance; infinite if it dies in none"""
    found: Tensor
    """(B, N) int64, the merge's place in the order in which they were found; N if it dies in none"""


def cut(tree: Tree, merges: Tensor) -> Tensor:
    """Carry out the first `merges` (B,) of the merges by (height, order found): labels (B, N) by first member."""
    images, tokens = tree.into.shape
    token = torch.arange(tokens, device=merges.device).expand(images, tokens)
    order = tree.found.argsort(dim=1)
    order = order.gather(1, tree.height.gather(1, order).argsort(dim=1, stable=True))
    place = torch.empty_like(order).scatter(1, order, token)
    root = torch.where(place < merges.unsqueeze(1), tree.into, token)
    for _ in range(tokens.bit_length()):  # each look goes twice as far
        root = root.gather(1, root)
    first = torch.full_like(root, tokens).scatter_reduce(1, root, token, "amin").gather(1, root)
    return ((first == token).cumsum(1) - 1).gather(1, first)
