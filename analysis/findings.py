"""The statistics of the study's five findings, and of what seeds change, as `claims.yaml` declares them.

Each gives rows with a `value` and the factors that its cells are crossed over; stages, keep rates, seeds, norms and
anchors are averaged over within a cell. Runs are compared within one setting: data set, split, images, model, capacity,
blocks. Where a cell holds several settings, that is said. Runs without one keep rate, pairs of methods at different
ones, and sets with a photographer's bias are left out. Similarities are taken above chance,
(value - chance) / (1 - chance), so that 0 is random and 1 the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .accuracy_proxy import BASELINE, beside_anchors
from .evidence import (
    LEVEL,
    PROXIES,
    SETTING,
    Evidence,
    above_chance,
    as_distance,
    beside_radial,
    judge,
    mixed,
    with_attributes,
    without_bias,
)
from .metrics import ranks
from .pairing import CROSSED

if TYPE_CHECKING:
    import pandas as pd

GIVEN_CENTRE = ("scc_given_centre",)
FEWEST_OTHERS = 3  # below which it says nothing how many of them are beaten


def findings(comparison: pd.DataFrame, runs: pd.DataFrame, accuracy: pd.DataFrame | None = None) -> pd.DataFrame:
    """Judge the findings from the tables of `compare`: the `findings` table, one row each.

    With the table `accuracy` the first also says how many methods Top-K can be told from, image by image.
    """
    runs = without_bias(runs)
    merged = with_attributes(comparison, runs)
    return judge(
        "findings",
        {
            "share_beaten": partial(share_beaten, runs, accuracy=accuracy),
            "lost_between_capacities": partial(lost_between_capacities, merged),
            "lost_given_centre": partial(lost_between_capacities, merged, measures=GIVEN_CENTRE),
            "overlap_with_radial": partial(overlap_with_radial, merged, comparison, runs),
            "correlated_across_datasets": partial(correlated_across_datasets, merged),
            "proxy_within_families": partial(proxy_within_families, beside(comparison, runs)),
            "lost_between_seeds": partial(lost_between_seeds, merged),
            "proxy_given_centre": partial(proxy_given_centre, beside(comparison, runs, GIVEN_CENTRE)),
        },
    )


def share_beaten(runs: pd.DataFrame, pool: Sequence[str], accuracy: pd.DataFrame | None = None) -> Evidence:
    """1 for each other method that Top-K beats in a setting, 0.5 for one that is as accurate."""
    import pandas as pd

    scored = runs[runs["accuracy"].notna() & runs["keep_rate"].notna()]
    scored = scored[scored["family"].isin(pool) | (scored["method"] == BASELINE)]
    rows, places, used = [], [], []
    for key, setting in scored.groupby([*SETTING, "keep_rate"]):
        best = setting.groupby(["method", "options"])["accuracy"].mean()
        first = best.index.get_level_values("method") == BASELINE
        others = best[~first].reset_index()
        if not first.any() or len(others) < FEWEST_OTHERS:
            continue
        own = float(best[first].iloc[0])  # of several, the one without options
        where = dict(zip(SETTING, key, strict=False))
        rows += [
            {"dataset": where["dataset"], "capacity": where["capacity"], "method": f"{method} {options}",
             "value": float(own > value) + 0.5 * (own == value)}
            for method, options, value in others.itertuples(index=False)
        ]  # fmt: skip
        places.append(1 + int((others["accuracy"] > own).sum()))
        used.append(setting)
    detail = ""
    if places:
        first, three = np.mean(np.array(places) == 1), np.mean(np.array(places) <= 3)
        detail = f"It is the best in {first:.0%} and among the best three in {three:.0%} of {len(places)} settings."
        detail += _told_apart(pd.concat(used), accuracy) + mixed(pd.concat(used), ["dataset", "capacity", "keep_rate"])
    return Evidence(pd.DataFrame(rows, columns=["dataset", "capacity", "method", "value"]), detail)


def _told_apart(used: pd.DataFrame, accuracy: pd.DataFrame | None) -> str:
    """From how many others Top-K can be told by the images that one alone has right."""
    if accuracy is None:
        return ""
    known = used.set_index("run")
    pairs = accuracy[(accuracy["axis"] == "method") & accuracy["run_a"].isin(used["run"])]
    pairs = pairs[pairs["run_b"].isin(used["run"])]
    first, second = (pairs[end].map(known["method"]) == BASELINE for end in ("run_a", "run_b"))
    alike = pairs["run_a"].map(known["keep_rate"]) == pairs["run_b"].map(known["keep_rate"])
    pairs = pairs.assign(ahead=pairs["difference"].where(first, -pairs["difference"]))[(first != second) & alike]
    told = pairs[pairs["q"] <= LEVEL]["ahead"]
    if not len(pairs):
        return ""
    return (f" Image by image it is surely ahead of {(told > 0).sum()} and behind {(told < 0).sum()} of {len(pairs)} "
            "(table accuracy, q <= 0.05).")  # fmt: skip


def lost_between_capacities(
    merged: pd.DataFrame, pool: Sequence[str], measures: tuple[str, ...] = ("ioa", "completeness")
) -> Evidence:
    """Containment across two keep rates within each of two capacities, less that from one capacity to the other.

    All four pairs are of the same two rates and sizes, so that capacity is all that differs.
    """
    own = above_chance(merged[merged["family_a"].isin(pool)], measures)
    same = [f"{name}_a" for name in ("dataset", "method", "options", "keep_rate", "blocks", "content")]
    same += ["keep_rate_b", "stage", "metric"]
    within = own[own["axis"] == "keep_rate"].groupby([*same, "capacity_a"])["above"].mean().reset_index()
    crossed = own[own["axis"] == CROSSED]
    order = crossed["capacity_a"] < crossed["capacity_b"]
    low, high = (crossed["capacity_a"].where(order, crossed["capacity_b"]),
                 crossed["capacity_b"].where(order, crossed["capacity_a"]))  # fmt: skip
    across = crossed.assign(capacity=low, capacity_b=high).groupby([*same, "capacity", "capacity_b"])["above"].mean()
    both = across.reset_index()
    for end in ("capacity", "capacity_b"):
        beside = within.rename(columns={"capacity_a": end, "above": f"within_{end}"})
        both = both.merge(beside, on=[*same, end])
    kept = both[["within_capacity", "within_capacity_b"]].mean(axis=1)
    rows = both.rename(columns={"dataset_a": "dataset", "method_a": "method"}).assign(value=kept - both["above"])
    detail = ""
    if len(rows):
        detail = f"It is {kept.mean():.3f} within a capacity, and {both['above'].mean():.3f} between two."
    return Evidence(rows, detail)


def overlap_with_radial(
    merged: pd.DataFrame, comparison: pd.DataFrame, runs: pd.DataFrame, pool: Sequence[str]
) -> Evidence:
    """Overlap of pruning and radial patterns: sets of unequal size reach 1 too, where one holds the other."""
    pairs = beside_radial(merged, "overlap_coefficient", pool)
    depths = comparison[(comparison["axis"] == "radial") & (comparison["metric"] == "heatmap_spearman")]
    own = runs[runs["family"].isin(pool)]["run"]
    central = depths[depths["run_a"].isin(own)].groupby("run_b")["value"].mean()
    detail = ""
    if len(central):
        by_norm = ", ".join(f"{name} {value:.2f}" for name, value in central.items())
        detail = f"Their mean depths correlate with the distance from the centre by {by_norm} (Spearman)."
    named = pairs.assign(dataset=pairs["dataset_a"], capacity=pairs["capacity_a"], value=pairs["above"])
    return Evidence(named[["dataset", "capacity", "method", "value", "error"]], detail)


def correlated_across_datasets(merged: pd.DataFrame, pool: Sequence[str]) -> Evidence:
    """Correlation of maps across data sets, beyond the centre that both may share.

    Of two data sets alone nobody knows how much others would differ: how far apart two unrelated maps of such
    neighbourhoods come by chance, by the shifts of one (see `heat_maps.shifted`), is then shared by all cells.
    """
    own = merged[(merged["axis"] == "dataset") & merged["family_a"].isin(pool)]
    part = own[own["metric"].isin(GIVEN_CENTRE)]
    names = {"dataset_a": "dataset", "capacity_a": "capacity", "method_a": "method"}
    rows = part.rename(columns=names)[["dataset", "dataset_b", "capacity", "method", "value"]]
    spread = (part["value"] / part["z"]).abs().median()
    one_pair = len({*part["dataset_a"], *part["dataset_b"]}) == 2
    plain = own[own["metric"] == "scc"]["value"].mean()
    detail = "" if np.isnan(plain) else f"With what the centre explains it is {plain:.3f}."
    if one_pair:
        detail += f" Two unrelated maps that are as smooth give 0 with a deviation of {spread:.3f}."
    return Evidence(rows, detail, float(spread) if one_pair and np.isfinite(spread) else 0.0)


class Beside(NamedTuple):
    """The others beside an anchor at a stage by a measure: (n,) each, the more apart the less alike."""

    dataset: str
    capacity: str
    metric: str
    difference: NDArray[Any]
    apart: NDArray[Any]
    family: NDArray[Any]


def beside(comparison: pd.DataFrame, runs: pd.DataFrame, measures: Sequence[str] = PROXIES) -> list[Beside]:
    """All anchors at all stages by these measures of the proxy."""
    family, found = runs.set_index("run")["family"], []
    for setting, part in beside_anchors(comparison[comparison["metric"].isin(measures)], runs):
        part = part.assign(apart=as_distance(part), family=part["run_b"].map(family))
        for (_, metric), group in part.dropna(subset=["difference", "apart"]).groupby(["stage", "metric"]):
            arrays = (group[name].to_numpy() for name in ("difference", "apart", "family"))
            found.append(Beside(setting["dataset"], setting["capacity"], str(metric), *arrays))
    return found


def proxy_within_families(groups: Sequence[Beside], pool: Sequence[str]) -> Evidence:
    """Who is as like the anchor as others of its family, and how accurate: families differ in both for many reasons."""
    import pandas as pd

    rows = []
    for one in groups:
        use = np.isin(one.family.astype(str), list(pool))
        x, y, family = one.difference[use], one.apart[use], one.family[use].astype(str)
        if len(x) >= FEWEST_OTHERS + len(set(family)):
            overall, within = ranks.spearman(x, y), ranks.spearman_within(x, y, family)
            rows.append((one.dataset, one.capacity, one.metric, float(overall), float(within)))
    found = pd.DataFrame(rows, columns=["dataset", "capacity", "metric", "overall", "value"])
    detail = ""
    if len(found):
        each = found.groupby("metric")[["value", "overall"]].mean()
        by_metric = ", ".join(f"{name} {within:.2f} ({overall:.2f})" for name, within, overall in each.itertuples())
        detail = (
            f"Over all families it is {found['overall'].mean():.3f}, which is for the most part how families differ; "
            f"by measure, that in brackets: {by_metric}."
        )
    return Evidence(found, detail)


def proxy_given_centre(groups: Sequence[Beside], pool: Sequence[str]) -> Evidence:
    """The same by what maps share beyond the centre, of which radial patterns have nothing."""
    return proxy_within_families(groups, [family for family in pool if family != "radial"])


def lost_between_seeds(merged: pd.DataFrame, pool: Sequence[str]) -> Evidence:
    """How far heat maps of two seeds are from one map: of all images, since noise of few makes any two unlike.

    Where noise hides a correlation there is no row.
    """
    pairs = merged[(merged["axis"] == "seed") & (merged["metric"] == "scc") & merged["family_a"].isin(pool)]
    pairs = pairs.dropna(subset="estimate")
    furthest = np.maximum(pairs["estimate"] - pairs["low"], pairs["high"] - pairs["estimate"])
    named = {"dataset_a": "dataset", "capacity_a": "capacity", "method_a": "method"}
    rows = pairs.rename(columns=named).assign(value=1 - pairs["estimate"], error=furthest / ranks.NORMAL)
    by_method = rows.groupby("method")["value"].mean().sort_values(kind="stable")
    detail = f"By method: {', '.join(f'{name} {value:.3f}' for name, value in by_method.items())}." if len(rows) else ""
    return Evidence(rows[["dataset", "capacity", "method", "value", "error"]], detail)
