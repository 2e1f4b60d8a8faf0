"""How a claim about runs is judged: one number with an interval, beside a reference that it should lie above or below.

A claim's statistic is a mean over units, which do not hang together, with a Student-t interval at 95 %: wide for few
units, as it should be. Supported: the interval lies wholly on the claim's side of the reference. Contradicted: wholly
on the other side. Else, below three units, and where all units give one and the same number, not enough runs, and what
is missing is said. Here too are the rows that several claims rest on; all are taken of runs with one keep rate. A set
with a photographer's bias is the set without, its objects moved, and no data set of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from .metrics import base
from .metrics.base import METRICS

if TYPE_CHECKING:
    import pandas as pd

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough runs"
PROXIES = ("procrustes", "vmeasure", "iou")
BIASED = r"(embedded:\w+)@bias=(.+)"  # a set, and how far its objects are moved to the centre
FEWEST = 3  # units below which nothing is judged


class Estimate(NamedTuple):
    """A mean, its interval (NaN where none can be given), and how many units it rests on."""

    value: float
    low: float
    high: float
    n: int


class Evidence(NamedTuple):
    """What speaks for or against a claim. `sign` is 1 where the claim wants more than the reference, -1 for less."""

    estimate: Estimate
    reference: float
    sign: int
    statistic: str
    detail: str
    needed: str


def estimate(values: ArrayLike) -> Estimate:
    """Mean of independent values (n,) with a Student-t interval, NaN below two values and where all are the same."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    mean = float(known.mean()) if n else np.nan
    spread = float(known.std(ddof=1)) if n > 1 else 0.0
    if spread <= 1e-12 * max(1.0, abs(mean)):  # no spread but rounding: it says nothing of how far others would lie
        return Estimate(mean, np.nan, np.nan, n)
    half = float(student.ppf(0.975, n - 1)) * spread / np.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def judge(number: int, claim: str, evidence: Evidence) -> dict[str, Any]:
    """The row of a claim in a table of `tokenlens.records.tables` such as `findings`."""
    value, low, high, n = evidence.estimate
    verdict, missing = OPEN, f"{evidence.needed}: {n} of {FEWEST}"
    if n >= FEWEST and np.isnan(low):
        missing = f"a spread: all {n} units give {value:g}; more data sets, capacities or methods"
    elif n >= FEWEST:
        sides = (low > evidence.reference, high < evidence.reference)
        if any(sides):
            verdict = SUPPORTED if sides[0 if evidence.sign > 0 else 1] else CONTRADICTED
            missing = ""
        else:
            missing = f"the interval still contains {evidence.reference:g}: more data sets, capacities or methods"
    shown = "not known yet" if np.isnan(value) else f"{value:.3f}"
    shown += "" if np.isnan(low) else f", interval {low:.3f} to {high:.3f}, n = {n}"
    wanted = f"{'above' if evidence.sign > 0 else 'below'} {evidence.reference:g}"
    text = f"{claim}: {verdict}. The statistic, {evidence.statistic}, is {shown}; the claim wants it {wanted}."
    text += (f" {evidence.detail}" if evidence.detail else "") + (f" Missing: {missing}." if missing else "")
    return {"finding": number, "claim": claim, "statistic": evidence.statistic, "value": value, "low": low,
            "high": high, "reference": evidence.reference, "n": n, "verdict": verdict, "missing": missing,
            "paragraph": text}  # fmt: skip


def report(judged: pd.DataFrame) -> str:
    """Write a table of judged claims as text: one row and one paragraph each."""
    lines = []
    for row in judged.to_dict("records"):
        number = "-" if np.isnan(row["value"]) else f"{row['value']:.3f}"
        number += "" if np.isnan(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
        lines += [f"{row['finding']}  {row['verdict']:15s}  {number:26s}  n={row['n']:<4d} {row['claim']}"]
        lines += [f"   {row['paragraph']}", ""]
    return "\n".join(lines)


def above_chance(pairs: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """The rows of these metrics with a column `above`: how far above chance they are."""
    part = pairs[pairs["metric"].isin(metrics)].assign(above=np.nan)
    for name in metrics:
        rows = part["metric"] == name
        part.loc[rows, "above"] = base.above_chance(part.loc[rows, "value"], part.loc[rows, "chance"], name)
    return part


def without_bias(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with a column `dataset` that are not of a set with a photographer's bias."""
    return rows[~rows["dataset"].str.fullmatch(BIASED)]


def with_attributes(comparison: pd.DataFrame, runs: pd.DataFrame, ends: str = "ab") -> pd.DataFrame:
    """Rows whose runs have one keep rate, with what the runs at these ends are in columns such as family_a."""
    names = ("family", "merges", "dataset", "capacity", "method", "keep_rate")
    known = runs.set_index("run")
    merged = comparison.assign(
        **{f"{name}_{end}": comparison[f"run_{end}"].map(known[name]) for name in names for end in ends}
    )
    return merged[merged[[f"keep_rate_{end}" for end in ends]].notna().all(axis=1)]


def beside_radial(merged: pd.DataFrame) -> pd.DataFrame:
    """IoU above chance, `above`, of a pruning `method` and a radial pattern, `norm`, at the same keep rate.

    `merged` is what `with_attributes` gives.
    """
    ends = merged["family_a"].astype(str) + " " + merged["family_b"].astype(str)
    alike = (merged["axis"] == "method") & (merged["keep_rate_a"] == merged["keep_rate_b"])
    part = above_chance(merged[alike & ends.isin(["pruning radial", "radial pruning"])], ("corrected_iou",))
    first = part["family_a"] == "pruning"
    return part.assign(method=part["method_a"].where(first, part["method_b"]),
                       norm=part["method_b"].where(first, part["method_a"]))  # fmt: skip


def as_distance(rows: pd.DataFrame) -> pd.Series[float]:
    """`value` of rows with a `metric`, similarities with their sign turned: more means less alike.

    Correlations of a metric with something turn with it.
    """
    distances = [name for name, metric in METRICS.items() if metric.direction == "distance"]
    return rows["value"] * np.where(rows["metric"].isin(distances), 1.0, -1.0)
