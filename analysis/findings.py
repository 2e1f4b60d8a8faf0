"""The five findings of the study, each as one number that speaks for or against it, with an interval and a verdict.

Pairs of runs that share a run, a model or a data set are not independent, so all that is known of one unit is averaged
first: a unit is a data set, capacity and method (radial), without the one that its pairs differ in (capacity, data
set), and without the method where methods are compared with each other (baseline, proxy). Stages, keep rates, seeds,
norms and anchors are averaged over. n counts units; every number is their mean with a Student-t interval at 95 %: wide
for few units, as it should be. Supported: the interval lies wholly on the claim's side of the reference.
Contradicted: wholly on the other side. Else, below three units, and where all units give one and the same number, not
enough runs, and what is missing is said. Runs without one keep rate, and pairs of methods at different ones, are left
out. Similarities are taken above chance, (value - chance) / (1 - chance), so that 0 is random and 1 the same.
Source of the claims: Haurum et al., 2023, arXiv:2308.04657. The references and the least number are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from tokenlens import table

from . import overlap

if TYPE_CHECKING:
    import pandas as pd

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough runs"
METHODS = ("pruning", "merging", "soft")
DISTANCES = ("procrustes", "cka", "pwcca", "pwcca_reverse", "kl", "kl_reverse", "js", "js_published", "emd")
PROXIES = ("procrustes", "vmeasure", "iou")
FEWEST = 3  # units below which nothing is judged


class Estimate(NamedTuple):
    """A mean, its interval (NaN where none can be given), and how many units it rests on."""

    value: float
    low: float
    high: float
    n: int


class Evidence(NamedTuple):
    """What speaks for or against a finding. `sign` is 1 where the claim wants more than the reference, -1 for less."""

    estimate: Estimate
    reference: float
    sign: int
    statistic: str
    detail: str
    needed: str


def findings(comparison: pd.DataFrame, runs: pd.DataFrame, proxy: pd.DataFrame | None = None) -> pd.DataFrame:
    """Judge the five findings: the `findings` table, one row each with statistic, interval, verdict, what is missing.

    `comparison` and `runs` are tables of `compare`; `proxy` that of `accuracy.proxy`, computed here if not given.
    """
    import pandas as pd

    from .accuracy import proxy as correlate_all

    proxy = correlate_all(comparison, runs) if proxy is None else proxy
    merged = _with_attributes(comparison, runs)
    judged: list[tuple[str, Callable[[], Evidence]]] = [
        ("Top-K pruning is a strong baseline", lambda: _baseline(runs)),
        ("Patterns change with the capacity of the backbone more than with the keep rate", lambda: _capacity(merged)),
        ("Patterns of pruning methods differ from fixed radial patterns", lambda: _radial(merged)),
        ("Patterns of pruning methods are correlated across data sets", lambda: _datasets(merged)),
        ("Similarity of patterns is a proxy for performance", lambda: _proxy(proxy)),
    ]
    return table.conform(
        pd.DataFrame([_judge(i + 1, claim, ask()) for i, (claim, ask) in enumerate(judged)]), "findings"
    )


def report(judged: pd.DataFrame) -> str:
    """Write the findings table as text: one row and one paragraph each."""
    lines = []
    for row in judged.to_dict("records"):
        number = "-" if np.isnan(row["value"]) else f"{row['value']:.3f}"
        number += "" if np.isnan(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
        lines += [f"{row['finding']}  {row['verdict']:15s}  {number:26s}  n={row['n']:<4d} {row['claim']}"]
        lines += [f"   {row['paragraph']}", ""]
    return "\n".join(lines)


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


def _judge(number: int, claim: str, evidence: Evidence) -> dict[str, Any]:
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


def _baseline(runs: pd.DataFrame) -> Evidence:
    scored = runs[runs["accuracy"].notna() & runs["keep_rate"].notna() & runs["family"].isin(METHODS)]
    shares: dict[tuple[Any, ...], list[float]] = {}
    places = []
    for (dataset, _, capacity, _), setting in scored.groupby(["dataset", "split", "capacity", "keep_rate"]):
        best = setting.groupby("method")["accuracy"].mean()
        if "topk" not in best or len(best) < 4:
            continue
        others = best.drop("topk")
        share = float(np.mean((others < best["topk"]) + 0.5 * (others == best["topk"])))
        shares.setdefault((dataset, capacity), []).append(share)
        places.append(1 + int((others > best["topk"]).sum()))
    detail = ""
    if places:
        first, three = np.mean(np.array(places) == 1), np.mean(np.array(places) <= 3)
        detail = f"It is the best in {first:.0%} and among the best three in {three:.0%} of {len(places)} settings."
    return Evidence(
        estimate([float(np.mean(unit)) for unit in shares.values()]),
        0.5,
        1,
        "the share of other methods that Top-K beats, averaged over keep rates",
        detail,
        "data sets and capacities with accuracies of Top-K and 3 other methods at one keep rate",
    )


def _capacity(merged: pd.DataFrame) -> Evidence:
    own = merged[merged["family_a"].isin(METHODS)]  # a fixed pattern follows no backbone
    unit = ["dataset_a", "method_a"]
    capacity = _above_chance(own[own["axis"] == "capacity"], ("corrected_iou", "ami")).groupby(unit)["above"].mean()
    rate = _above_chance(own[own["axis"] == "keep_rate"], ("ioa", "completeness")).groupby(unit)["above"].mean()
    both = rate.index.intersection(capacity.index)
    detail = ""
    if len(both):
        across = [part.loc[both].mean() for part in (rate, capacity)]
        detail = f"Across rates the patterns agree by {across[0]:.3f}, across capacities by {across[1]:.3f}."
    return Evidence(
        estimate(rate.loc[both] - capacity.loc[both]),
        0.0,
        1,
        "agreement above chance across keep rates (containment) less that across capacities (IoU, AMI)",
        detail,
        "data sets and methods with pairs of runs that differ in capacity only and pairs that differ in keep rate only",
    )


def _radial(merged: pd.DataFrame) -> Evidence:
    ends = merged["family_a"].astype(str) + " " + merged["family_b"].astype(str)
    alike = (merged["axis"] == "method") & (merged["keep_rate_a"] == merged["keep_rate_b"])
    part = _above_chance(merged[alike & ends.isin(["pruning radial", "radial pruning"])], ("corrected_iou",))
    part = part.assign(method=part["method_a"].where(part["family_a"] == "pruning", part["method_b"]))
    return Evidence(
        estimate(part.groupby(["dataset_a", "capacity_a", "method"])["above"].mean()),
        0.5,
        -1,
        "IoU above chance of pruning and radial patterns at the same keep rate",
        "",
        "data sets, capacities and pruning methods with a pair of the method and l1, l2 or linf at one keep rate",
    )


def _datasets(merged: pd.DataFrame) -> Evidence:
    part = merged[(merged["axis"] == "dataset") & (merged["metric"] == "scc") & (merged["family_a"] == "pruning")]
    return Evidence(
        estimate(part.groupby(["capacity_a", "method_a"])["value"].mean()),
        0.0,
        1,
        "the Spearman correlation of mean-depth heat maps across data sets",
        "",
        "capacities and pruning methods with runs at one keep rate on different data sets",
    )


def _proxy(proxy: pd.DataFrame) -> Evidence:
    part = proxy[(proxy["statistic"] == "spearman") & proxy["metric"].isin(PROXIES) & (proxy["n"] >= 4)]
    sign = np.where(part["metric"].isin(DISTANCES), 1.0, -1.0)
    part = part.assign(oriented=part["value"] * sign)
    each = part.groupby("metric")["oriented"].mean()
    return Evidence(
        estimate(part.groupby(["dataset", "capacity"])["oriented"].mean()),
        0.3,
        1,
        "the Spearman correlation of accuracy difference and dissimilarity, averaged over anchors, rates, stages and "
        "measures",
        " ".join(f"{name}: {value:.2f}." for name, value in each.items()),
        "data sets and capacities with accuracies of an anchor and at least 4 other methods at one keep rate",
    )


def _above_chance(pairs: pd.DataFrame, metrics: tuple[str, ...]) -> pd.DataFrame:
    """The rows of these metrics with a column `above`: how far above chance they are."""
    part = pairs[pairs["metric"].isin(metrics)]
    return part.assign(above=overlap.corrected(part["value"], part["chance"]))


def _with_attributes(comparison: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of runs that both have one keep rate, with what both ends are in columns such as family_a."""
    names = ("family", "dataset", "capacity", "method", "keep_rate")
    known = runs.set_index("run")
    merged = comparison.assign(
        **{f"{name}_{end}": comparison[f"run_{end}"].map(known[name]) for name in names for end in "ab"}
    )
    return merged[merged["keep_rate_a"].notna() & merged["keep_rate_b"].notna()]
