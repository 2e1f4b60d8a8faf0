"""Similarity of class-token features: Procrustes, linear CKA (also debiased), PWCCA, mean CCA and mean squared CCA.

Shapes: `...` leading axes that agree, F features (rows), n images (columns): (..., F, n), the same images in both, as
in the study. All depend on the images only through sums, so images can be streamed: see `Gram`. Chance is exact for
CKA and mean squared CCA (images of b shuffled, closed form); for the others it is one draw of `Gram.by_chance`.
The means over canonical correlations are over min(F, G) directions, as published: one in which features do not vary
counts as 0.
Sources: Ding, Denain & Steinhardt, NeurIPS 2021, arXiv:2108.01661 (Procrustes, linear CKA, mean and mean squared CCA);
Morcos, Raghu & Bengio, NeurIPS 2018, arXiv:1806.05759 (PWCCA). Held against JoakimHaurum/TokenReduction@88fe07e,
reduction_methods_analysis/compare_cls_features_models.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .base import metric
from .gram import Gram, gram
from .influence import Chunk
from .shapes import Spectrum, Values

SUMS: dict[str, Any] = {"of": "feature", "shared": gram}


def _where_determined(measure: Callable[[Gram], Values]) -> Callable[[Gram], Values]:
    """A measure of canonical correlations that is NaN where the images are too few for it to say anything."""
    return lambda sums: np.where(sums.determined, measure(sums), np.nan)


@metric(
    "procrustes", range=(0.0, 2.0), direction="distance", label="Procrustes", interval=Chunk.procrustes,
    chance=lambda sums: sums.by_chance.procrustes(), **SUMS,
)  # fmt: skip
def procrustes(sums: Gram) -> Values:
    """Squared Procrustes distance |A|^2 + |B|^2 - 2 |A B'|_nuclear, 0 (equal up to rotation) .. 2."""
    return sums.procrustes()


@metric("cka", direction="distance", label="CKA", interval=Chunk.cka, chance=Gram.expected_cka, **SUMS)
def cka(sums: Gram) -> Values:
    """Linear CKA distance 1 - |A B'|^2 / (|A A'| |B B'|), Frobenius norms, 0 (equal up to rotation and scale) .. 1."""
    return sums.cka()


@metric(
    "debiased_cka", range=(0.0, 2.0), direction="distance", label="debiased CKA", interval=Chunk.cka, chance=1.0,
    unbiased=True, **SUMS,
)  # fmt: skip
def debiased_cka(sums: Gram) -> Values:
    """Linear CKA distance from unbiased sums, 0 .. 2: 1 for features that have nothing in common, however few images.

    With few images CKA itself takes noise for likeness. NaN below 4 images, and where a side is all noise.
    Sources: Song et al., JMLR 2012 (the U-statistic); Nguyen, Raghu & Kornblith, ICLR 2021, arXiv:2010.15327; Murphy,
    Zylberberg & Fyshe, 2024, arXiv:2405.01012. Not in the study.
    """
    return sums.debiased_cka()


@metric(
    "pwcca", direction="distance", swap="pwcca_reverse", label="PWCCA", interval=Chunk.pwcca,
    chance=_where_determined(lambda sums: sums.by_chance.pwcca()), **SUMS,
)  # fmt: skip
def pwcca(sums: Gram) -> Values:
    """Projection-weighted CCA distance, 0 (equal up to a linear map) .. 1; not symmetric: weighted by features of `a`.

    One minus the canonical correlations weighted by how much of A each canonical direction carries. Where A has more
    features than B, directions without a partner count with correlation 0, as published. NaN where the images are too
    few: no more than the features of both have directions.
    """
    return _where_determined(Gram.pwcca)(sums)


@metric(
    "pwcca_reverse", direction="distance", swap="pwcca", label="PWCCA reversed", interval=Chunk.pwcca_reverse,
    chance=_where_determined(lambda sums: sums.by_chance.pwcca(reverse=True)), **SUMS,
)  # fmt: skip
def pwcca_reverse(sums: Gram) -> Values:
    """As `pwcca`, weighted by features of `b`."""
    return _where_determined(lambda sums: sums.pwcca(reverse=True))(sums)


@metric(
    "mean_cca", label="mean CCA", interval=Chunk.mean_cca,
    chance=_where_determined(lambda sums: sums.by_chance.mean_cca()), **SUMS,
)  # fmt: skip
def mean_cca(sums: Gram) -> Values:
    """Mean canonical correlation, 0 .. 1 (equal up to a linear map); NaN where the images are too few, as `pwcca`."""
    return _where_determined(Gram.mean_cca)(sums)


@metric(
    "mean_squared_cca", label="mean squared CCA", interval=Chunk.mean_squared_cca,
    chance=_where_determined(Gram.expected_mean_squared_cca), **SUMS,
)  # fmt: skip
def mean_squared_cca(sums: Gram) -> Values:
    """Mean squared canonical correlation, 0 .. 1 (equal up to a linear map); NaN as `mean_cca` is."""
    return _where_determined(Gram.mean_squared_cca)(sums)


def canonical_correlations(a: ArrayLike, b: ArrayLike) -> Spectrum:
    """Canonical correlations, largest first: (..., F, n) x (..., G, n) -> (..., min(F, G)) float64 in 0..1."""
    return gram(a, b).correlations()
