"""How good a set of pictures is, beside real ones: by features, and by what the embedded ViT recognises.

Shapes: n real and m drawn pictures, C channels of a feature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput

Features = NDArray[np.floating]
NEAREST = 3  # as in the paper of precision and recall
ROWS = 1000  # of distances at a time


def frechet_distance(real: Features, drawn: Features) -> float:
    """The Frechet distance of the normal distributions with the means and covariances of two sets of features.

    Of Inception's features it is the FID (Heusel et al., 2017, arXiv:1706.08500). The trace of the root of the product
    of two covariances is the sum of the roots of the eigenvalues of one between the roots of the other, which are real
    and not negative: nothing imaginary arises, as it does in the root of the product itself. Held against
    cleanfid.fid.frechet_distance. It falls with the number of pictures, so compare equal numbers.

    Args:
        real: (n, C).
        drawn: (m, C).

    Raises:
        BadInput: fewer than two pictures, features of different lengths, or such as are not finite.

    Examples:
        >>> one = np.random.default_rng(0).normal(size=(500, 2))
        >>> round(frechet_distance(one, one + [3, 0]), 3)
        9.0
    """
    real, drawn = _checked(real), _checked(drawn)
    if real.shape[1] != drawn.shape[1]:
        raise BadInput(f"features have {real.shape[1]} and {drawn.shape[1]} channels; take both from one network")
    (mean_a, covariance_a), (mean_b, covariance_b) = (
        (features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))) for features in (real, drawn)
    )
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(min=0)).sum()
    apart = mean_a - mean_b
    return float(apart @ apart + np.trace(covariance_a) + np.trace(covariance_b) - 2 * shared)


def precision_recall(real: Features, drawn: Features, nearest: int = NEAREST) -> tuple[float, float]:
    """How many drawn pictures look real, and how much of what is real is drawn: both from 0 to 1.

    A picture is among a set where it lies no farther from one of it than that one's `nearest`-th neighbour in the set
    (Kynkaanniemi et al., 2019, arXiv:1904.06991).

    Args:
        real: (n, C).
        drawn: (m, C).
        nearest: see above; below n and m.

    Raises:
        BadInput: too few pictures, or features that are not finite.
    """
    real, drawn = _checked(real), _checked(drawn)
    if min(len(real), len(drawn)) <= nearest:
        raise BadInput(
            f"{len(real)} real and {len(drawn)} drawn pictures do not have {nearest} neighbours each; give more"
        )
    return _among(drawn, real, nearest), _among(real, drawn, nearest)


def _among(these: Features, of: Features, nearest: int) -> float:
    """The share of `these` that is among the set `of`."""
    reach = np.concatenate([  # the picture itself is its nearest
        np.partition(_squares(of[first : first + ROWS], of), nearest, axis=1)[:, nearest]
        for first in range(0, len(of), ROWS)
    ])  # fmt: skip
    inside = [(_squares(these[first : first + ROWS], of) <= reach).any(1) for first in range(0, len(these), ROWS)]
    return float(np.concatenate(inside).mean())


def _squares(a: Features, b: Features) -> Features:
    """(n, C), (m, C) -> (n, m) squared distances."""
    found: Features = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return found


def _checked(features: Features) -> Features:
    found = np.asarray(features, np.float64)
    if found.ndim != 2 or len(found) < 2:
        raise BadInput(f"features are {found.shape}; give two pictures or more, a row of channels each")
    if not np.isfinite(found).all():
        raise BadInput("some features are NaN or infinite; look at the pictures and the weights that they come from")
    return found
