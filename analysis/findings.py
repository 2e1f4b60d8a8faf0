"""The five findings of the study, each as one number that speaks for or against it, with an interval and a verdict.

Every number is a mean over independent units (settings, or pairs of runs) with a Student-t interval at 95 %: wide for
few units, as it should be. Supported: the interval lies wholly on the claim's side of the reference. Contradicted:
wholly on the other side. Else, and below the least number of units, not enough runs, and what is missing is said.
Similarities are taken above chance, (value - chance) / (1 - chance), so that 0 is random and 1 the same.
Source of the claims: Haurum et al., 2023, arXiv:2308.04657. The references and least numbers are ours.
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


class Estimate(NamedTuple):
    """A mean, its interval, and the units it rests on."""

    value: float
    low: float
    high: float
    n: int


class Evidence(NamedTuple):
    """What speaks for or against a finding. `sign` is 1 where the claim wants more than the reference, -1 for less."""

    estimate: Estimate
    reference: float
    sign: int
    enough: bool
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
        known = not np.isnan(row["value"])
        number = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if known else "-"
        lines += [f"{row['finding']}  {row['verdict']:15s}  {number:26s}  n={row['n']:<4d} {row['claim']}"]
        lines += [f"   {row['paragraph']}", ""]
    return "\n".join(lines)


def estimate(values: ArrayLike, less: ArrayLike | None = None) -> Estimate:
    """Mean of independent values with a Student-t interval; with `less`, the difference of two means (Welch)."""
    groups = [np.asarray(v, dtype=np.float64) for v in (values, less) if v is not None]
    groups = [v[~np.isnan(v)] for v in groups]
    n = sum(map(len, groups))
    if any(len(v) == 0 for v in groups):
        return Estimate(np.nan, np.nan, np.nan, n)
    mean = groups[0].mean() - (groups[1].mean() if len(groups) > 1 else 0)
    if any(len(v) < 2 for v in groups):
        return Estimate(float(mean), np.nan, np.nan, n)
    parts = [v.var(ddof=1) / len(v) for v in groups]
    total = sum(parts)
    shares = sum(p**2 / (len(v) - 1) for p, v in zip(parts, groups, strict=True))
    half = student.ppf(0.975, total**2 / shares) * np.sqrt(total) if total > 0 else 0.0
    return Estimate(float(mean), float(mean - half), float(mean + half), n)


def _judge(number: int, claim: str, evidence: Evidence) -> dict[str, Any]:
    value, low, high, n = evidence.estimate
    verdict, missing = OPEN, evidence.needed
    if evidence.enough and not np.isnan(low):
        sides = (low > evidence.reference, high < evidence.reference)
        if any(sides):
            verdict = SUPPORTED if sides[0 if evidence.sign > 0 else 1] else CONTRADICTED
            missing = ""
        else:
            missing = f"the interval still contains {evidence.reference:g}: more data sets, capacities, rates or seeds"
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
    share, places = [], []
    for _, setting in scored.groupby(["dataset", "split", "capacity", "keep_rate"]):
        best = setting.groupby("method")["accuracy"].mean()
        if "topk" not in best or len(best) < 4:
            continue
        others = best.drop("topk")
        share.append(float(np.mean((others < best["topk"]) + 0.5 * (others == best["topk"]))))
        places.append(1 + int((others > best["topk"]).sum()))
    detail = ""
    if places:
        first, three = np.mean(np.array(places) == 1), np.mean(np.array(places) <= 3)
        detail = f"It is the best in {first:.0%} and among the best three in {three:.0%} of the settings."
    return Evidence(
        estimate(share),
        0.5,
        1,
        len(share) >= 5,
        "the share of other methods that Top-K beats, averaged over settings",
        detail,
        f"accuracies of Top-K and 3 other methods at one data set, capacity and rate: {len(share)} of 5 settings",
    )


def _capacity(merged: pd.DataFrame) -> Evidence:
    capacity = _above_chance(merged, "capacity", ("corrected_iou", "ami"))
    rate = _above_chance(merged, "keep_rate", ("ioa", "completeness"))
    found = estimate(rate, capacity)
    detail = ""
    if len(rate) and len(capacity):
        detail = (
            f"Across rates the patterns agree by {np.mean(rate):.3f}, across capacities by {np.mean(capacity):.3f}."
        )
    return Evidence(
        found,
        0.0,
        1,
        len(rate) >= 3 and len(capacity) >= 3,
        "agreement above chance across keep rates (containment) less that across capacities (IoU, AMI)",
        detail,
        f"pairs of runs that differ in capacity only ({len(capacity)} of 3) and in keep rate only ({len(rate)} of 3)",
    )


def _radial(merged: pd.DataFrame) -> Evidence:
    ends = merged["family_a"].astype(str) + " " + merged["family_b"].astype(str)
    values = _above_chance(merged[ends.isin(["pruning radial", "radial pruning"])], "method", ("corrected_iou",))
    return Evidence(
        estimate(values),
        0.5,
        -1,
        len(values) >= 3,
        "IoU above chance of pruning and radial patterns",
        "",
        f"pairs of a pruning method and l1, l2 or linf on the same data set and model: {len(values)} of 3",
    )


def _datasets(merged: pd.DataFrame) -> Evidence:
    part = merged[(merged["axis"] == "dataset") & (merged["metric"] == "scc") & (merged["family_a"] == "pruning")]
    return Evidence(
        estimate(part["value"]),
        0.0,
        1,
        len(part) >= 3,
        "the Spearman correlation of mean-depth heat maps across data sets",
        "",
        f"runs of one pruning method, capacity and rate on different data sets: {len(part)} of 3 pairs",
    )


def _proxy(proxy: pd.DataFrame) -> Evidence:
    part = proxy[(proxy["statistic"] == "spearman") & proxy["metric"].isin(PROXIES) & (proxy["n"] >= 4)]
    sign = np.where(part["metric"].isin(DISTANCES), 1.0, -1.0)
    part = part.assign(oriented=part["value"] * sign)
    units = part.groupby(["dataset", "capacity", "keep_rate"])["oriented"].mean()
    each = part.groupby("metric")["oriented"].mean()
    detail = " ".join(f"{name}: {value:.2f}." for name, value in each.items())
    return Evidence(
        estimate(units),
        0.3,
        1,
        len(units) >= 3,
        "the Spearman correlation of accuracy difference and dissimilarity, averaged over anchors, stages and measures",
        detail,
        f"settings with accuracies of an anchor and at least 4 other methods: {len(units)} of 3",
    )


def _above_chance(merged: pd.DataFrame, axis: str, metrics: tuple[str, ...]) -> list[float]:
    """One number a pair of runs: the mean over its stages."""
    part = merged[(merged["axis"] == axis) & merged["metric"].isin(metrics)]
    part = part.assign(above=overlap.corrected(part["value"], part["chance"]))
    return [float(v) for v in part.groupby(["run_a", "run_b"])["above"].mean()]


def _with_attributes(comparison: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    kinds = runs.set_index("run")["family"]
    return comparison.assign(family_a=comparison["run_a"].map(kinds), family_b=comparison["run_b"].map(kinds))
