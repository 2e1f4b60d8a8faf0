"""Overlap of kept patches: IoU, IoA, and what chance gives.

Shapes: `...` leading axes (image, stage) that broadcast, P patches, W = ceil(P / 64) words of packed bits.
A pattern is bool (..., P), or uint64 (..., W) as `pack` makes it: packed patterns are 8 x smaller and some 10 x faster.
Source of IoU and IoA: Haurum et al., 2023, arXiv:2308.04657; held against JoakimHaurum/TokenReduction@88fe07e,
reduction_methods_analysis/compare_pruning_{models,rates}.py. Departs: empty sets have a value (they divide by zero
there).
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from tokenlens.errors import BadInput

from .base import above_chance, metric
from .kinds import CROSSED
from .shapes import Counts, Maps, Values, Words


def pack(kept: ArrayLike) -> Words:
    """Pack bool (..., P) into uint64 (..., W), 64 patches a word, the last word filled with zeros."""
    given = np.asarray(kept)
    if given.dtype != bool and not ((given == 0) | (given == 1)).all():
        raise BadInput("a pattern is a mask of 0 and 1, one a patch; make one of a list of kept tokens, or of scores")
    kept = np.ascontiguousarray(given, dtype=bool)
    patches, words = kept.shape[-1], -(-kept.shape[-1] // 64)
    packed = np.empty((math.prod(kept.shape[:-1]), words), dtype=np.uint64)
    _pack(kept.view(np.uint8).reshape(len(packed), patches), packed)
    return packed.reshape(*kept.shape[:-1], words)


class Packed:
    """Bits (..., W) uint64 of `patches` patches: None where not told, (...) int64 where grids are ragged."""

    def __init__(self, bits: Words, patches: int | Counts | None) -> None:
        self.bits, self.patches = bits, patches

    @classmethod
    def of(cls, pattern: ArrayLike, patches: int | Counts | None = None) -> Packed:
        """From bool (..., P), or from uint64 (..., W) as `pack` makes it; `patches`: if not P, or each image's."""
        pattern = np.asarray(pattern)
        if isinstance(patches, np.ndarray):  # a number an image: the same at all stages
            spread = np.reshape(patches, (-1, *[1] * (pattern.ndim - 2)))
            patches = np.broadcast_to(spread, pattern.shape[:-1])
        if pattern.dtype == np.uint64:
            return cls(np.ascontiguousarray(pattern), patches)
        return cls(pack(pattern), pattern.shape[-1] if patches is None else patches)

    @cached_property
    def size(self) -> Counts:
        """How many patches are kept, (...) int64."""
        return _over(_intersection, self.bits, self.bits, np.int64)

    def __getitem__(self, where: Any) -> Packed:
        """Some of the images and stages."""
        many = self.patches
        part = Packed(self.bits[where], many[where] if isinstance(many, np.ndarray) else many)
        part.size = self.size[where]
        return part


class Overlap:
    """Two patterns beside each other: what several metrics are computed of, each once, when it is first asked for."""

    def __init__(self, a: ArrayLike | Packed, b: ArrayLike | Packed, patches: int | None = None) -> None:
        """`patches` has to be given for patterns from `pack` of which a chance level is asked."""
        self.a, self.b = (x if isinstance(x, Packed) else Packed.of(x, patches) for x in (a, b))
        same: Any = self.a.patches == self.b.patches
        if not np.all(same) or self.a.bits.shape[-1] != self.b.bits.shape[-1]:
            shapes = " and ".join(f"{x.shape} ({x.dtype})" for x in (np.asarray(a), np.asarray(b)))
            raise BadInput(
                f"patterns of shape {shapes} lie on different grids; "
                "compare runs with the same number of patches, both packed or neither"
            )

    @property
    def patches(self) -> int | Counts:
        """How many patches the grid has, or each image's, (...)."""
        if self.a.patches is None:
            raise BadInput("packed patterns do not say how many patches they have; pass patches=")
        return self.a.patches

    @cached_property
    def common(self) -> Counts:
        """How many patches both keep, (...)."""
        return _over(_intersection, self.a.bits, self.b.bits, np.int64)

    @property
    def smaller(self) -> Counts:
        """How many patches the smaller of the two keeps, (...)."""
        return np.minimum(self.a.size, self.b.size)

    @cached_property
    def iou(self) -> Values:
        """Intersection over union, (...)."""
        return _over(_iou, self.a.bits, self.b.bits, np.float64)

    @cached_property
    def expected_iou(self) -> Values:
        """Mean IoU of two random patterns of these sizes, (...)."""
        return expected_iou(self.a.size, self.b.size, self.patches)

    def share(self, whole: Packed, empty: float) -> Values:
        """How much of the whole, which is one of the two, both keep, (...); `empty` where it holds nothing."""
        common, area = self.common, whole.size
        return np.divide(common, area, out=np.full(common.shape, empty), where=area > 0)


def size(kept: ArrayLike) -> Counts:
    """Count the patches kept: (..., P) bool or (..., W) packed -> (...) int64."""
    return Packed.of(kept).size


def intersection(a: ArrayLike, b: ArrayLike) -> Counts:
    """Count the patches that both keep: (..., P) x (..., P) -> (...) int64."""
    return Overlap(a, b).common


SETS: dict[str, Any] = {"shared": Overlap, "packed": True}


@metric("iou", of="kept", label="IoU", chance=lambda both: both.expected_iou, **SETS)
def iou(both: Overlap) -> Values:
    """Intersection over union, in 0..1: (..., P) x (..., P) -> (...) float64.

    Two empty patterns are the same pattern: 1. One empty pattern against another that is not: 0.
    """
    return both.iou


@metric("corrected_iou", of="kept", range=(-1.0, 1.0), label="IoU above chance", chance=0.0, **SETS)
def corrected_iou(both: Overlap) -> Values:
    """IoU above chance, (IoU - E) / (1 - E): 0 is what random patterns of the same sizes give, 1 is the same pattern.

    E is `expected_iou`. `patches` has to be given, third, for packed patterns. Where E is 1 (both full or both empty)
    they are the same pattern: 1. Two patterns of different sizes cannot reach 1, and patterns that avoid each other are
    below 0. Not in the study.
    """
    above = above_chance(both.iou, both.expected_iou, "iou")
    return np.where(np.isnan(above), 1.0, above)


@metric(
    "overlap_coefficient", of="kept", label="overlap",
    chance=lambda both: np.where(both.smaller > 0, np.maximum(both.a.size, both.b.size) / both.patches, 1.0), **SETS,
)  # fmt: skip
def overlap_coefficient(both: Overlap) -> Values:
    """Overlap coefficient |a and b| / min(|a|, |b|), in 0..1: (..., P) x (..., P) -> (...) float64.

    1 where one pattern holds the other, whatever their sizes, which IoU reaches for equal sizes alone; 1 where one is
    empty. Simpson, American Journal of Science 1943. Not in the study.
    """
    return np.divide(both.common, both.smaller, out=np.ones(both.common.shape), where=both.smaller > 0)


@metric(
    "ioa", of="kept", axes=("keep_rate", CROSSED), swap=None, label="IoA",
    chance=lambda both: np.where(both.b.size > 0, both.a.size / both.patches, 1.0), **SETS,
)  # fmt: skip
def ioa(both: Overlap) -> Values:
    """Intersection over the area of `b`, the pattern of the smaller keep rate, in 0..1; 1 where `b` is empty."""
    return both.share(both.b, empty=1.0)


def expected_iou(size_a: ArrayLike, size_b: ArrayLike, patches: int | Counts) -> Values:
    """Mean IoU of two random patterns of these sizes out of `patches`, each int (...) -> (...) float64.

    Closed form: the intersection of two random sets is hypergeometric, so this is the sum over k of P(k) k / (a + b -
    k). Raises BadInput where a size is outside 0..patches.
    """
    a, b, every = np.broadcast_arrays(*(np.asarray(one, dtype=np.int64) for one in (size_a, size_b, patches)))
    if wrong := [n for n in (every[(np.minimum(a, b) < 0) | (np.maximum(a, b) > every)]).ravel()]:
        raise BadInput(
            f"a pattern's size must lie between 0 and the {wrong[0]} patches there are; check the sizes given"
        )
    found = np.empty(a.shape)
    for grid in np.unique(patches).tolist():
        there = every == grid
        found[there] = _expected_iou(a[there], b[there], grid, *_tables(grid))
    return found


def _over(kernel: Any, a: Words, b: Words, dtype: type) -> NDArray[Any]:
    """Run a kernel over bits (n, W) x (n, W) and give the leading axes back."""
    if a.shape != b.shape:
        a, b = (np.ascontiguousarray(x) for x in np.broadcast_arrays(a, b))
    leading, words = a.shape[:-1], a.shape[-1]
    out: NDArray[Any] = np.empty(math.prod(leading), dtype=dtype)
    kernel(a.reshape(len(out), words), b.reshape(len(out), words), out)
    return out.reshape(leading)


@lru_cache(maxsize=8)
def _tables(patches: int) -> tuple[Maps, Maps]:
    """Log k! for k up to `patches`, and room to remember results on up to 1,024 patches."""
    log_factorial = np.array([math.lgamma(k + 1) for k in range(patches + 1)])
    side = patches + 1 if patches <= 1024 else 0
    return log_factorial, np.full((side, side), np.nan)


@intrinsic
def _bits(typingctx: Any, word: Any) -> Any:
    """Count bits by LLVM's own instruction: numba offers none."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


_popcount: Any = _bits  # a type checker sees the two arguments of the definition, compiled code the one of the call


@njit(cache=True, nogil=True)
def _pack(kept: Any, packed: Any) -> None:
    patches = kept.shape[1]
    for i in range(kept.shape[0]):
        for w in range(packed.shape[1]):
            word = np.uint64(0)
            for j in range(min(64, patches - 64 * w)):
                word |= np.uint64(kept[i, 64 * w + j]) << np.uint64(j)
            packed[i, w] = word


@njit(cache=True, nogil=True)
def _intersection(a: Any, b: Any, out: Any) -> None:
    for i in range(a.shape[0]):
        common = np.uint64(0)
        for w in range(a.shape[1]):
            common += _popcount(a[i, w] & b[i, w])
        out[i] = common


@njit(cache=True, nogil=True)
def _iou(a: Any, b: Any, out: Any) -> None:
    for i in range(a.shape[0]):
        common, union = np.uint64(0), np.uint64(0)
        for w in range(a.shape[1]):
            common += _popcount(a[i, w] & b[i, w])
            union += _popcount(a[i, w] | b[i, w])
        out[i] = np.float64(common) / np.float64(union) if union else 1.0


@njit(cache=True, nogil=True)
def _expected_iou(a: Any, b: Any, patches: int, log_factorial: Any, memo: Any) -> Any:
    out = np.empty(a.shape[0])
    f = log_factorial
    for i in range(a.shape[0]):
        x, y = a[i], b[i]
        if memo.shape[0] and not np.isnan(memo[x, y]):
            out[i] = memo[x, y]
            continue
        total = 1.0 if x + y == 0 else 0.0
        ways = f[patches] - f[y] - f[patches - y]
        for k in range(max(1, x + y - patches), min(x, y) + 1):
            log_p = f[x] - f[k] - f[x - k] + f[patches - x] - f[y - k] - f[patches - x - y + k] - ways
            total += np.exp(log_p) * k / (x + y - k)
        if memo.shape[0]:
            memo[x, y] = total
        out[i] = total
    return out
