"""Agreement of partitions: which patches share a token. Homogeneity, completeness, V-measure, AMI, ARI.

Shapes: `...` leading axes (image, stage) that broadcast, P patches. A partition is any integer (..., P): patches with
the same number share a token, a negative number is a dropped patch. Numbers themselves mean nothing.
A patch dropped in either partition is left out of both: what is compared is how the patches that both runs still hold
are grouped. Where none is left the two agree on all there is: 1 for every measure here (as scikit-learn has it).
Sources: Rosenberg & Hirschberg, 2007 (V-measure); Vinh, Epps & Bailey, JMLR 11, 2010 (expected and adjusted mutual
information); Hubert & Arabie, 1985 (adjusted Rand). The study calls the V-measure NMI (arithmetic mean); held against
JoakimHaurum/TokenReduction@88fe07e, reduction_methods_analysis/compare_merging_models.py. Natural logarithms.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenlens.errors import BadInput

from . import partition_kernels
from .base import metric
from .kinds import CROSSED, IMAGE_BY_IMAGE
from .shapes import Maps, Values

MOST_CELLS = 4096  # patches up to which the table of all pairs of groups is held, in 32 MB
Labels: TypeAlias = NDArray[np.int16] | NDArray[np.int32]


class Agreement(NamedTuple):
    """Homogeneity, completeness and V-measure of two partitions, each (...) float64 in 0..1."""

    homogeneity: Values
    completeness: Values
    vmeasure: Values


class Information(NamedTuple):
    """Mutual information of two partitions and their entropies, each (...) float64 in nats."""

    mutual: Values
    entropy_a: Values
    entropy_b: Values


class Groupings:
    """Two partitions beside each other: what several measures are computed of, each when it is first asked for."""

    def __init__(self, a: ArrayLike, b: ArrayLike) -> None:
        self.a, self.b = a, b

    @cached_property
    def information(self) -> Information:
        """Mutual information and entropies, each (...)."""
        return information(self.a, self.b)

    @cached_property
    def expected(self) -> Values:
        """Mutual information by chance, (...)."""
        return expected_mutual_information(self.a, self.b)

    @cached_property
    def agreement(self) -> Agreement:
        """The three ratios, each (...)."""
        return agreement(self.information)

    @cached_property
    def chance(self) -> Agreement:
        """The three ratios by chance, each (...)."""
        return agreement(self.information._replace(mutual=self.expected))


def homogeneity_completeness_vmeasure(a: ArrayLike, b: ArrayLike) -> Agreement:
    """Compare partition `b` with the reference partition `a`: (..., P) x (..., P) -> three (...) float64 in 0..1.

    Homogeneity is I(a, b) / H(a): 1 where every group of `b` lies in one group of `a`. Completeness is I(a, b) / H(b).
    The V-measure 2 I / (H(a) + H(b)) is symmetric. A partition with a single group has no entropy: its ratio is 1.
    """
    return Groupings(a, b).agreement


def expected_agreement(a: ArrayLike, b: ArrayLike) -> Agreement:
    """Chance levels of the three: their mean over partitions with the same group sizes, patches shuffled.

    Exact: shuffling leaves both entropies as they are, so only I is replaced by its expectation.
    """
    return Groupings(a, b).chance


@metric(
    "homogeneity", of="group", axes=(*IMAGE_BY_IMAGE, CROSSED), swap="completeness", shared=Groupings,
    chance=lambda both: both.chance.homogeneity,
)  # fmt: skip
def homogeneity(both: Groupings) -> Values:
    """How far each group of `b` lies in one group of `a`, I / H(a), in 0..1: (..., P) x (..., P) -> (...) float64."""
    return both.agreement.homogeneity


@metric(
    "completeness", of="group", axes=(*IMAGE_BY_IMAGE, CROSSED), swap="homogeneity", shared=Groupings,
    chance=lambda both: both.chance.completeness,
)  # fmt: skip
def completeness(both: Groupings) -> Values:
    """How far each group of `a` lies in one group of `b`, I / H(b), in 0..1: (..., P) x (..., P) -> (...) float64."""
    return both.agreement.completeness


@metric("vmeasure", of="group", label="NMI", shared=Groupings, chance=lambda both: both.chance.vmeasure)
def vmeasure(both: Groupings) -> Values:
    """Harmonic mean of the two, in 0..1: (..., P) x (..., P) -> (...) float64."""
    return both.agreement.vmeasure


@metric("ami", of="group", range=(-1.0, 1.0), label="AMI", shared=Groupings, chance=0.0)
def adjusted_mutual_information(both: Groupings) -> Values:
    """Mutual information above chance, (I - E[I]) / (mean(H) - E[I]): (..., P) x (..., P) -> (...) float64.

    0 by chance, 1 for the same partition.
    """
    return adjusted(both.information, both.expected)


def adjusted(inside: Information, expected: Values) -> Values:
    """AMI from what is known already: `information` and `expected_mutual_information`. No room above chance: 1 or 0."""
    most = (inside.entropy_a + inside.entropy_b) / 2
    room, gain = most - expected, inside.mutual - expected
    tiny = 1e-12 * np.maximum(1, most)  # all singletons or one group: chance is already the most there can be
    same = np.where(np.abs(inside.mutual - most) <= tiny, 1.0, 0.0)
    return np.where(room > tiny, gain / np.where(room > tiny, room, 1), same)


@metric("ari", of="group", range=(-1.0, 1.0), label="ARI", chance=0.0)
def adjusted_rand(a: ArrayLike, b: ArrayLike) -> Values:
    """Rand index above chance: (..., P) x (..., P) -> (...) float64, 0 by chance, 1 for the same partition."""
    count, both, in_a, in_b = _sums(a, b, _squares)
    both, in_a, in_b = ((x - count) / 2 for x in (both, in_a, in_b))  # pairs of patches that share a group
    pairs = np.maximum(count * (count - 1) / 2, 1)
    expected, most = in_a * in_b / pairs, (in_a + in_b) / 2
    same = (both == in_a) & (both == in_b)
    return np.where(same, 1.0, (both - expected) / np.where(same, 1, most - expected))


def information(a: ArrayLike, b: ArrayLike) -> Information:
    """Mutual information and both entropies, in nats: (..., P) x (..., P) -> three (...) float64."""
    count, both, in_a, in_b = _sums(a, b, _xlogx)
    whole = np.where(count > 0, count, 1)
    top = whole * np.log(whole)
    mutual = (top + both - in_a - in_b) / whole
    mutual = np.where(mutual < np.finfo(np.float64).eps, 0.0, mutual)  # rounding, as scikit-learn treats it
    return Information(mutual, np.maximum(top - in_a, 0) / whole, np.maximum(top - in_b, 0) / whole)


def expected_mutual_information(a: ArrayLike, b: ArrayLike) -> Values:
    """Mean mutual information when the patches of `b` are shuffled, in nats (hypergeometric model of Vinh et al.)."""
    flat_a, flat_b, leading = _prepare(a, b)
    log_factorial, memo = _tables(flat_a.shape[-1])
    return np.asarray(partition_kernels.expected(flat_a, flat_b, log_factorial, memo)).reshape(leading)


def canonical(labels: ArrayLike) -> NDArray[np.int16] | NDArray[np.int32]:
    """Renumber groups by first occurrence, 0, 1, ...; dropped patches become -1: integer (..., P) -> int16 (..., P).

    int32 where there are more patches than int16 can number, each of which may be a group.
    """
    labels = np.ascontiguousarray(labels)
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
        raise BadInput("groups are whole numbers, one a patch, -1 where it is dropped; of shares take the largest")
    wide = labels.shape[-1] > np.iinfo(np.int16).max
    out = np.empty((math.prod(labels.shape[:-1]), labels.shape[-1]), dtype=np.int32 if wide else np.int16)
    partition_kernels.canonical(labels.reshape(out.shape), out)
    return out.reshape(labels.shape)


def agreement(inside: Information) -> Agreement:
    """The three ratios from what is known already: each is 1 where the entropy it divides by is 0."""
    mutual, entropy_a, entropy_b = inside
    both = entropy_a + entropy_b
    parts = ((mutual, entropy_a), (mutual, entropy_b), (2 * mutual, both))
    return Agreement(*(np.where(h > 0, np.minimum(m / np.where(h > 0, h, 1), 1), 1.0) for m, h in parts))


def _sums(a: ArrayLike, b: ArrayLike, table: Any) -> list[Values]:
    """Count the patches, and sum table[size] over the cells, rows and columns of the contingency table."""
    flat_a, flat_b, leading = _prepare(a, b)
    out = np.empty((4, len(flat_a)))
    if flat_a.shape[-1] > MOST_CELLS:
        for i, (x, y) in enumerate(zip(flat_a, flat_b, strict=True)):
            out[:, i] = _sums_of_cells_that_are_there(x, y, table(len(x)))
    else:
        partition_kernels.contingency(flat_a, flat_b, table(flat_a.shape[-1]), out)
    return [row.reshape(leading) for row in out]


def _sums_of_cells_that_are_there(a: Labels, b: Labels, table: Maps) -> tuple[float, float, float, float]:
    """As the kernel does for an image (P,), by sorting: a table of all cells of a large grid would not fit memory."""
    held = (a >= 0) & (b >= 0)
    x, y = a[held].astype(np.int64), b[held].astype(np.int64)
    sizes = (np.unique(codes, return_counts=True)[1] for codes in (x * len(b) + y, x, y))
    both, in_a, in_b = (float(table[size].sum()) for size in sizes)
    return float(held.sum()), both, in_a, in_b


def _prepare(a: ArrayLike, b: ArrayLike) -> tuple[Labels, Labels, tuple[int, ...]]:
    """Bring both to (n, P) as `canonical` makes it, with labels below P."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape[-1] != b.shape[-1]:
        raise BadInput(
            f"partitions of {a.shape[-1]} and {b.shape[-1]} patches lie on different grids; "
            "compare runs with the same number of patches"
        )
    if a.shape != b.shape:
        a, b = np.broadcast_arrays(a, b)
    patches, n = a.shape[-1], math.prod(a.shape[:-1])
    flat = [np.ascontiguousarray(x).reshape(n, patches) for x in (a, b)]
    flat = [x if x.dtype == np.int16 and (not x.size or x.max() < patches) else canonical(x) for x in flat]
    return flat[0], flat[1], a.shape[:-1]


@lru_cache(maxsize=8)
def _xlogx(patches: int) -> Maps:
    n = np.arange(patches + 1, dtype=np.float64)
    return n * np.log(np.maximum(n, 1))


@lru_cache(maxsize=8)
def _squares(patches: int) -> Maps:
    return np.arange(patches + 1, dtype=np.float64) ** 2


@lru_cache(maxsize=8)
def _tables(patches: int) -> tuple[Maps, Maps]:
    """Log k! for k up to `patches`, and room to remember terms of up to 1,024 patches."""
    side = patches + 1 if patches <= 1024 else 0
    return np.array([math.lgamma(k + 1) for k in range(patches + 1)]), np.full((side, side), np.nan)
