"""Similarity of class-token features: Procrustes, linear CKA, PWCCA, mean CCA and mean squared CCA.

Shapes: `...` leading axes that agree, F features (rows), n images (columns): (..., F, n), the same images in both, as
in the study. Each feature is centred, the whole divided by its Frobenius norm, before anything is compared. All five
depend on the images only through the sums A A', B B', A B', so images can be streamed: see `Gram`.
Sources: Ding, Denain & Steinhardt, NeurIPS 2021, arXiv:2108.01661 (Procrustes, linear CKA, mean and mean squared CCA);
Morcos, Raghu & Bengio, NeurIPS 2018, arXiv:1806.05759 (PWCCA). Held against JoakimHaurum/TokenReduction@88fe07e,
reduction_methods_analysis/compare_cls_features_models.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenlens.errors import BadInput

Floats = NDArray[np.float64]
Root = tuple[Floats, Floats]  # eigenvectors V (..., F, F) and roots r (..., 1, F) of a matrix whose power 1/2 is V r V'
NAMES = ("procrustes", "cka", "pwcca", "pwcca_reverse", "mean_cca", "mean_squared_cca")


def procrustes(a: ArrayLike, b: ArrayLike) -> Floats:
    """Squared Procrustes distance |A|^2 + |B|^2 - 2 |A B'|_nuclear, 0 (equal up to rotation) .. 2."""
    return gram(a, b).procrustes()


def cka(a: ArrayLike, b: ArrayLike) -> Floats:
    """Linear CKA distance 1 - |A B'|^2 / (|A A'| |B B'|), Frobenius norms, 0 (equal up to rotation and scale) .. 1."""
    return gram(a, b).cka()


def pwcca(a: ArrayLike, b: ArrayLike) -> Floats:
    """Projection-weighted CCA distance, 0 (equal up to a linear map) .. 1; not symmetric: weighted by features of `a`.

    One minus the canonical correlations weighted by how much of A each canonical direction carries. Where A has more
    features than B, directions without a partner count with correlation 0, as published.
    """
    return gram(a, b).pwcca()


def mean_cca(a: ArrayLike, b: ArrayLike) -> Floats:
    """Mean canonical correlation, 0 .. 1 (equal up to a linear map)."""
    return gram(a, b).correlations().mean(axis=-1)


def mean_squared_cca(a: ArrayLike, b: ArrayLike) -> Floats:
    """Mean squared canonical correlation, 0 .. 1 (equal up to a linear map)."""
    return (gram(a, b).correlations() ** 2).mean(axis=-1)


def canonical_correlations(a: ArrayLike, b: ArrayLike) -> Floats:
    """Canonical correlations, largest first: (..., F, n) x (..., G, n) -> (..., min(F, G)) float64 in 0..1."""
    return gram(a, b).correlations()


def gram(a: ArrayLike, b: ArrayLike) -> Gram:
    """Sum up two feature sets: (..., F, n) x (..., G, n) -> Gram, from which all five measures follow at once.

    Raises BadInput where the images do not agree. float32 is multiplied in float32; everything after in float64.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise BadInput(
            f"features of shape {x.shape} and {y.shape} are not of the same images; "
            "pass (feature, image) arrays with the same images in the same order"
        )
    kind = np.float32 if x.dtype == y.dtype == np.float32 else np.float64
    leading, features = np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2]
    both = np.empty((*leading, features + y.shape[-2], x.shape[-1]), kind)
    for part, v in ((both[..., :features, :], x), (both[..., features:, :], y)):
        np.subtract(v, v.mean(axis=-1, keepdims=True, dtype=kind), out=part)
    sums = np.asarray(both @ both.mT, dtype=np.float64)  # one symmetric product: half the work of three
    return Gram(sums[..., :features, :features], sums[..., features:, features:], sums[..., :features, features:])


@dataclass(frozen=True)
class Gram:
    """Sums over images of centred features: aa (..., F, F), bb (..., G, G), ab (..., F, G), float64."""

    aa: Floats
    bb: Floats
    ab: Floats

    def scaled(self) -> Gram:
        """Divide by the Frobenius norms, so that both traces are 1; features that never vary stay 0."""
        a, b = (np.sqrt(np.trace(x, axis1=-2, axis2=-1))[..., None, None] for x in (self.aa, self.bb))
        a, b = (np.where(x > 0, x, 1) for x in (a, b))
        return Gram(self.aa / a**2, self.bb / b**2, self.ab / (a * b))

    def procrustes(self) -> Floats:
        """Squared Procrustes distance, (...)."""
        one = self.scaled()
        norms = np.trace(one.aa, axis1=-2, axis2=-1) + np.trace(one.bb, axis1=-2, axis2=-1)
        return np.asarray(norms - 2 * np.linalg.svdvals(one.ab).sum(axis=-1))

    def cka(self) -> Floats:
        """Linear CKA distance, (...); 1 where one of the two never varies."""
        one = self.scaled()
        a, b, ab = (np.linalg.norm(x, axis=(-2, -1)) for x in (one.aa, one.bb, one.ab))
        return np.asarray(1 - ab**2 / np.where(a * b > 0, a * b, 1))

    @cached_property
    def canonical(self) -> tuple[Floats, tuple[Floats, Root], tuple[Floats, Root]]:
        """Canonical correlations (..., min(F, G)), largest first; for a and b directions (rows) and roots."""
        one = self.scaled()
        (white_a, root_a), (white_b, root_b) = whitening(one.aa), whitening(one.bb)
        left, rho, right = np.linalg.svd(white_a @ one.ab @ white_b)
        return np.minimum(rho, 1), (left.mT, root_a), (right, root_b)

    def correlations(self) -> Floats:
        """Canonical correlations, largest first, (..., min(F, G)), never above 1."""
        return self.canonical[0]

    def weights(self, reverse: bool = False) -> Floats:
        """How much of a (of b in `reverse`) each of the canonical directions carries, (..., min(F, G)); PWCCA's."""
        rho, *sides = self.canonical
        directions, (vectors, root) = sides[reverse]
        # the canonical vectors of a are left' aa^-1/2 A; their products with the features of A are left' aa^1/2
        carried = np.abs((directions @ (vectors * root)) @ vectors.mT).sum(axis=-1)
        total = np.maximum(carried.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
        return np.asarray((carried / total)[..., : rho.shape[-1]])

    def pwcca(self, reverse: bool = False) -> Floats:
        """PWCCA distance weighted by the features of a, or of b in `reverse`, (...)."""
        return np.asarray(1 - (self.weights(reverse) * self.correlations()).sum(axis=-1))

    def measures(self) -> dict[str, Floats]:
        """All by name, PWCCA in both directions, each (...)."""
        rho = self.correlations()
        return {
            "procrustes": self.procrustes(),
            "cka": self.cka(),
            "pwcca": self.pwcca(),
            "pwcca_reverse": self.pwcca(reverse=True),
            "mean_cca": np.asarray(rho.mean(axis=-1)),
            "mean_squared_cca": np.asarray((rho**2).mean(axis=-1)),
        }


def whitening(symmetric: Floats) -> tuple[Floats, Root]:
    """Power -1/2 of a positive semi-definite matrix, and its power 1/2 as a root; no variance stays 0."""
    values, vectors = np.linalg.eigh(symmetric)
    floor = values[..., -1:] * values.shape[-1] * np.finfo(np.float64).eps
    root = np.sqrt(np.where(values > floor, values, 0))
    inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
    return (vectors * inverse[..., None, :]) @ vectors.mT, (vectors, root[..., None, :])
