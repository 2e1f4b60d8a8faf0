"""Is similarity a proxy for accuracy? Correlation of accuracy differences with similarities, anchor by anchor.

In each setting (data set, images, model, capacity, blocks, keep rate, seed) one run is the anchor: the best, Top-K, the
un-reduced model, or a run that is named. Over the other methods of the setting, (accuracy of anchor - accuracy of
other) is correlated with the similarity of anchor and other, once per stage and metric, by Spearman and Kendall.
Positive for a distance and negative for a similarity mean the same: who is like the anchor is as accurate.
Source: Haurum et al., 2023, arXiv:2308.04657, 4.4; held against JoakimHaurum/TokenReduction@88fe07e,
reduction_methods_analysis/calculate_correlation_{models,rates}.py. Departs: p-values by permutation, of families, since
the three linkages of one clustering or the three discs are no three methods; intervals; correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenlens.errors import BadInput
from tokenlens.records import tables as table

from .metrics import ranks
from .metrics.base import METRICS

if TYPE_CHECKING:
    import pandas as pd

BASELINE, UNREDUCED = "topk", "none"  # the methods that the study's claims are about
ANCHORS = ("best", BASELINE, UNREDUCED)
STATISTICS: dict[str, Callable[[Any, Any], Any]] = {"spearman": ranks.spearman, "kendall": ranks.kendall}
FEWEST = 3  # others below which a rank correlation says nothing
SETTING = ["dataset", "split", "content", "model", "capacity", "seed"]
ANYWHERE = ("radial", "random", UNREDUCED)  # families that belong to methods at any blocks


class Correlation(NamedTuple):
    """Spearman's and Kendall's correlation, and the pairs that they rest on."""

    spearman: float
    kendall: float
    n: int


def correlate(difference: ArrayLike, similarity: ArrayLike) -> Correlation:
    """Correlate accuracy differences with similarities, (n,) x (n,), without pairs that hold a NaN. NaN below 2."""
    x, y = _both(difference, similarity)
    if len(x) < 2:
        return Correlation(np.nan, np.nan, len(x))
    return Correlation(float(ranks.spearman(x, y)), float(ranks.kendall(x, y)), len(x))


def read(path: str | Path) -> dict[str, float]:
    """Read accuracies in percent from a CSV with columns `run` and `accuracy`."""
    import pandas as pd

    if not Path(path).is_file():
        raise BadInput(f"there is no file {path}; pass a CSV with the columns run,accuracy")
    try:
        frame = pd.read_csv(path, dtype={"run": str}, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadInput(
            f"cannot read accuracies from {path}: {error}; pass a CSV with the columns run,accuracy"
        ) from None
    if not {"run", "accuracy"} <= set(frame.columns):
        raise BadInput(
            f"{path} has the columns {', '.join(map(str, frame.columns))}, but run and accuracy are needed; rename them"
        )
    number = pd.to_numeric(frame["accuracy"], errors="coerce")
    if number.isna().any():
        bad = frame["run"][number.isna()].iloc[0]
        raise BadInput(f"{path} gives run {bad!r} no number as accuracy; give percent, such as 79.8")
    outside = ~number.between(0, 100)
    if outside.any():
        bad, value = frame["run"][outside].iloc[0], number[outside].iloc[0]
        raise BadInput(f"{path} gives run {bad!r} the accuracy {value:g}; give percent, from 0 to 100")
    if frame["run"].duplicated().any():
        twice = frame["run"][frame["run"].duplicated()].iloc[0]
        raise BadInput(f"{path} names run {twice!r} twice; keep one line a run")
    return dict(zip(frame["run"], number.astype(float), strict=True))


def join(runs: pd.DataFrame, accuracies: dict[str, float]) -> pd.DataFrame:
    """Put accuracies into the `runs` table, by run name; BadInput where none of the names is a run."""
    known = set(runs["run"]) & set(accuracies)
    if not known:
        raise BadInput(
            f"none of the {len(accuracies)} runs in the accuracy file is among the runs compared "
            f"({', '.join(list(runs['run'])[:3])}, ...); use their names in its run column"
        )
    given = runs["run"].map(accuracies)
    return runs.assign(accuracy=given.where(given.notna(), runs["accuracy"]),
                       measure=runs["measure"].where(given.isna(), "given"))  # fmt: skip


def proxy(
    comparison: pd.DataFrame,
    runs: pd.DataFrame,
    anchors: Iterable[str] = ANCHORS,
    *,
    permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate accuracy difference and similarity for each anchor, setting, stage and metric: the `proxy` table.

    `comparison` and `runs` are tables of `compare`. Anchors are "best", "topk", "none" (un-reduced) or run names.
    p is by permutation of families (exact up to 7; NaN of one alone), q after Benjamini-Hochberg over the whole table,
    low and high `ranks.correlation_interval` over the others.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    families = runs.set_index("run")["family"]
    for setting, part in beside_anchors(comparison, runs, anchors):
        part = part.assign(family=part["run_b"].map(families))
        for (stage, metric), group in part.groupby(["stage", "metric"], sort=True):
            rows += correlated(setting | {"stage": stage, "metric": metric}, group, permutations, seed)
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["q"] = ranks.benjamini_hochberg(frame["p"])
    return table.conform(frame, "proxy")


def correlated(
    place: dict[str, Any], methods: pd.DataFrame, permutations: int = 9999, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """A row of this `place` for Spearman and for Kendall, of one `difference`, `value` and `family` a method.

    None where fewer than `FEWEST` methods have both numbers; p is by permutation of families.
    """
    known = methods.dropna(subset=["difference", "value"])
    x, y, family = (known[name].to_numpy() for name in ("difference", "value", "family"))
    for name, statistic in STATISTICS.items() if len(x) >= FEWEST else ():
        value = float(statistic(x, y))
        low, high = ranks.correlation_interval(value, len(x), statistic)
        p = ranks.permutation_pvalue(x, y, statistic, permutations, seed, family)
        yield place | {"statistic": name, "value": value, "n": len(x), "p": p, "low": low, "high": high}


def beside_anchors(
    comparison: pd.DataFrame, runs: pd.DataFrame, anchors: Iterable[str] = ANCHORS
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each anchor in each setting, with the rows of `comparison` that compare it with the setting's other methods.

    Yields (anchor, its run, dataset, capacity, keep_rate) by name, and rows turned so that the anchor is run_a and the
    other run_b, with `difference`, by how much the anchor is more accurate. BadInput where there is no such anchor.
    """
    anchors = tuple(anchors)
    unknown = [name for name in anchors if name not in ANCHORS and name not in set(runs["run"])]
    if unknown:
        raise BadInput(f"there is no anchor {unknown[0]!r}; use {', '.join(ANCHORS)} or the name of a run")
    similar = mirrored(comparison[comparison["axis"] == "method"])
    accuracy = runs.set_index("run")["accuracy"]
    for anchor, one, rate, others in _settings(runs, anchors):
        part = similar[(similar["run_a"] == one.run) & similar["run_b"].isin(others)]
        yield (
            {"anchor": anchor, "run": one.run, "dataset": one.dataset, "capacity": one.capacity, "keep_rate": rate},
            part.assign(difference=accuracy[one.run] - accuracy[part["run_b"]].to_numpy()),
        )


def _both(difference: ArrayLike, similarity: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.asarray(v, dtype=np.float64) for v in (difference, similarity))
    use = ~(np.isnan(x) | np.isnan(y))
    return x[use], y[use]


def mirrored(comparison: pd.DataFrame) -> pd.DataFrame:
    """Every pair seen from both sides; a metric that is none seen from the other side is left out there."""
    import pandas as pd

    turned = comparison.rename(columns={"run_a": "run_b", "run_b": "run_a"})
    names = {name: METRICS[name].swap if name in METRICS else "" for name in turned["metric"].unique()}
    turned = turned.assign(metric=turned["metric"].map({name: swap or name for name, swap in names.items()}))
    return pd.concat([comparison, turned[comparison["metric"].map(names).notna()]], ignore_index=True)


def _settings(runs: pd.DataFrame, anchors: Iterable[str]) -> Iterable[tuple[str, Any, float, list[str]]]:
    """Each anchor in each setting: (anchor, its row, keep rate, the other runs)."""
    scored = runs[runs["accuracy"].notna()]
    for _, group in scored.groupby(SETTING, sort=True):
        anywhere = group["family"].isin(ANYWHERE)
        for blocks in sorted(set(group["blocks"][~anywhere])) or sorted(set(group["blocks"])):
            here = group[anywhere | (group["blocks"] == blocks)]
            reduced = here[here["keep_rate"].notna() & (here["method"] != UNREDUCED)]
            for rate, members in reduced.groupby("keep_rate"):
                yield from _anchored(here, members, float(rate), anchors)


def _anchored(
    group: pd.DataFrame, members: pd.DataFrame, rate: float, anchors: Iterable[str]
) -> Iterable[tuple[str, Any, float, list[str]]]:
    """Each anchor beside the members, which have one keep rate, of a group that holds the un-reduced model too."""
    for anchor in anchors:
        pool = members if anchor in ("best", BASELINE) else group
        if anchor == "best":
            found = members.sort_values(["accuracy", "run"], ascending=[False, True])
        else:
            found = pool[(pool["method"] == anchor) if anchor in ANCHORS else (pool["run"] == anchor)]
            found = found[found["keep_rate"].isna() | (found["keep_rate"] == rate) | (found["method"] == UNREDUCED)]
        if len(found):
            one = found.iloc[0]
            yield anchor, one, rate, [name for name in members["run"] if name != one.run]
