"""Do the patches matter that a method keeps? The `curves` table, of runs of `tokenlens swap --curves`.

Insertion shows the model the kept patches alone, deletion the others alone, each at every stage: the more of what the
class rests on is kept, the higher the one and the lower the other. Both are put beside all patches (`whole`). The area
below each curve, image by image, is one number of it (`insertion_auc`, `deletion_auc`): over the share of the patches
that is shown, from the least that a stage shows to all, and divided by its width, so that it is a mean probability.
Rows of two runs hold how far the first is above the second on the images that both hold.
Source: Petsiuk, Das & Saenko, BMVC 2018, arXiv:1806.07421. Departs: there pixels go one by one, from all to none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records import tables as table
from tokenlens.records.columns import ALL_STAGES

from .chunked_reader import common, images_of, stored
from .paired_accuracy import AXES
from .pairing import card, pair
from .statistics.bootstrap import Means, Resampler

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Key = tuple[str, int]  # a curve, or its area, and a stage
CURVES = ("insertion", "deletion")
WHOLE = "whole"


def curves(runs: Sequence[xr.Dataset], *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean probabilities of each run that holds them, and of each pair the differences: the `curves` table."""
    import pandas as pd

    holding = {str(run.attrs["run"]): run for run in runs if WHOLE in run}
    images = images_of(holding)
    values = {name: _values(run) for name, run in holding.items()}
    cards = [card(run) for run in holding.values()]
    rows = [row for name in holding for row in _rows(name, "", values[name], (0, 1), resamples, seed)]
    for one in (found for axis in AXES for found in pair(cards, axis)):
        both = common(images[one.a], images[one.b])
        if len(both):
            at_a, at_b = (both.rows(images[name].ids) for name in (one.a, one.b))
            other = values[one.b]
            apart = {key: own[at_a] - other[key][at_b] for key, own in values[one.a].items() if key in other}
            rows += _rows(one.a, one.b, apart, (-1, 1), resamples, seed)
    shown = {name: _shown(run) for name, run in holding.items()}
    for row in rows:
        row["shown"] = np.nan if row["run_b"] else shown[row["run_a"]][row["curve"], row["stage"]]
    return table.conform(pd.DataFrame(rows), "curves")


def _values(run: xr.Dataset) -> dict[Key, Array]:
    """What each image gives, (n,), by curve and stage."""
    name, n = str(run.attrs["run"]), run.sizes["image"]
    whole, shares = stored(run[WHOLE], 0, n, name), _shares(run)
    found: dict[Key, Array] = {(WHOLE, ALL_STAGES): whole}
    for curve in CURVES:
        heights = stored(run[curve], 0, n, name)
        found |= {(curve, int(stage)): column for stage, column in zip(run["stage"].values, heights.T, strict=True)}
        found[f"{curve}_auc", ALL_STAGES] = area(shares[curve], heights, whole)
    return found


def area(shown: Array, height: Array, whole: Array) -> Array:
    """The mean height of curves over the shares that they span, up to all patches.

    Args:
        shown: (n, S) the share of the patches that is shown, 0 to 1.
        height: (n, S) of the curve there.
        whole: (n,) the height where all are shown.

    Returns:
        (n,) float64; `whole` of a curve that shows all at every stage.

    Examples:
        >>> area(np.array([[0.5, 0.0]]), np.array([[1.0, 0.0]]), np.array([1.0]))
        array([0.75])
    """
    at = np.concatenate([np.asarray(shown, dtype=np.float64), np.ones((len(shown), 1))], axis=1)
    order = np.argsort(at, axis=1, kind="stable")
    at = np.take_along_axis(at, order, axis=1)
    up = np.take_along_axis(np.concatenate([height, whole[:, None]], axis=1).astype(np.float64), order, axis=1)
    width = 1 - at[:, 0]
    return np.where(width > 0, np.trapezoid(up, at, axis=1) / np.where(width > 0, width, 1), whole)


def _shares(run: xr.Dataset) -> dict[str, Array]:
    """The share of each image's patches that each curve shows at each stage, (n, S)."""
    name, n = str(run.attrs["run"]), run.sizes["image"]
    patches = stored(run["valid"], 0, n, name).sum(axis=1, keepdims=True) if "valid" in run else run.sizes["patch"]
    inside = stored(run["kept"], 0, n, name).sum(axis=2) / patches
    return {"insertion": inside, "deletion": 1 - inside}


def _shown(run: xr.Dataset) -> dict[Key, float]:
    """The mean share of the patches that was shown; of an area, where it begins."""
    found: dict[Key, float] = {(WHOLE, ALL_STAGES): 1.0}
    for curve, shares in _shares(run).items():
        found |= {(curve, int(stage)): float(shares[:, i].mean()) for i, stage in enumerate(run["stage"].values)}
        found[f"{curve}_auc", ALL_STAGES] = float(shares.min(axis=1).mean())
    return found


def _rows(
    a: str, b: str, values: dict[Key, Array], ends: tuple[float, float], resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    numbers = np.stack(list(values.values()), axis=1).astype(np.float64)
    means = Means(numbers.shape[1], resamples)
    means.add(numbers, Resampler(len(numbers), resamples, seed).counts(len(numbers)))
    low, high = means.interval(ends)
    for i, (curve, stage) in enumerate(values):
        yield {"run_a": a, "run_b": b, "curve": curve, "stage": stage, "value": means.mean()[i], "low": low[i],
               "high": high[i], "n": int(means.n[i])}  # fmt: skip
