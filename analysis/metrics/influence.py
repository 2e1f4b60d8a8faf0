"""How much each image moves a similarity of features: its influence, from which follows the standard error.

The measures are smooth functions of the sums over images, so the standard error is the root mean square of the images'
influences over sqrt(n) (the infinitesimal jackknife; Efron & Tibshirani, 1993, 21). How the canonical directions turn,
which moves the weights of PWCCA further, is left out. Shapes: m images of a chunk, F and G features of run a and b.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .gram import Gram, inverse
from .shapes import Between, Features, Influence, Maps, Square


class Geometry:
    """What all images' influences rest on, from the sums over the n images."""

    def __init__(self, sums: Gram) -> None:
        n, self.sums = sums.n, sums
        self.aa, self.bb, self.ab = sums.aa / n, sums.bb / n, sums.ab / n
        self.trace_a, self.trace_b = np.trace(self.aa), np.trace(self.bb)
        self.varies = bool(self.trace_a > 0 and self.trace_b > 0)

    @cached_property
    def rotation(self) -> tuple[Between, float]:
        """The rotation (F, G) that brings both sides together, and the nuclear norm of their product."""
        u, nuclear, v = np.linalg.svd(self.ab, full_matrices=False)
        return u @ v, nuclear.sum()

    @cached_property
    def canonical(self) -> tuple[Between, Between, Maps]:
        """From features to canonical variates, (F, K) and (G, K), and the correlations (K,)."""
        to_a, to_b = self.sums.variates()
        return to_a / np.sqrt(self.trace_a), to_b / np.sqrt(self.trace_b), self.sums.correlations()

    @cached_property
    def weighing(self) -> tuple[Square, Square]:
        """The quadratic forms of the features of a, (F, F), and of b, (G, G), by which weights move PWCCA."""
        return self._weighing(False), self._weighing(True)

    def _weighing(self, reverse: bool) -> Square:
        own, trace = (self.bb, self.trace_b) if reverse else (self.aa, self.trace_a)
        rows, root = self.sums.canonical[1 + reverse]
        to_variates = inverse(root) @ rows.mT / np.sqrt(trace)
        shared = to_variates.T @ own  # of each variate with each feature
        carried = np.abs(shared).sum(axis=1)
        rho = np.zeros(len(carried))
        rho[: len(self.canonical[2])] = self.canonical[2]
        apart = (rho - carried @ rho / carried.sum()) / carried.sum()
        return np.asarray(to_variates @ (apart[:, None] * (carried[:, None] / 2 * to_variates.T - np.sign(shared))))

    @cached_property
    def mixes(self) -> Between:
        """How each canonical correlation moves PWCCA, its reverse, mean and mean squared CCA: (K, 4)."""
        rho = self.canonical[2]
        return np.stack([-self.sums.weights(), -self.sums.weights(reverse=True), np.full(len(rho), 1 / len(rho)),
                         2 * rho / len(rho)], axis=1)  # fmt: skip


class Centred:
    """The features of m images of one run about their mean, and what follows of them whatever the other run is."""

    def __init__(self, features: Features, mean: Maps, covariances: Square) -> None:
        """Of features (m, F), their mean (F,) and covariances (F, F) over all n images."""
        self.x = (features - mean).astype(np.float32)  # enough for a standard error
        self.covariances = covariances

    @cached_property
    def size(self) -> Influence:
        """|x|^2, (m,)."""
        return np.asarray(np.einsum("ij,ij->i", self.x, self.x, dtype=np.float64))

    @cached_property
    def own(self) -> Influence:
        """How each image moves the norm of the covariances, (m,)."""
        return _quadratic(self.x, self.covariances, self.x)


class Chunk:
    """The features of m images in two runs, and their influence on each measure, (m,)."""

    def __init__(self, geometry: Geometry, a: Centred, b: Centred) -> None:
        self.of, self.a, self.b = geometry, a, b

    def procrustes(self) -> Influence:
        """Influence on the squared Procrustes distance."""
        one, (rotation, nuclear) = self.of, self.of.rotation
        inner = _quadratic(self.a.x, rotation, self.b.x)
        share = nuclear / np.sqrt(one.trace_a * one.trace_b)
        sizes = self.a.size / one.trace_a + self.b.size / one.trace_b
        apart = inner / np.sqrt(one.trace_a * one.trace_b) - share / 2 * sizes
        return np.asarray(-2 * apart)

    def cka(self) -> Influence:
        """Influence on the CKA distance."""
        one = self.of
        norm_a, norm_b, norm_ab = ((x**2).sum() for x in (one.aa, one.bb, one.ab))
        root = np.sqrt(norm_a * norm_b)
        own = self.a.own / norm_a + self.b.own / norm_b
        return np.asarray(-(2 * _quadratic(self.a.x, one.ab, self.b.x) / root - norm_ab / root * own))

    @cached_property
    def _mixed(self) -> Features:
        to_a, to_b, rho = (x.astype(np.float32) for x in self.of.canonical)
        left, right = self.a.x @ to_a, self.b.x @ to_b
        each = left * right - rho / 2 * (left**2 + right**2)
        return np.asarray(each @ self.of.mixes)

    def pwcca(self) -> Influence:
        """Influence on the PWCCA distance."""
        return np.asarray(self._mixed[:, 0] + _quadratic(self.a.x, self.of.weighing[0], self.a.x))

    def pwcca_reverse(self) -> Influence:
        """Influence on the PWCCA distance weighted by the features of b."""
        return np.asarray(self._mixed[:, 1] + _quadratic(self.b.x, self.of.weighing[1], self.b.x))

    def mean_cca(self) -> Influence:
        """Influence on the mean canonical correlation."""
        return self._mixed[:, 2]

    def mean_squared_cca(self) -> Influence:
        """Influence on the mean squared canonical correlation."""
        return self._mixed[:, 3]


def _quadratic(a: Features, matrix: Between, b: Features) -> Influence:
    return np.asarray(np.einsum("ij,ij->i", a @ matrix.astype(np.float32), b, dtype=np.float64))
