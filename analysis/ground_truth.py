"""What only a known truth can answer: three more claims, on sets that know where their objects are, or can move them.

They are judged as the findings are, and numbered after them. Stages, keep rates, seeds, norms and anchors are averaged
over within a unit: a data set, capacity and pruning method, or a data set and capacity where methods are compared with
each other. Sets with a photographer's bias are asked in the second claim alone, where each stands beside the set
without. Tables do not say what a model was trained on: that claim is about pictures alone where both sets have one
model, and about training too where each has its own.
The hit rate is the share of the object's patches that are kept; beside features it is that of the last stage up to
their layer. The claims and references are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenlens.records import tables as table

from .accuracy_proxy import beside_anchors
from .evidence import (
    BIASED,
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
from .metrics import ranks

if TYPE_CHECKING:
    import pandas as pd

FIRST = 6  # the study has five
OTHERS = 5  # below which a partial correlation says nothing
PRECISION, HIT_RATE = "foreground_precision", "foreground_recall"
CENTRES = "centres of merging"
LISTED = ("pruning", CENTRES, "radial", "random")  # first; other families after them


def known(comparison: pd.DataFrame, runs: pd.DataFrame) -> bool:
    """Is there any truth to ask: masks of the objects, or a set with a photographer's bias?"""
    return bool((comparison["axis"] == "object").any() or runs["dataset"].str.fullmatch(BIASED).any())


def truth(comparison: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Judge the three claims from the tables of `compare`: the `truth` table, whose columns are those of `findings`."""
    import pandas as pd

    natural = without_bias(runs)
    judged = {
        "Kept patches lie on the object": _on_object(comparison, natural),
        "A bias towards the centre moves patterns towards radial ones": _centred(comparison, runs),
        "Similarity is a proxy for performance beyond what the hit on the object tells": _beyond(comparison, natural),
    }
    rows = [judge(FIRST + i, claim, evidence) for i, (claim, evidence) in enumerate(judged.items())]
    return table.conform(pd.DataFrame(rows), "truth")


def _on_object(comparison: pd.DataFrame, runs: pd.DataFrame) -> Evidence:
    rows = with_attributes(comparison[comparison["axis"] == "object"], runs, "a")
    rows = rows.assign(family_a=rows["family_a"].where(~rows["merges_a"].astype(bool), CENTRES))
    units = ["family_a", "dataset_a", "capacity_a", "method_a"]
    each = above_chance(rows, (PRECISION,)).groupby(units)[["value", "chance", "above"]].mean()
    pruning = each[each.index.get_level_values("family_a") == "pruning"]
    detail = ""
    if len(pruning):
        share, chance = pruning["value"].mean(), pruning["chance"].mean()
        by_family, by_method = each.groupby("family_a")["above"].mean(), pruning.groupby("method_a")["above"].mean()
        detail = (
            f"{share:.0%} of the patches kept lie on the object, by chance {chance:.0%}. Above chance, by family: "
            f"{_listed(by_family.sort_index(key=_places, kind='stable'))}; "
            f"by pruning method: {_listed(by_method.sort_values(ascending=False, kind='stable'))}."
        )
    return Evidence(
        estimate(pruning["above"]),
        0.0,
        1,
        "the share of the patches kept by pruning that lie on the object, above chance",
        detail,
        "data sets without bias, capacities and pruning methods at one keep rate with masks of the objects",
    )


def _centred(comparison: pd.DataFrame, runs: pd.DataFrame) -> Evidence:
    pairs = beside_radial(with_attributes(comparison, runs))
    named = pairs["dataset_a"].str.extract(BIASED)
    pairs = pairs.assign(dataset=named[0].fillna(pairs["dataset_a"]), bias=named[1].fillna("0").astype(float))
    unit = ["dataset", "capacity_a", "method"]
    alike = [*unit, "norm", "keep_rate_a", "stage"]
    level = pairs.groupby([*alike, "bias"])["above"].mean().reset_index()
    natural, biased = level[level["bias"] == 0].drop(columns="bias"), level[level["bias"] > 0]
    both = biased.merge(natural, on=alike, suffixes=("", "_natural"))
    both = both.assign(moved=both["above"] - both["above_natural"])
    ends = both.groupby([*unit, "bias"])[["above_natural", "above"]].mean().groupby("bias").mean()
    steps = [f"from {start:.3f} to {end:.3f} at a bias of {bias:g}" for bias, start, end in ends.itertuples()]
    return Evidence(
        estimate(both.groupby(unit)["moved"].mean()),
        0.0,
        1,
        "IoU above chance of pruning and radial patterns with the bias, less that without",
        f"The IoU goes {', '.join(steps)}." if steps else "",
        "data sets, capacities and pruning methods with a pair of the method and l1, l2 or linf, at one keep rate, "
        "both with and without a bias such as embedded:shapes@bias=1",
    )


def _beyond(comparison: pd.DataFrame, runs: pd.DataFrame) -> Evidence:
    import pandas as pd

    named = ("dataset", "capacity", "metric", "partial", "plain", "hit")
    found = pd.DataFrame(_correlations(comparison, runs), columns=list(named)).dropna(subset="partial")
    each = found.groupby(["dataset", "capacity"])[["partial", "plain", "hit"]].mean()
    detail = ""
    if len(each):
        by_metric = found.groupby("metric")[["partial", "plain"]].mean()
        measures = ", ".join(f"{metric} {rest:.3f} ({plain:.3f})" for metric, rest, plain in by_metric.itertuples())
        detail = (
            f"The plain correlation over the same pairs is {each['plain'].mean():.3f}; by measure, the plain one in "
            f"brackets: {measures}. Accuracy and the share of the object kept correlate by {each['hit'].mean():.3f}."
        )
    return Evidence(
        estimate(each["partial"]),
        0.0,
        1,
        "the partial Spearman correlation of accuracy difference and dissimilarity, given the share of the object "
        "that is kept, averaged over anchors, rates, stages and measures",
        detail,
        "data sets without bias and capacities with accuracies and masks of the objects, of an anchor and at least "
        f"{OTHERS} other methods that keep patches, at one keep rate",
    )


def _correlations(comparison: pd.DataFrame, runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    """One row an anchor, setting, stage and measure: dataset, capacity, metric, and what correlates how."""
    import pandas as pd

    masked = comparison[(comparison["axis"] == "object") & (comparison["metric"] == HIT_RATE)]
    hits = pd.DataFrame({"run_b": masked["run_a"], "stage": masked["stage"], "hit": masked["value"]})
    hits = hits.sort_values("stage", kind="stable")
    rows = []
    for setting, part in beside_anchors(comparison, runs):
        part = part[part["metric"].isin(PROXIES)].sort_values("stage", kind="stable")
        part = pd.merge_asof(part, hits, on="stage", by="run_b").dropna(subset=["difference", "value", "hit"])
        part = part.assign(apart=as_distance(part))
        for (_, metric), group in part.groupby(["stage", "metric"], sort=True):
            if len(group) < OTHERS:
                continue
            worse, apart, hit = (group[name].to_numpy() for name in ("difference", "apart", "hit"))
            rows.append((setting["dataset"], setting["capacity"], metric,
                         float(ranks.partial_spearman(worse, apart, hit)), float(ranks.spearman(worse, apart)),
                         -float(ranks.spearman(worse, hit))))  # fmt: skip
    return rows


def _places(families: pd.Index[str]) -> pd.Index[int]:
    return families.map(lambda name: LISTED.index(name) if name in LISTED else len(LISTED))


def _listed(values: pd.Series[float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
