"""Do the patches matter that a method keeps? The `curves` table, of runs of `tokenlens swap --curves`.

Insertion, deletion and the areas below them are those of `metrics.causal`, image by image; both are put beside all
patches (`whole`). Areas are of one run in the table `comparison` too. Rows of two runs hold how far the first is above
the second on the images that both hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records import tables as table
from tokenlens.records.columns import ALL_STAGES

from .chunked_reader import Reader, common, images_of
from .metrics.base import METRICS, Metric
from .metrics.kinds import CURVES
from .paired_accuracy import AXES
from .pairing import Pair, card, pair
from .statistics.bootstrap import Means, Resampler
from .streaming import Row, row

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Key = tuple[str, int]  # a curve, or its area, and a stage
WHOLE = "whole"
NO_CURVES = "the run holds no curves; write such a one with `tokenlens swap --curves`"


def curves(runs: Sequence[xr.Dataset], *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean probabilities of each run that holds them, and of each pair the differences: the `curves` table."""
    import pandas as pd

    holding = {str(run.attrs["run"]): run for run in runs if WHOLE in run}
    images = images_of(holding)
    drawn = {name: _Curves.of(run) for name, run in holding.items()}
    values = {name: of.values() for name, of in drawn.items()}
    cards = [card(run) for run in holding.values()]
    rows = [one for name in holding for one in _rows(name, "", values[name], (0, 1), resamples, seed)]
    for one in (found for axis in AXES for found in pair(cards, axis)):
        both = common(images[one.a], images[one.b])
        if len(both):
            at_a, at_b = (both.rows(images[name].ids) for name in (one.a, one.b))
            other = values[one.b]
            apart = {key: own[at_a] - other[key][at_b] for key, own in values[one.a].items() if key in other}
            rows += _rows(one.a, one.b, apart, (-1, 1), resamples, seed)
    shown = {name: of.shown() for name, of in drawn.items()}
    for each in rows:
        each["shown"] = np.nan if each["run_b"] else shown[each["run_a"]][each["curve"], each["stage"]]
    return table.conform(pd.DataFrame(rows), "curves")


def lacking(pairs: Iterable[Pair], runs: Mapping[str, xr.Dataset], metrics: Iterable[Metric]) -> list[Row]:
    """Rows that say of runs without curves that there are none."""
    return [
        row(pair, metric, ALL_STAGES, np.nan, np.nan, (np.nan, np.nan), 0, reason=NO_CURVES)
        for metric in metrics
        for pair in pairs
        if pair.axis in metric.axes and metric.of in CURVES and metric.of not in runs[pair.a]
    ]


class _Curves(NamedTuple):
    """The curves of a run's images by name: how probable its class is and the share shown, (n, S + 1), at the stages
    and where all is shown.
    """

    stages: list[int]
    heights: dict[str, Array]
    shares: dict[str, Array]

    @classmethod
    def of(cls, run: xr.Dataset) -> _Curves:
        name, n = str(run.attrs["run"]), run.sizes["image"]
        forms = [curve + of for curve in CURVES for of in ("", " share")]
        with Reader({name: run}, {name: np.arange(n)}, n, n) as reader, ThreadPoolExecutor(1) as pool:
            arrays = reader.read([(name, form) for form in forms], (0, n), pool)
        heights: dict[str, Array] = {curve: arrays[name, curve] for curve in CURVES}
        shares: dict[str, Array] = {curve: arrays[name, f"{curve} share"] for curve in CURVES}
        return cls([int(stage) for stage in run["stage"].values], heights, shares)

    def values(self) -> dict[Key, Array]:
        """What each image gives, (n,), by curve and stage."""
        found: dict[Key, Array] = {(WHOLE, ALL_STAGES): self.heights[CURVES[0]][:, -1]}
        for curve, heights in self.heights.items():
            found |= {(curve, stage): heights[:, i] for i, stage in enumerate(self.stages)}
            found[f"{curve}_auc", ALL_STAGES] = METRICS[f"{curve}_auc"](heights, self.shares[curve])
        return found

    def shown(self) -> dict[Key, float]:
        """The mean share of the patches that was shown; of an area, where it begins."""
        found: dict[Key, float] = {(WHOLE, ALL_STAGES): 1.0}
        for curve, shares in self.shares.items():
            found |= {(curve, stage): float(shares[:, i].mean()) for i, stage in enumerate(self.stages)}
            found[f"{curve}_auc", ALL_STAGES] = float(shares.min(axis=1).mean())
        return found


def _rows(
    a: str, b: str, values: dict[Key, Array], ends: tuple[float, float], resamples: int, seed: int
) -> Iterator[Row]:
    numbers = np.stack(list(values.values()), axis=1).astype(np.float64)
    means = Means(numbers.shape[1], resamples)
    means.add(numbers, Resampler(len(numbers), resamples, seed).counts(len(numbers)))
    low, high = means.interval(ends)
    for i, (curve, stage) in enumerate(values):
        yield {"run_a": a, "run_b": b, "curve": curve, "stage": stage, "value": means.mean()[i], "low": low[i],
               "high": high[i], "n": int(means.n[i])}  # fmt: skip
