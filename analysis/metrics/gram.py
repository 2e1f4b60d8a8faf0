"""Sums over images from which all similarities of class-token features follow, so that images can be streamed.

Shapes: `...` leading axes that agree, F and G features (rows), n images (columns): (..., F, n), the same images in
both, as in the study. Each feature is centred, the whole divided by its Frobenius norm, before anything is compared.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenlens.errors import BadInput

from .shapes import Between, Maps, Spectrum, Square, Values

AT_ONCE = 2048  # images that are multiplied at a time: a copy of all would be memory that nobody has used yet
MANY, SAMPLE = 32, 4  # images a feature from which on float32 is thought of, and those of them that are looked at
LARGE = 300  # standard deviations: a mean beyond, rounded to float32, would be taken off with an error that counts
FAR = 1e-3  # least variance in any direction, of features with a variance of 1, for products in float32
Root = tuple[Square, Maps]  # eigenvectors V (..., F, F) and roots r (..., 1, F) of a matrix whose power 1/2 is V r V'


def gram(a: ArrayLike, b: ArrayLike) -> Gram:
    """Sum up two feature sets: (..., F, n) x (..., G, n) -> Gram, from which all measures follow at once.

    In float64 whatever the arrays are: features after a normalisation have no full rank, and the rounding of float32
    products passes for canonical directions. Only where that cannot be, many images of float32 features that are far
    from it, a few images at a time are multiplied in float32, which takes half as long. Raises BadInput where the
    images do not agree.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise BadInput(
            f"features of shape {x.shape} and {y.shape} are not of the same images; "
            "pass (feature, image) arrays with the same images in the same order"
        )
    leading, features, images = np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], x.shape[-1]
    kind = np.float32 if _far_from_dependent(x) and _far_from_dependent(y) else np.float64
    means = [v.mean(axis=-1, keepdims=True, dtype=np.float64).astype(kind) for v in (x, y)]
    rows = features + y.shape[-2]
    near = np.empty((*leading, rows, min(images, AT_ONCE)), kind)
    product, sums, norms = np.empty((*leading, rows, rows), kind), np.zeros((*leading, rows, rows)), [0.0, 0.0, 0.0]
    for start in range(0, images, AT_ONCE):
        both = near[..., : min(AT_ONCE, images - start)]
        parts = both[..., :features, :], both[..., features:, :]
        for part, v, mean in zip(parts, (x, y), means, strict=True):
            np.subtract(v[..., start : start + AT_ONCE], mean, out=part)
        sums += np.matmul(both, both.mT, out=product)  # one symmetric product: half the work of three
        squares = [np.einsum("...fn,...fn->...n", part, part).astype(np.float64) for part in parts]
        norms = [norm + (squares[i] * squares[j]).sum(axis=-1)
                 for norm, (i, j) in zip(norms, ((0, 0), (1, 1), (0, 1)), strict=True)]  # fmt: skip
    return Gram(sums[..., :features, :features], sums[..., features:, features:], sums[..., :features, features:],
                images, np.stack(norms))  # fmt: skip


def _far_from_dependent(x: NDArray[Any]) -> bool:
    """Whether float32 features (..., F, n) of many images are so far from having less than full rank that the rounding
    of float32 products is nothing beside any of their directions: by the correlations of some of the images.
    """
    width, images = x.shape[-2:]
    if x.dtype != np.float32 or images < MANY * width:
        return False
    some = x[..., :: images // (SAMPLE * width)].astype(np.float64)
    mean = some.mean(axis=-1, keepdims=True)
    some -= mean
    size = np.linalg.norm(some, axis=-1, keepdims=True)
    if not size.all() or (np.abs(mean) * np.sqrt(some.shape[-1]) > LARGE * size).any():
        return False
    some /= size
    try:
        np.linalg.cholesky(some @ some.mT - FAR * np.eye(width))
    except np.linalg.LinAlgError:
        return False
    return True


@dataclass(frozen=True)
class Gram:
    """Sums over n images of centred features: aa (..., F, F), bb (..., G, G), ab (..., F, G), float64; and `norms`
    (3, ...), which are the sums of |a|^4, |b|^4 and |a|^2 |b|^2, a and b an image's features.

    Everything of one image is NaN. What rests on canonical correlations is of these very images, and says something of
    others where they are `determined`.
    """

    aa: Square
    bb: Square
    ab: Between
    n: int
    norms: Values | None = None

    def scaled(self) -> Gram:
        """Divide by the Frobenius norms, so that both traces are 1; features that never vary stay 0."""
        a, b = (np.sqrt(np.trace(x, axis1=-2, axis2=-1))[..., None, None] for x in (self.aa, self.bb))
        a, b = (np.where(x > 0, x, 1) for x in (a, b))
        return Gram(self.aa / a**2, self.bb / b**2, self.ab / (a * b), self.n)

    @cached_property
    def by_chance(self) -> Gram:
        """One draw of two that hang together by chance alone; see `turned`."""
        return self.turned(self.n)

    def turned(self, seed: int) -> Gram:
        """The same features, those of b turned at random in the space of the images.

        A shuffle of the images is such a rotation, but has to be summed up over all images anew; a random one
        (Langsrud, Statistics and Computing 2005) follows from the sums, and does not see in which order images lie.
        """
        random = np.random.default_rng(seed)
        ab = np.empty_like(self.ab)
        for place in np.ndindex(self.ab.shape[:-2]):
            root_a, root_b = (_root(x[place], self.n - 1) for x in (self.aa, self.bb))
            ab[place] = root_a @ _rotation(root_a.shape[-1], root_b.shape[-1], self.n - 1, random) @ root_b.T
        norms = self.norms
        if norms is not None:  # what the images have in common by chance
            apart = np.trace(self.aa, axis1=-2, axis2=-1) * np.trace(self.bb, axis1=-2, axis2=-1) / self.n
            norms = np.stack([norms[0], norms[1], apart])
        return Gram(self.aa, self.bb, ab, self.n, norms)

    def procrustes(self) -> Values:
        """Squared Procrustes distance, (...)."""
        one = self.scaled()
        norms = np.trace(one.aa, axis1=-2, axis2=-1) + np.trace(one.bb, axis1=-2, axis2=-1)
        return _where(self.n > 1, norms - 2 * np.linalg.svdvals(one.ab).sum(axis=-1))

    def cka(self) -> Values:
        """Linear CKA distance, (...); 1 where one of the two never varies."""
        one = self.scaled()
        a, b, ab = (np.linalg.norm(x, axis=(-2, -1)) for x in (one.aa, one.bb, one.ab))
        return _where(self.n > 1, 1 - ab**2 / np.where(a * b > 0, a * b, 1))

    def debiased_cka(self) -> Values:
        """CKA distance from unbiased sums, (...); NaN below 4 images, and where nothing varies beyond noise."""
        if self.norms is None or self.n < 4:
            return _where(False, self.cka())
        a, b = (np.trace(x, axis1=-2, axis2=-1) for x in (self.aa, self.bb))
        each = zip((self.aa, self.bb, self.ab), (a * a, b * b, a * b), self.norms, strict=True)
        first = [np.linalg.norm(x, axis=(-2, -1)) ** 2 - own * self.n / (self.n - 2) + of / (self.n - 1) / (self.n - 2)
                 for x, of, own in each]  # fmt: skip
        own_a, own_b, both = (np.asarray(x) for x in first)
        known = np.minimum(own_a, own_b) > 0
        return _where(known, 1 - both / np.sqrt(np.where(known, own_a * own_b, 1)))

    @cached_property
    def canonical(self) -> tuple[Spectrum, tuple[Square, Root], tuple[Square, Root]]:
        """Canonical correlations (..., min(F, G)), largest first; for a and b directions (rows) and roots."""
        one = self.scaled()
        (white_a, root_a), (white_b, root_b) = whitening(one.aa), whitening(one.bb)
        left, rho, right = np.linalg.svd(white_a @ one.ab @ white_b)
        return np.minimum(rho, 1), (left.mT, root_a), (right, root_b)

    def variates(self) -> tuple[Between, Between]:
        """From features, divided by their norm, to canonical variates: (..., F, K) and (..., G, K)."""
        rho, *sides = self.canonical
        a, b = (inverse(root) @ rows[..., : rho.shape[-1], :].mT for rows, root in sides)
        return a, b

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """In how many directions the features of a, and those of b, vary: (2, ...)."""
        _, *sides = self.canonical
        return np.asarray([(root > 0).sum(axis=(-2, -1)) for _, (_, root) in sides])

    @property
    def determined(self) -> NDArray[np.bool_]:
        """Whether the images determine canonical correlations, (...); some are 1 whatever the features are where the
        ranks of a and b together exceed n - 1.
        """
        return np.asarray((self.ranks.sum(axis=0) < self.n) & (self.n > 1))

    def correlations(self) -> Spectrum:
        """Canonical correlations, largest first, (..., min(F, G)), never above 1."""
        return self.canonical[0]

    def weights(self, reverse: bool = False) -> Spectrum:
        """How much of a (of b in `reverse`) each of the canonical directions carries, (..., min(F, G)); PWCCA's."""
        rho, *sides = self.canonical
        directions, (vectors, root) = sides[reverse]
        # the canonical vectors of a are left' aa^-1/2 A; their products with the features of A are left' aa^1/2
        carried = np.abs((directions @ (vectors * root)) @ vectors.mT).sum(axis=-1)
        total = np.maximum(carried.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
        return np.asarray((carried / total)[..., : rho.shape[-1]])

    def pwcca(self, reverse: bool = False) -> Values:
        """PWCCA distance weighted by the features of a, or of b in `reverse`, (...)."""
        return _where(self.n > 1, 1 - (self.weights(reverse) * self.correlations()).sum(axis=-1))

    def mean_cca(self) -> Values:
        """Mean canonical correlation over min(F, G) directions, (...); one without variance correlates by 0."""
        return _where(self.n > 1, self.correlations().mean(axis=-1))

    def mean_squared_cca(self) -> Values:
        """Mean squared canonical correlation over min(F, G) directions, (...)."""
        return _where(self.n > 1, (self.correlations() ** 2).mean(axis=-1))

    def measures(self) -> dict[str, Values]:
        """Deprecated: all by name, each (...); ask for each by its own."""
        warnings.warn("Gram.measures goes with the next release; call procrustes() and the others", DeprecationWarning,
                      stacklevel=2)  # fmt: skip
        names = ("procrustes", "cka", "pwcca", "mean_cca", "mean_squared_cca")
        return {**{name: getattr(self, name)() for name in names}, "pwcca_reverse": self.pwcca(reverse=True)}

    def expected_cka(self) -> Values:
        """Mean CKA distance over shuffles of images, (...), in closed form; 1 where one of the two never varies."""
        one = self.scaled()
        norms = (self.n - 1) * np.linalg.norm(one.aa, axis=(-2, -1)) * np.linalg.norm(one.bb, axis=(-2, -1))
        return _where(self.n > 1, 1 - np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0))

    def expected_mean_squared_cca(self) -> Values:
        """Mean over shuffled images of the mean squared correlation, (...), in closed form."""
        return _where(self.n > 1, self.ranks.prod(axis=0) / min(self.ab.shape[-2:]) / max(self.n - 1, 1))


def _where(known: bool | NDArray[np.bool_], values: Values) -> Values:
    """The values that are known, (...); NaN for the others."""
    return np.where(known, values, np.nan)


def whitening(symmetric: Square) -> tuple[Square, Root]:
    """Power -1/2 of a positive semi-definite matrix, and its power 1/2 as a root; no variance stays 0."""
    vectors, values = _spectrum(symmetric)
    root = vectors, values[..., None, :]
    return inverse(root), root


def inverse(root: Root) -> Square:
    """Power -1/2 from the power 1/2; no variance stays 0."""
    vectors, values = root
    return (vectors * np.divide(1, values, out=np.zeros_like(values), where=values > 0)) @ vectors.mT


def _spectrum(symmetric: Square) -> tuple[Square, Spectrum]:
    """Eigenvectors (..., F, F) and roots of the eigenvalues (..., F), ascending, 0 where there is only rounding."""
    values, vectors = np.linalg.eigh(symmetric)
    floor = values[..., -1:] * values.shape[-1] * np.finfo(np.float64).eps
    return vectors, np.sqrt(np.where(values > floor, values, 0))


def _root(symmetric: Square, most: int) -> Between:
    """A matrix (F, K) with R R' = symmetric (F, F), K its rank, at most `most`; the largest of a column is positive."""
    vectors, root = _spectrum(symmetric)
    rank = min(int((root > 0).sum()), most)
    # LAPACK chooses the signs, by the processor, and what is drawn in this basis would turn with them
    sign = np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0, keepdims=True), axis=0))
    return (vectors * sign * root)[:, len(root) - rank :]


def _rotation(rows: int, columns: int, size: int, random: np.random.Generator) -> Between:
    """The first rows and columns of a random rotation of this size, which itself is never made: (rows, columns).

    Its columns are orthonormal columns of normal numbers; of those below the first rows only the products count, and
    a triangle with the same products can be drawn (Bartlett).
    """
    top, below = random.normal(size=(rows, columns)), size - rows
    triangle = np.triu(random.normal(size=(min(below, columns), columns)), 1)
    np.fill_diagonal(triangle, np.sqrt(random.chisquare(below - np.arange(len(triangle)))))
    q, r = np.linalg.qr(np.concatenate([top, triangle]))
    return np.asarray(q[:rows] * np.sign(np.diagonal(r)))
