"""Agglomerative clustering in plain torch, for devices without a kernel of their own; it runs on the CPU too.

Complete and average linkage: in each round all pairs of clusters that are each other's nearest merge at once (6 to 16
rounds; the host asks after each whether any is left). Such pairs merge in any order to the same tree, ties aside: of
equal distances the lowest token is the nearest, so that some pair always exists. Single linkage: Prim, as in SciPy.

Shapes: B images, N tokens.
"""

import torch
from torch import Tensor

from .tree import Tree


def tree(dist: Tensor, linkage: str) -> Tree:
    """The merges of dist (B, N, N), symmetric and infinite on the diagonal."""
    return _prim(dist) if linkage == "single" else _reciprocal(dist, linkage == "average")


def _prim(dist: Tensor) -> Tree:
    images, tokens, _ = dist.shape
    image = torch.arange(images, device=dist.device)
    into = torch.arange(tokens, device=dist.device).repeat(images, 1)
    height, found = torch.full_like(dist[:, 0], torch.inf), torch.full_like(into, tokens)
    outside = torch.ones_like(into, dtype=torch.bool)
    reach, x = torch.full_like(height, torch.inf), torch.zeros_like(image)
    for step in range(tokens - 1):
        outside[image, x] = False
        reach = torch.minimum(reach, dist[image, x])
        least, y = torch.where(outside, reach, torch.inf).min(1)
        into[image, x], height[image, x], found[image, x] = y, least, step
        x = y
    return Tree(into, height, found)


def _reciprocal(dist: Tensor, average: bool) -> Tree:
    images, tokens, _ = dist.shape
    token = torch.arange(tokens, device=dist.device).expand(images, tokens)
    into, found = token.clone(), torch.full_like(token, tokens)
    height, size = torch.full_like(dist[:, 0], torch.inf), torch.ones_like(dist[:, 0])
    for turn in range(tokens - 1):
        least, nearest = dist.min(2)
        mutual = (nearest.gather(1, nearest) == token) & least.isfinite()
        if not bool(mutual.any()):
            break
        dies, grows = mutual & (token < nearest), mutual & (token > nearest)
        into, height = torch.where(dies, nearest, into), torch.where(dies, least, height)
        found = found.masked_fill(dies, turn)
        partner = torch.where(grows, nearest, token)
        other = size.gather(1, partner)
        share = other / (other + size)
        for side in (1, 2):  # rows, then columns
            index, grown = partner.unsqueeze(3 - side).expand_as(dist), grows.unsqueeze(3 - side)
            away, part = dist.gather(side, index), share.unsqueeze(3 - side)
            both = part * away + (1 - part) * dist if average else torch.maximum(away, dist)
            dist = torch.where(grown, both, dist)
        dist = dist.masked_fill(dies.unsqueeze(1) | dies.unsqueeze(2), torch.inf)
        size = torch.where(grows, size + other, size)
    return Tree(into, height, found)
