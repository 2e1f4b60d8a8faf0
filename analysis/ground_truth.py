"""What only a known truth can answer: three more claims, on sets that know where their objects are, or can move them.

They are declared in `claims.yaml` and judged as the findings are. Stages, keep rates, seeds, norms and anchors are
averaged over within a cell. Sets with a photographer's bias are asked in the second claim alone, where each stands
beside the set without. Tables do not say what a model was trained on: that claim is about pictures alone where both
sets have one model, and about training too where each has its own.
The hit rate is the share of the object's patches that are kept; beside features it is that of the last stage up to
their layer. The claims and references are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .accuracy_proxy import beside_anchors
from .evidence import (
    BIASED,
    PROXIES,
    Evidence,
    above_chance,
    as_distance,
    beside_radial,
    judge,
    with_attributes,
    without_bias,
)
from .metrics import ranks
from .statistics.reliability import reliability

if TYPE_CHECKING:
    import pandas as pd

OTHERS = 5  # below which a partial correlation says nothing
PRECISION, HIT_RATE = "foreground_precision", "foreground_recall"
CENTRES = "centres of merging"
LISTED = ("pruning", CENTRES, "radial", "random")  # first; other families after them


def known(comparison: pd.DataFrame, runs: pd.DataFrame) -> bool:
    """Is there any truth to ask: masks of the objects, or a set with a photographer's bias?"""
    return bool((comparison["axis"] == "object").any() or runs["dataset"].str.fullmatch(BIASED).any())


def truth(comparison: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Judge the three claims from the tables of `compare`: the `truth` table, whose columns are those of `findings`."""
    natural = without_bias(runs)
    return judge(
        "truth",
        {
            "on_the_object": partial(on_the_object, comparison, natural),
            "on_the_object_given_centre": partial(on_the_object, comparison, natural, given_centre=True),
            "moved_by_a_bias": partial(moved_by_a_bias, comparison, runs),
            "proxy_beyond_the_hit": partial(proxy_beyond_the_hit, beside_hits(comparison, natural)),
        },
    )


def on_the_object(
    comparison: pd.DataFrame, runs: pd.DataFrame, pool: Sequence[str], given_centre: bool = False
) -> Evidence:
    """Share of the patches kept that lie on the object, above chance; other families are told beside it.

    Given the distance from the centre, what radial patterns of that rate and stage hit takes the place of chance.
    """
    masked = comparison[(comparison["axis"] == "object") & (comparison["metric"] == PRECISION)]
    rows = with_attributes(masked, runs, "a")
    if given_centre:
        place = [*(f"{name}_a" for name in ("dataset", "content", "capacity", "blocks", "keep_rate")), "stage"]
        discs = rows[rows["family_a"] == "radial"].groupby(place)["value"].mean().rename("chance")
        rows = rows.drop(columns="chance").join(discs, on=place)
    part = above_chance(rows, (PRECISION,))
    family = part["family_a"].where(~part["merges_a"].astype(bool), CENTRES)
    part = part.assign(dataset=part["dataset_a"], capacity=part["capacity_a"], method=part["method_a"], family=family)
    unit = ["dataset", "capacity", "method", "family"]
    each = part.groupby(unit)[["value", "chance", "above", "error"]].mean().reset_index()
    own = each[each["family"].isin(pool)]
    detail = ""
    if len(own):
        by_family, by_method = each.groupby("family")["above"].mean(), own.groupby("method")["above"].mean()
        detail = (
            f"{own['value'].mean():.0%} of the patches kept lie on the object, by chance {own['chance'].mean():.0%}. "
            f"Above chance, by family: {_listed(by_family.sort_index(key=_places, kind='stable'))}; "
            f"by pruning method: {_listed(by_method.sort_values(ascending=False, kind='stable'))}."
        )
    return Evidence(own.assign(value=own["above"]), detail)


def moved_by_a_bias(comparison: pd.DataFrame, runs: pd.DataFrame, pool: Sequence[str]) -> Evidence:
    """IoU with radial patterns on a set with a bias, less that on the set without: sizes are the same."""
    pairs = beside_radial(with_attributes(comparison, runs), "corrected_iou", pool)
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
    rows = both.rename(columns={"capacity_a": "capacity"}).assign(value=both["moved"])
    return Evidence(rows[["dataset", "capacity", "method", "value"]],
                    f"The IoU goes {', '.join(steps)}." if steps else "")  # fmt: skip


class BesideHit(NamedTuple):
    """The others beside an anchor at a stage by a measure: (n,) each, with their hit rate and its noise's variance."""

    dataset: str
    capacity: str
    metric: str
    difference: NDArray[Any]
    apart: NDArray[Any]
    family: NDArray[Any]
    hit: NDArray[Any]
    noise: NDArray[Any]


def beside_hits(comparison: pd.DataFrame, runs: pd.DataFrame) -> list[BesideHit]:
    """All anchors at all stages by all measures of the proxy, beside runs that have masks."""
    import pandas as pd

    masked = comparison[(comparison["axis"] == "object") & (comparison["metric"] == HIT_RATE)]
    noise = masked["std"] ** 2 / (masked["n"] - 1).clip(lower=1)
    hits = pd.DataFrame({"run_b": masked["run_a"], "stage": masked["stage"], "hit": masked["value"], "noise": noise})
    hits, family, found = hits.sort_values("stage", kind="stable"), runs.set_index("run")["family"], []
    for setting, part in beside_anchors(comparison[comparison["metric"].isin(PROXIES)], runs):
        part = pd.merge_asof(part.sort_values("stage", kind="stable"), hits, on="stage", by="run_b")
        part = part.assign(apart=as_distance(part), family=part["run_b"].map(family))
        part = part.dropna(subset=["difference", "value", "hit"])
        for (_, metric), group in part.groupby(["stage", "metric"], sort=True):
            arrays = (group[name].to_numpy() for name in ("difference", "apart", "family", "hit", "noise"))
            found.append(BesideHit(setting["dataset"], setting["capacity"], str(metric), *arrays))
    return found


def proxy_beyond_the_hit(groups: Sequence[BesideHit], pool: Sequence[str]) -> Evidence:
    """What similarity tells of accuracy that the hit on the object does not."""
    import pandas as pd

    rows, used = [], [(one, np.isin(one.family.astype(str), list(pool))) for one in groups]
    used = [(one, use) for one, use in used if use.sum() >= OTHERS]
    cells = dict.fromkeys((one.dataset, one.capacity) for one, _ in used)
    for cell in cells:
        here = [(one, use) for one, use in used if (one.dataset, one.capacity) == cell]
        reliable = reliability([one.hit[use] for one, use in here], [one.noise[use] for one, use in here])
        for one, use in here:
            worse, apart, hit = one.difference[use], one.apart[use], one.hit[use]
            beyond = float(ranks.left_beyond(-worse, -apart, hit, reliable))
            plain, explained = float(ranks.spearman(worse, apart)), -float(ranks.spearman(worse, hit))
            rows.append((*cell, one.metric, beyond, plain, explained, reliable))
    named = ("dataset", "capacity", "metric", "value", "plain", "hit", "reliability")
    found = pd.DataFrame(rows, columns=list(named))
    detail = ""
    if len(found):
        each = found[["plain", "hit", "reliability"]].mean()
        by_metric = found.groupby("metric")[["value", "plain"]].mean()
        measures = ", ".join(f"{metric} {rest:.3f} ({plain:.3f})" for metric, rest, plain in by_metric.itertuples())
        detail = (
            f"The plain correlation over the same pairs is {each['plain']:.3f}; by measure, the plain one in "
            f"brackets: {measures}. Accuracy and the share of the object kept correlate by {each['hit']:.3f}; "
            f"{each['reliability']:.0%} of how that share varies over methods is no noise of the images."
        )
    return Evidence(found, detail)


def _places(families: pd.Index[str]) -> pd.Index[int]:
    return families.map(lambda name: LISTED.index(name) if name in LISTED else len(LISTED))


def _listed(values: pd.Series[float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
