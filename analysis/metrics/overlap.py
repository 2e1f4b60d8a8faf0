"""Overlap of kept patches: IoU, IoA, what chance gives, and how much of the object is kept.

Shapes: `...` leading axes (image, stage) that broadcast, P patches, W = ceil(P / 64) words of packed bits.
A pattern is bool (..., P), or uint64 (..., W) as `pack` makes it: packed patterns are 8 x smaller and some 10 x faster.
Source of IoU and IoA: Haurum et al., 2023, arXiv:2308.04657; held against JoakimHaurum/TokenReduction@88fe07e,
reduction_methods_analysis/compare_pruning_{models,rates}.py. Departs: empty sets have a value (they divide by zero
there).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from tokenlens.errors import BadInput

Floats = NDArray[np.float64]


def pack(kept: ArrayLike) -> NDArray[np.uint64]:
    """Pack bool (..., P) into uint64 (..., W), 64 patches a word, the last word filled with zeros."""
    given = np.asarray(kept)
    if given.dtype != bool and not ((given == 0) | (given == 1)).all():
        raise BadInput("a pattern is a mask of 0 and 1, one a patch; make one of a list of kept tokens, or of scores")
    kept = np.ascontiguousarray(given, dtype=bool)
    patches, words = kept.shape[-1], -(-kept.shape[-1] // 64)
    packed = np.empty((math.prod(kept.shape[:-1]), words), dtype=np.uint64)
    _pack(kept.view(np.uint8).reshape(len(packed), patches), packed)
    return packed.reshape(*kept.shape[:-1], words)


def size(kept: ArrayLike) -> NDArray[np.int64]:
    """Count the patches kept: (..., P) bool or (..., W) packed -> (...) int64."""
    return intersection(kept, kept)


def intersection(a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
    """Count the patches that both keep: (..., P) x (..., P) -> (...) int64."""
    return _over(_intersection, a, b, np.int64)


def iou(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over union, in 0..1: (..., P) x (..., P) -> (...) float64.

    Two empty patterns are the same pattern: 1. One empty pattern against another that is not: 0.
    """
    return _over(_iou, a, b, np.float64)


def ioa(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over the area of `b`, the pattern of the smaller keep rate, in 0..1; 1 where `b` is empty."""
    return _over(_ioa, a, b, np.float64)


def expected_iou(size_a: ArrayLike, size_b: ArrayLike, patches: int) -> Floats:
    """Mean IoU of two random patterns of these sizes out of `patches`: int (...) x int (...) -> (...) float64.

    Closed form: the intersection of two random sets is hypergeometric, so this is the sum over k of P(k) k / (a + b -
    k). Raises BadInput where a size is outside 0..patches.
    """
    a, b = np.broadcast_arrays(np.asarray(size_a, dtype=np.int64), np.asarray(size_b, dtype=np.int64))
    if a.size and (min(a.min(), b.min()) < 0 or max(a.max(), b.max()) > patches):
        raise BadInput(
            f"a pattern's size must lie between 0 and the {patches} patches there are; check the sizes given"
        )
    log_factorial, memo = _tables(patches)
    flat = _expected_iou(np.ascontiguousarray(a).ravel(), np.ascontiguousarray(b).ravel(), patches, log_factorial, memo)
    return np.asarray(flat).reshape(a.shape)


def corrected_iou(a: ArrayLike, b: ArrayLike, patches: int | None = None) -> Floats:
    """IoU above chance, (IoU - E) / (1 - E): 0 is what random patterns of the same sizes give, 1 is the same pattern.

    E is `expected_iou`. `patches` has to be given for packed patterns. Where E is 1 (both full or both empty), 1.
    Two patterns of different sizes cannot reach 1, and patterns that avoid each other are below 0. Not in the study.
    """
    a, b = np.asarray(a), np.asarray(b)
    if patches is None:
        if a.dtype == np.uint64:
            raise BadInput("packed patterns do not say how many patches they have; pass patches=")
        patches = a.shape[-1]
    value, chance = iou(a, b), expected_iou(size(a), size(b), patches)
    return corrected(value, chance)


def corrected(value: ArrayLike, chance: ArrayLike) -> Floats:
    """Scale a similarity so that its chance level is 0 and its best value 1; 1 where chance itself is 1."""
    value, chance = np.asarray(value, dtype=np.float64), np.asarray(chance, dtype=np.float64)
    room = 1 - chance
    return np.where(room > 0, (value - chance) / np.where(room > 0, room, 1), 1.0)


def foreground_recall(kept: ArrayLike, objects: ArrayLike) -> Floats:
    """Share of the object's patches that are kept, in 0..1; NaN where the image has no object. Chance: share kept."""
    return _share(kept, objects, objects)


def foreground_precision(kept: ArrayLike, objects: ArrayLike) -> Floats:
    """Share of the kept patches that are object, in 0..1; NaN where nothing is kept. Chance: share that is object."""
    return _share(kept, objects, kept)


def _share(kept: ArrayLike, objects: ArrayLike, whole: ArrayLike) -> Floats:
    """Count kept & objects over the size of `whole`, NaN where that is 0."""
    common, area = intersection(kept, objects), size(whole).astype(np.float64)
    return np.divide(common, area, out=np.full(np.broadcast(common, area).shape, np.nan), where=area > 0)


def _packed(pattern: NDArray[Any]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(pattern) if pattern.dtype == np.uint64 else pack(pattern)


def _over(kernel: Any, a: ArrayLike, b: ArrayLike, dtype: type) -> NDArray[Any]:
    """Run a kernel over (n, W) x (n, W) and give the leading axes back."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape[-1] != b.shape[-1] or (a.dtype == np.uint64) != (b.dtype == np.uint64):
        raise BadInput(
            f"patterns of shape {a.shape} ({a.dtype}) and {b.shape} ({b.dtype}) lie on different grids; "
            "compare runs with the same number of patches, both packed or neither"
        )
    bits_a, bits_b = _packed(a), _packed(b)
    if bits_a.shape != bits_b.shape:
        bits_a, bits_b = (np.ascontiguousarray(x) for x in np.broadcast_arrays(bits_a, bits_b))
    leading, words = bits_a.shape[:-1], bits_a.shape[-1]
    out: NDArray[Any] = np.empty(math.prod(leading), dtype=dtype)
    kernel(bits_a.reshape(len(out), words), bits_b.reshape(len(out), words), out)
    return out.reshape(leading)


@lru_cache(maxsize=8)
def _tables(patches: int) -> tuple[Floats, Floats]:
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
def _ioa(a: Any, b: Any, out: Any) -> None:
    for i in range(a.shape[0]):
        common, area = np.uint64(0), np.uint64(0)
        for w in range(a.shape[1]):
            common += _popcount(a[i, w] & b[i, w])
            area += _popcount(b[i, w])
        out[i] = np.float64(common) / np.float64(area) if area else 1.0


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
