"""Do the patches matter that a method keeps? The `curves` table, of runs of `tokenlens swap --curves`.

Insertion shows the model the kept patches alone, deletion the others alone, each at every stage: the more of what the
class rests on is kept, the higher the one and the lower the other. Both are put beside all patches (`whole`). Rows of
two runs hold how far the first is above the second on the images that both hold.
Source: Petsiuk, Das & Saenko, BMVC 2018, arXiv:1806.07421.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records import tables as table
from tokenlens.records.columns import ALL_STAGES

from .chunked_reader import Images, common, identities, stored
from .paired_accuracy import AXES
from .pairing import card, pair
from .statistics.bootstrap import Means, Resampler

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
CURVES = ("insertion", "deletion")
WHOLE = "whole"


def curves(runs: Sequence[xr.Dataset], *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean probabilities of each run that holds them, and of each pair the differences: the `curves` table."""
    import pandas as pd

    holding = {str(run.attrs["run"]): run for run in runs if WHOLE in run}
    images = {name: Images(identities(run)) for name, run in holding.items()}
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
    for row in rows:
        run, curve = holding[row["run_a"]], row["curve"]
        row["shown"] = _shown(run, curve, row["stage"]) if not row["run_b"] else np.nan
    return table.conform(pd.DataFrame(rows), "curves")


def _values(run: xr.Dataset) -> dict[tuple[str, int], Array]:
    """What each image gives, (n,), by curve and stage."""
    name, n = str(run.attrs["run"]), run.sizes["image"]
    found = {(curve, int(stage)): column for curve in CURVES
             for stage, column in zip(run["stage"].values, stored(run[curve], 0, n, name).T, strict=True)}  # fmt: skip
    return {**found, (WHOLE, ALL_STAGES): stored(run[WHOLE], 0, n, name)}


def _shown(run: xr.Dataset, curve: str, stage: int) -> float:
    """The share of the patches that was shown."""
    if curve == WHOLE:
        return 1.0
    kept = float(run["kept"].sel(stage=stage).mean())
    return kept if curve == "insertion" else 1 - kept


def _rows(
    a: str, b: str, values: dict[tuple[str, int], Array], ends: tuple[float, float], resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    numbers = np.stack(list(values.values()), axis=1).astype(np.float64)
    means = Means(numbers.shape[1], resamples)
    means.add(numbers, Resampler(len(numbers), resamples, seed).counts(len(numbers)))
    low, high = means.interval(ends)
    for i, (curve, stage) in enumerate(values):
        yield {"run_a": a, "run_b": b, "curve": curve, "stage": stage, "value": means.mean()[i], "low": low[i],
               "high": high[i], "n": int(means.n[i])}  # fmt: skip
