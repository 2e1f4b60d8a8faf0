"""What a similarity would be by chance: four nulls, of which each metric knows those that it can be put beside.

analytic     the chance level that the metric itself states, for these sizes: patterns at random.
other-image  a's pattern on one image beside b's on another, half the set away: what patterns share whatever they see.
torus        b moved over the grid's edges to another place: neighbours stay neighbours, and the centre moves.
permutation  b's patches at random, or its images (features): nothing stays but the numbers themselves.
Sources: Upton & Fingleton, 1985 (torus); Langsrud, Statistics and Computing 2005 (of features: see `Gram.turned`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics.base import Metric

Array = NDArray[Any]
SHIFTS = 48  # of a map: as many as tell a probability of 0.02


def moved(null: str, random: np.random.Generator, patterns: Array, columns: int) -> Array:
    """Patterns (m, ..., P) on a grid, each image's patches in other places, its stages in the same ones."""
    images, patches = len(patterns), patterns.shape[-1]
    if null == "torus":
        places = shifts(patches, columns)
        order = places[random.integers(0, len(places), images)] if len(places) else np.zeros((images, patches), int)
    else:
        order = random.permuted(np.tile(np.arange(patches), (images, 1)), axis=1)
    return np.take_along_axis(patterns, order.reshape(images, *[1] * (patterns.ndim - 2), patches), axis=-1)


def shifts(patches: int, columns: int) -> Array:
    """Where each patch's content comes from when the grid is moved over its edges, in all ways but none: (ways, P)."""
    grid = np.arange(patches).reshape(-1, columns)
    ways = [(down, right) for down in range(grid.shape[0]) for right in range(columns)][1:]
    return np.array([np.roll(grid, way, (0, 1)).ravel() for way in ways], dtype=np.int64).reshape(-1, patches)


def elsewhere(null: str, heat: Array, columns: int) -> Array:
    """A map (P,) with its patches in some other places, always the same ones: (ways, P)."""
    random = np.random.default_rng(0)
    if null == "torus":
        places = shifts(heat.size, columns)
        return np.asarray(heat[places[random.permutation(len(places))[:SHIFTS]]])
    return np.asarray(heat[random.permuted(np.tile(np.arange(heat.size), (SHIFTS, 1)), axis=1)])


def beside(metric: Metric, value: float, chance: Array) -> tuple[float, float, float]:
    """The mean of values by chance, how far a value lies from it in their deviations, and the share as much alike."""
    if not len(chance):
        return np.nan, np.nan, np.nan
    spread, sign = float(chance.std()), 1 if metric.direction == "similarity" else -1
    alike = 1 + int((sign * chance >= sign * value - 1e-12).sum())
    z = float(value - chance.mean()) / spread if spread > 1e-12 else np.nan
    return float(chance.mean()), z, alike / (len(chance) + 1)
