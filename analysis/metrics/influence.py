"""How much each image moves a similarity of features: its influence, from which follows the standard error.

The measures are smooth functions of the sums over images, so the standard error is the root mean square of the images'
influences over sqrt(n) (the infinitesimal jackknife; Efron & Tibshirani, 1993, 21). The weights of PWCCA are taken as
fixed there. Shapes: m images of a chunk, F and G features of run a and b.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .gram import Gram, whitening
from .shapes import Between, Features, Influence, Maps


class Geometry:
    """What all images' influences rest on, from the sums over the n images and the mean features (F,), (G,)."""

    def __init__(self, sums: Gram, mean_a: Maps, mean_b: Maps) -> None:
        n = sums.n
        self.mean_a, self.mean_b, self.sums = mean_a, mean_b, sums
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
        (white_a, _), (white_b, _) = whitening(self.aa), whitening(self.bb)
        left, rho, right = np.linalg.svd(white_a @ self.ab @ white_b, full_matrices=False)
        return white_a @ left, white_b @ right.T, np.minimum(rho, 1)

    @cached_property
    def mixes(self) -> Between:
        """How each canonical correlation moves PWCCA, its reverse, mean and mean squared CCA: (K, 4)."""
        rho = self.canonical[2]
        width = len(rho)
        return np.stack([-self.sums.weights(), -self.sums.weights(reverse=True), np.full(width, 1 / width),
                         2 * rho / width], axis=1)  # fmt: skip


class Chunk:
    """The features of m images, (m, F) and (m, G) float32, and their influence on each measure, (m,)."""

    def __init__(self, geometry: Geometry, a: Features, b: Features) -> None:
        self.of = geometry
        self.a, self.b = a - geometry.mean_a.astype(np.float32), b - geometry.mean_b.astype(np.float32)

    def procrustes(self) -> Influence:
        """Influence on the squared Procrustes distance."""
        one, (rotation, nuclear) = self.of, self.of.rotation
        inner = _quadratic(self.a, rotation, self.b)
        share = nuclear / np.sqrt(one.trace_a * one.trace_b)
        size_a, size_b = (np.einsum("ij,ij->i", x, x, dtype=np.float64) for x in (self.a, self.b))
        apart = inner / np.sqrt(one.trace_a * one.trace_b) - share / 2 * (size_a / one.trace_a + size_b / one.trace_b)
        return np.asarray(-2 * apart)

    def cka(self) -> Influence:
        """Influence on the CKA distance."""
        one = self.of
        norm_a, norm_b, norm_ab = ((x**2).sum() for x in (one.aa, one.bb, one.ab))
        root = np.sqrt(norm_a * norm_b)
        own = _quadratic(self.a, one.aa, self.a) / norm_a + _quadratic(self.b, one.bb, self.b) / norm_b
        return np.asarray(-(2 * _quadratic(self.a, one.ab, self.b) / root - norm_ab / root * own))

    @cached_property
    def _mixed(self) -> Features:
        to_a, to_b, rho = (x.astype(np.float32) for x in self.of.canonical)
        left, right = self.a @ to_a, self.b @ to_b
        each = left * right - rho / 2 * (left**2 + right**2)
        return np.asarray(each @ self.of.mixes)

    def pwcca(self) -> Influence:
        """Influence on the PWCCA distance."""
        return self._mixed[:, 0]

    def pwcca_reverse(self) -> Influence:
        """Influence on the PWCCA distance weighted by the features of b."""
        return self._mixed[:, 1]

    def mean_cca(self) -> Influence:
        """Influence on the mean canonical correlation."""
        return self._mixed[:, 2]

    def mean_squared_cca(self) -> Influence:
        """Influence on the mean squared canonical correlation."""
        return self._mixed[:, 3]


def _quadratic(a: Features, matrix: Between, b: Features) -> Influence:
    return np.asarray(np.einsum("ij,ij->i", a @ matrix.astype(np.float32), b, dtype=np.float64))
