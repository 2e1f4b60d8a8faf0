"""The five findings of the study, each as one number that speaks for or against it, with an interval and a verdict.

Pairs of runs that share a run, a model or a data set are not independent, so all that is known of one unit is averaged
first: a unit is a data set, capacity and method (radial), without the one that its pairs differ in (capacity, data
set), and without the method where methods are compared with each other (baseline, proxy). Stages, keep rates, seeds,
norms and anchors are averaged over. n counts units; `judging` says what follows from them. Runs without one keep rate,
pairs of methods at different ones, and sets with a photographer's bias are left out. Similarities are taken above
chance, (value - chance) / (1 - chance), so that 0 is random and 1 the same.
Source of the claims: Haurum et al., 2023, arXiv:2308.04657. The references and the least number are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenlens.records import tables as table

from . import accuracy_proxy
from .accuracy_proxy import BASELINE
from .evidence import (
    PROXIES,
    Evidence,
    above_chance,
    as_distance,
    beside_radial,
    estimate,
    judge,
    with_attributes,
    without_bias,
)

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("pruning", "merging", "soft")


def findings(comparison: pd.DataFrame, runs: pd.DataFrame, proxy: pd.DataFrame | None = None) -> pd.DataFrame:
    """Judge the five findings: the `findings` table, one row each with statistic, interval, verdict, what is missing.

    `comparison` and `runs` are tables of `compare`; `proxy` that of `accuracy.proxy`, computed here if not given.
    """
    import pandas as pd

    proxy = accuracy_proxy.proxy(comparison, runs) if proxy is None else proxy
    runs, proxy = without_bias(runs), without_bias(proxy)
    merged = with_attributes(comparison, runs)
    judged: list[tuple[str, Callable[[], Evidence]]] = [
        ("Top-K pruning is a strong baseline", lambda: _baseline(runs)),
        ("Patterns change with the capacity of the backbone more than with the keep rate", lambda: _capacity(merged)),
        ("Patterns of pruning methods differ from fixed radial patterns", lambda: _radial(merged)),
        ("Patterns of pruning methods are correlated across data sets", lambda: _datasets(merged)),
        ("Similarity of patterns is a proxy for performance", lambda: _proxy(proxy)),
    ]
    return table.conform(
        pd.DataFrame([judge(i + 1, claim, ask()) for i, (claim, ask) in enumerate(judged)]), "findings"
    )


def _baseline(runs: pd.DataFrame) -> Evidence:
    scored = runs[runs["accuracy"].notna() & runs["keep_rate"].notna() & runs["family"].isin(METHODS)]
    shares: dict[tuple[Any, ...], list[float]] = {}
    places = []
    for (dataset, _, capacity, _), setting in scored.groupby(["dataset", "split", "capacity", "keep_rate"]):
        best = setting.groupby("method")["accuracy"].mean()
        if BASELINE not in best or len(best) < 4:
            continue
        others = best.drop(BASELINE)
        share = float(np.mean((others < best[BASELINE]) + 0.5 * (others == best[BASELINE])))
        shares.setdefault((dataset, capacity), []).append(share)
        places.append(1 + int((others > best[BASELINE]).sum()))
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
    capacity = above_chance(own[own["axis"] == "capacity"], ("corrected_iou", "ami")).groupby(unit)["above"].mean()
    rate = above_chance(own[own["axis"] == "keep_rate"], ("ioa", "completeness")).groupby(unit)["above"].mean()
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
    return Evidence(
        estimate(beside_radial(merged).groupby(["dataset_a", "capacity_a", "method"])["above"].mean()),
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
    part = part.assign(oriented=as_distance(part))
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
