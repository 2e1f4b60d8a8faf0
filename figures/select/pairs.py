"""Rows of the comparison table with what both runs of a pair are, and means with their interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.stats import t as student

from tokenlens.analysis.metrics import base
from tokenlens.analysis.metrics.base import METRICS
from tokenlens.records.columns import ALL_STAGES

from ..source import Missing, Source

if TYPE_CHECKING:
    import pandas as pd

WHAT = ("dataset", "split", "model", "capacity", "method", "family", "keep_rate", "seed")
BIASED = r"embedded:\w+@bias=.+"
Range: TypeAlias = tuple[float, float]
EVERYWHERE: Range = (-np.inf, np.inf)
APART = {
    "method": ("method", "--method NAME"), "capacity": ("capacity", "--model NAME"),
    "keep_rate": ("keep rate", "--keep-rate 0.5,0.7"), "dataset": ("data set", "--data NAME"),
}  # fmt: skip
BESIDE = {
    "radial": "no run is compared with the distance from the centre; make one that keeps patches with `tokenlens "
    "extract --method topk` and then `tokenlens compare`",
    "object": "no run is compared with masks of objects; make one that has them with `tokenlens extract --method topk "
    "--data embedded:shapes` and then `tokenlens compare`",
}


def joined(source: Source, axis: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Pairs along an axis by these metrics, with the attributes of both runs: method_a, method_b, keep_rate_a, ...

    Missing where there are none, with what makes some.
    """
    comparison, runs = source.table("comparison"), source.table("runs").set_index("run")
    part = comparison[(comparison["axis"] == axis) & comparison["metric"].isin(metrics)]
    if not len(part):
        if axis in BESIDE:
            raise Missing(BESIDE[axis])
        word, option = APART[axis]
        raise Missing(
            f"no two runs that differ in {word} only are compared by {' or '.join(metrics)}; make them with "
            f"`tokenlens extract {option}` and then `tokenlens compare`"
        )
    if not part[["run_a", "run_b"]].isin(runs.index).any(axis=None):
        raise Missing("the comparison and runs tables are not of the same runs; write both anew by `tokenlens compare`")
    ends = {f"{name}_{end}": part[f"run_{end}"].map(runs[name]) for name in WHAT for end in "ab"}
    return part.assign(**ends)


def last_stage(part: pd.DataFrame) -> pd.DataFrame:
    """Of each metric, the rows at its last stage, or of the whole run where it has no stages."""
    latest = part["metric"].map(part.groupby("metric")["stage"].max())
    return part[(part["stage"] == latest) | (part["stage"] == ALL_STAGES)]


def is_distance(metric: str) -> bool:
    """Whether a metric is the lower, the more alike; one whose package is gone is taken for a similarity."""
    return metric in METRICS and METRICS[metric].direction == "distance"


def range_of(metric: str) -> Range:
    """Least and greatest value of a metric; all numbers where its package is gone."""
    return METRICS[metric].range if metric in METRICS else EVERYWHERE


def above_chance(part: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The same rows, but value, low and high of these metrics from 0 at chance to 1; NaN where chance is the best."""
    part = part.copy()
    for metric in metrics:
        rows = part["metric"] == metric
        for end in ("value", "low", "high"):
            part.loc[rows, end] = base.above_chance(part.loc[rows, end], part.loc[rows, "chance"], metric)
    return part


def biased(datasets: pd.Series[Any]) -> pd.Series[Any]:
    """Which are sets with a photographer's bias: the set without, its objects moved, and no data set of its own."""
    return datasets.astype(str).str.fullmatch(BIASED)


def without_bias(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows in whose columns, `dataset` if not told, is no set with a photographer's bias.

    So do the findings. Missing where all rows have one.
    """
    kept = rows[~np.any([biased(rows[column]) for column in columns or ("dataset",)], axis=0)]
    if len(rows) and not len(kept):
        raise Missing(
            "all that is compared here is of sets with a photographer's bias, which are no data sets of their own; "
            "make runs of the sets without it, as with `tokenlens extract --data embedded:shapes`, and then "
            "`tokenlens compare`"
        )
    return kept


def interval_of(part: pd.DataFrame, within: Range = EVERYWHERE) -> tuple[float, float, float, int]:
    """As `mean_interval`, of `value` in rows; a single one has its own `low` and `high`."""
    value, low, high, n = mean_interval(part["value"], within)
    if n == 1:
        one = part[part["value"].notna()].iloc[0]
        low, high = (float(end) for end in np.clip([one["low"], one["high"]], *within))
    return value, low, high, n


def count_range(numbers: Iterable[int]) -> str:
    """How many, in words: 3, or 1 to 4 where they differ."""
    least, most = min(numbers := list(numbers)), max(numbers)
    return f"{least}" if least == most else f"{least} to {most}"


def mean_interval(values: Any, within: Range = EVERYWHERE) -> tuple[float, float, float, int]:
    """Mean, the ends of its 95 % Student-t interval, and how many values: (mean, low, high, n); NaN ends below two.

    The interval ends where the values can: at the ends of `within`.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n < 2:
        return (float(known[0]) if n else np.nan), np.nan, np.nan, n
    half = float(student.ppf(0.975, n - 1) * known.std(ddof=1) / np.sqrt(n))
    low, high = (float(end) for end in np.clip(known.mean() + np.array([-half, half]), *within))
    return float(known.mean()), low, high, n
