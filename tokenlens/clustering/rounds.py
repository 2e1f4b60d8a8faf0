"""Agglomerative clustering by many merges at once, in plain torch; it runs on any device, the CPU too.

In a round all pairs of clusters that are each other's only nearest merge. Under complete and average linkage this gives
the tree of the nearest-neighbour chain, which merges one pair after the other (`linkage`): no cluster is nearer to a
merged one than to the nearer of its parts, so such a pair stays each other's only nearest until it merges, whatever
else does; and a chain that comes to one of the two goes on to the other, merges them, and is back where it came from.
Where a nearest cluster has an equal, the choice depends on where the chain comes from: such pairs wait, and an image
without others merges the one that the chain finds first. So ties fall as in SciPy, but for two things that hang on the
order in which the chain finds its merges: which of two equally high ones the cut carries out, and the last bit of means
(`triton_rounds` sees where these decide anything). Means that rounding may have set apart count as equal (`slack`).

Single linkage: Prim, as in SciPy. Shapes: B images, N tokens.
"""

import torch
from torch import Tensor

from .tree import Tree


def tree(dist: Tensor, linkage: str) -> Tree:
    """The merges of dist (B, N, N), symmetric and infinite on the diagonal."""
    return _prim(dist) if linkage == "single" else _reciprocal(dist, linkage == "average")


def slack(dist: Tensor, linkage: str) -> Tensor:
    """(B,) how far two distances may lie apart, and be equal but for the order in which merges rounded them.

    Only means are rounded: by 4 u of the greatest distance at most (u half of epsilon) each time one of their clusters
    merges, at most N times; and two are compared, each held against another order. Means in float32, where there is no
    float64 (MPS), are as they come.
    """
    images, tokens, _ = dist.shape
    if linkage != "average" or dist.dtype != torch.float64 or tokens < 2:
        return dist.new_zeros(images)
    beside = dist.flatten(1)[:, 1:].view(images, tokens - 1, tokens + 1)[:, :, :-1]  # the diagonal, which is infinite
    greatest = torch.maximum(beside.amax((1, 2)), -beside.amin((1, 2)))
    return 8 * tokens * torch.finfo(dist.dtype).eps * greatest


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
    near_enough = slack(dist, "average" if average else "complete").view(-1, 1, 1)
    for turn in range(tokens - 1):
        least, nearest = dist.min(2)  # of equal ones the first
        only = (dist <= least.unsqueeze(2) + near_enough).sum(2) == 1
        mutual = (nearest.gather(1, nearest) == token) & only & only.gather(1, nearest)
        x, y = _first_of_chain(least, nearest)
        waiting = ~mutual.any(1, keepdim=True)
        nearest = torch.where(waiting, nearest.scatter(1, y, x), nearest)
        mutual = torch.where(waiting, (token == x) | (token == y), mutual) & least.isfinite()
        if not bool(mutual.any()):
            break
        dies, grows = mutual & (token < nearest), mutual & (token > nearest)
        into, height = torch.where(dies, nearest, into), torch.where(dies, least, height)
        found = found.masked_fill(dies, turn)
        partner = torch.where(grows, nearest, token)
        other = size.gather(1, partner)
        for side in (1, 2):  # rows, then columns
            index, grown = partner.unsqueeze(3 - side).expand_as(dist), grows.unsqueeze(3 - side)
            away, theirs, ours = dist.gather(side, index), other.unsqueeze(3 - side), size.unsqueeze(3 - side)
            both = (theirs * away + ours * dist) / (theirs + ours) if average else torch.maximum(away, dist)
            dist = torch.where(grown, both, dist)
        dist = torch.where(token.unsqueeze(2) < token.unsqueeze(1), dist, dist.mT)  # means to the last bit, too
        dist = dist.masked_fill(dies.unsqueeze(1) | dies.unsqueeze(2), torch.inf)
        size = torch.where(grows, size + other, size)
    return Tree(into, height, found)


def _first_of_chain(least: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """The pair (B, 1) that the chain merges first: of the first living token to ever nearer ones, until it can't."""
    x = least.isfinite().int().argmax(1, keepdim=True)
    y = nearest.gather(1, x)
    while bool((nearer := least.gather(1, y) < least.gather(1, x)).any()):
        x = torch.where(nearer, y, x)
        y = nearest.gather(1, x)
    return x, y
