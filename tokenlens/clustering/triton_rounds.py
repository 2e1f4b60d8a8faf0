"""Complete and average linkage of thousands of tokens on CUDA: many merges at once, by all processors.

One program that walks alone through 4,096 tokens makes some 11,000 dependent visits to rows. Here all programs share an
image. In each of a number of rounds all pairs of clusters that are each other's only nearest merge, which gives the
chain's tree (`rounds` says why). `_pair` finds them, one program an image, by what `_carry` left: it visits each living
row once, writes what merges change in it, and finds its nearest. A row depends on itself and on that of a cluster that
died into it, which nobody writes: rows need no order, and no column is ever written. The number of rounds is the same
for all images, so that nothing is asked of the host and all can be captured in a graph; an image without such pairs
costs a look at a flag.

What is left then is walked as in SciPy (`triton_walk`): where distances tie, and the last clusters if rounds
were too few. Two things hang on the order in which SciPy finds merges, which is not known here: which of two that are
equally high the cut carries out, and, where two means are all but equal, how they were rounded. An image in which this
decides anything is in doubt, and is walked from its beginning, as slowly as if there were no rounds.

Estimated, not measured, for 4,096 tokens: random and clustered ones take 46 to 114 rounds, and rows are visited 8 N to
19 N times (as counted on the CPU); 48 rounds leave 1 to 500 clusters. Average linkage reads and writes 1 to 2.5 GB an
image, complete half of it: about a millisecond of an H100's memory bandwidth at most, beside 99 launches.

Memory: the distances twice, since what is in doubt begins again.
Shapes: B images, N tokens, BLOCK the next power of two of N, PART of them at a time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tree import Tree
from .triton_kernels import EXACT
from .triton_walk import State, begin, walk, warps

ROUNDS = 48
"""launched for every image; what they leave is walked"""
PROGRAMS = 1056
"""that visit rows: eight for each processor of a Hopper, whatever the batch"""
PART = 512
"""tokens of a row in registers at once, four a thread: more would spill, or leave room for fewer programs"""


def tree(dist: Tensor, merges: Tensor, linkage: str) -> Tree:
    """The merges of dist (B, N, N) contiguous, symmetric and infinite on the diagonal; it is overwritten.

    Cut after `merges` (B,), the tree gives SciPy's partition; elsewhere merges of equal height may be in another order.
    """
    state = begin(dist, linkage)
    if dist.numel() and dist.shape[1] > 1:
        if linkage != "single":
            _merge_at_once(dist.clone(), merges, linkage, state)
        walk(dist, linkage, state)
    return Tree(state.into, state.height, state.found)


def _merge_at_once(dist: Tensor, merges: Tensor, linkage: str, state: State) -> None:
    """Leave in doubt what must be walked from the beginning; dist is overwritten."""
    images, tokens, _ = dist.shape
    state.doubt.zero_()
    near, busy = torch.empty_like(state.mate), torch.ones_like(state.doubt)
    least = torch.empty_like(state.height)
    block, grid = triton.next_power_of_2(tokens), (min(tokens, -(-PROGRAMS // images)), images)
    part = min(PART, block)
    for turn in range(ROUNDS + 1):
        _carry[grid](
            dist, state.mate, state.size, least, near, busy, state.slack, tokens, PART=part,
            AVERAGE=linkage == "average", num_warps=max(1, part // 128), **EXACT,
        )  # fmt: skip
        if turn < ROUNDS:
            _pair[(images,)](
                least, near, state.into, state.height, state.found, state.mate, state.size, busy, turn, tokens,
                BLOCK=block, num_warps=warps(block),
            )  # fmt: skip
    walk(dist, linkage, state, rest=True)
    state.doubt.logical_or_(_cuts_between_equals(state, merges))


def _cuts_between_equals(state: State, merges: Tensor) -> Tensor:
    """(B,) whether the last merge that is carried out is as high as the first that is not."""
    height, last = state.height.sort(1).values, merges.unsqueeze(1)
    apart = height.gather(1, last) - height.gather(1, (last - 1).clamp(min=0))
    return (merges > 0) & (apart[:, 0] <= state.slack)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _join(dies, grows, of_dies, of_grows, AVERAGE: tl.constexpr):  # type: ignore[no-untyped-def]
    if AVERAGE:
        return (of_dies * dies + of_grows * grows) / (of_dies + of_grows)
    else:
        return tl.maximum(dies, grows)


@triton.jit(do_not_specialize=["turn"])  # type: ignore[untyped-decorator, unused-ignore]
def _pair(least, near, into, height, found, mate, size, busy, turn, tokens, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Pair the clusters of one image that are each other's only nearest; the lower goes into the higher."""
    image = tl.program_id(0).to(tl.int64)
    token, start = tl.arange(0, BLOCK), image * tokens
    alive = tl.load(mate + start + token, mask=token < tokens, other=-1) >= 0
    to = tl.load(near + start + token, mask=alive, other=-1)
    mutual = (to >= 0) & (tl.load(near + start + to, mask=to >= 0, other=-1) == token)
    dies, grows = mutual & (token < to), mutual & (token > to)
    tl.store(into + start + token, to.to(tl.int64), mask=dies)
    tl.store(height + start + token, tl.load(least + start + token, mask=dies, other=0.0), mask=dies)
    tl.store(found + start + token, turn.to(tl.int64), mask=dies)
    both = tl.load(size + start + token, mask=grows, other=0.0) + tl.load(size + start + to, mask=grows, other=0.0)
    tl.store(size + start + token, both, mask=grows)
    tl.store(mate + start + token, tl.where(dies, -1, tl.where(grows, to, token)), mask=alive)
    tl.store(busy + image, tl.max(mutual.to(tl.int32), axis=0))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _carry(dist, mate, size, least, near, busy, slack, tokens, PART: tl.constexpr, AVERAGE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Carry out one image's merges in each living row, and find its nearest: -1 if there are several.

    mate is -1 for what is dead, the cluster itself for what stays, and the one that died into it for what grew. Of two
    clusters that both grew the lower one's merge comes first, in either's row: rows and columns are equal to the bit.
    """
    image = tl.program_id(1).to(tl.int64)
    if tl.load(busy + image) != 0:
        mate, size = mate + image * tokens, size + image * tokens
        least, near = least + image * tokens, near + image * tokens
        dist += image * tokens * tokens
        lane = tl.arange(0, PART)
        for x in range(tl.program_id(0), tokens, tl.num_programs(0)):
            partner = tl.load(mate + x)
            if partner >= 0:
                best = tl.full([PART], float("inf"), dist.dtype.element_ty)  # of each lane, and its second best
                second, place = best, lane
                for first in range(0, tokens, PART):
                    token = first + lane
                    away = _row(dist, mate, size, x, partner, token, tokens, AVERAGE)
                    place = tl.where(away < best, token, place)
                    second = tl.minimum(second, tl.maximum(best, away))
                    best = tl.minimum(best, away)
                nearest, at = tl.min(best, axis=0, return_indices=True)
                other = tl.min(tl.where(lane == at, second, best), axis=0)
                place = tl.where(other <= nearest + tl.load(slack + image), -1, place)
                tl.store(least + x, nearest)
                tl.store(near + x + lane * 0, place, mask=lane == at)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _row(dist, mate, size, x, partner, token, tokens, AVERAGE: tl.constexpr):  # type: ignore[no-untyped-def]
    """What row x holds of these tokens after the merges; partner is what died into x, or x."""
    mates = tl.load(mate + token, mask=token < tokens, other=-1)
    alive = mates >= 0
    grown = alive & (mates != token)
    of_dies = tl.load(size + mates, mask=grown, other=1.0)
    of_grows = tl.load(size + token, mask=grown, other=2.0) - of_dies
    row = dist + x * tokens
    own = tl.load(row + token, mask=alive, other=float("inf"))
    own_dies = tl.load(row + mates, mask=grown, other=0.0)  # what is dead is written by nobody
    if partner != x:
        row_dies = dist + partner * tokens
        other = tl.load(row_dies + token, mask=alive, other=float("inf"))
        other_dies = tl.load(row_dies + mates, mask=grown, other=0.0)
        x_dies = tl.load(size + partner)
        x_grows = tl.load(size + x) - x_dies
        x_first = (x < token) | (mates == token)  # of two merges the lower cluster's; or the only one
        dies, grows = tl.where(x_first, x_dies, of_dies), tl.where(x_first, x_grows, of_grows)
        one = _join(tl.where(x_first, other, own_dies), own, dies, grows, AVERAGE)
        two = _join(other_dies, tl.where(x_first, own_dies, other), dies, grows, AVERAGE)
        dies, grows = tl.where(x_first, of_dies, x_dies), tl.where(x_first, of_grows, x_grows)
        away, changed = tl.where(grown, _join(two, one, dies, grows, AVERAGE), one), alive
    else:
        away, changed = tl.where(grown, _join(own_dies, own, of_dies, of_grows, AVERAGE), own), grown
    tl.store(row + token, away, mask=changed)
    return away
