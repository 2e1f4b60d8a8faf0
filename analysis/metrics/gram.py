"""Sums over images from which all similarities of class-token features follow, so that images can be streamed.

Shapes: `...` leading axes that agree, F and G features (rows), n images (columns): (..., F, n), the same images in
both, as in the study. Each feature is centred, the whole divided by its Frobenius norm, before anything is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenlens.errors import BadInput

Floats = NDArray[np.float64]
Root = tuple[Floats, Floats]  # eigenvectors V (..., F, F) and roots r (..., 1, F) of a matrix whose power 1/2 is V r V'


def gram(a: ArrayLike, b: ArrayLike, order: ArrayLike | None = None) -> Gram:
    """Sum up two feature sets: (..., F, n) x (..., G, n) -> Gram, from which all measures follow at once.

    `order` (n,) int, a shuffle of the images of b, is needed for chance levels. float32 is multiplied in float32;
    everything after in float64. Raises BadInput where the images do not agree.
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
    shuffled = None
    if order is not None:
        mixed = both[..., features:, np.asarray(order)]
        shuffled = np.asarray(both[..., :features, :] @ mixed.mT, dtype=np.float64)
    return Gram(sums[..., :features, :features], sums[..., features:, features:], sums[..., :features, features:],
                x.shape[-1], shuffled)  # fmt: skip


@dataclass(frozen=True)
class Gram:
    """Sums over n images of centred features: aa (..., F, F), bb (..., G, G), ab (..., F, G), float64.

    `shuffled` (..., F, G) is what `ab` becomes when the images of b are shuffled; None where nobody summed it up.
    """

    aa: Floats
    bb: Floats
    ab: Floats
    n: int
    shuffled: Floats | None = None

    def scaled(self) -> Gram:
        """Divide by the Frobenius norms, so that both traces are 1; features that never vary stay 0."""
        a, b = (np.sqrt(np.trace(x, axis1=-2, axis2=-1))[..., None, None] for x in (self.aa, self.bb))
        a, b = (np.where(x > 0, x, 1) for x in (a, b))
        return Gram(self.aa / a**2, self.bb / b**2, self.ab / (a * b), self.n)

    def by_chance(self) -> Gram:
        """The same sums with the images of b shuffled; BadInput where they are not known."""
        if self.shuffled is None:
            raise BadInput("these sums hold none of shuffled images, so chance is not known; pass order= to gram")
        return Gram(self.aa, self.bb, self.shuffled, self.n)

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

    def mean_cca(self) -> Floats:
        """Mean canonical correlation, (...)."""
        return np.asarray(self.correlations().mean(axis=-1))

    def mean_squared_cca(self) -> Floats:
        """Mean squared canonical correlation, (...)."""
        return np.asarray((self.correlations() ** 2).mean(axis=-1))

    def expected_cka(self) -> Floats:
        """Mean CKA distance over shuffles of images, (...), in closed form; that of one where a side never varies."""
        one = self.scaled()
        norms = np.linalg.norm(one.aa, axis=(-2, -1)) * np.linalg.norm(one.bb, axis=(-2, -1))
        if self.n > 1 and np.all(norms > 0):
            return np.asarray(1 - 1 / ((self.n - 1) * norms))
        return self.by_chance().cka()

    def expected_mean_squared_cca(self) -> Floats:
        """Mean over shuffled images of the mean squared correlation, (...), as `expected_cka`."""
        one = self.scaled()
        full = [np.linalg.matrix_rank(x, hermitian=True) for x in (one.aa, one.bb)]
        if self.n > 1 and np.all(np.minimum(*full) > 0):
            return np.minimum(1.0, full[0] * full[1] / (self.n - 1) / min(self.ab.shape[-2:]))
        return self.by_chance().mean_squared_cca()


def whitening(symmetric: Floats) -> tuple[Floats, Root]:
    """Power -1/2 of a positive semi-definite matrix, and its power 1/2 as a root; no variance stays 0."""
    values, vectors = np.linalg.eigh(symmetric)
    floor = values[..., -1:] * values.shape[-1] * np.finfo(np.float64).eps
    root = np.sqrt(np.where(values > floor, values, 0))
    inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
    return (vectors * inverse[..., None, :]) @ vectors.mT, (vectors, root[..., None, :])
