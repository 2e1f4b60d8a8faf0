"""Does a method whose patterns change more from one keep rate, or capacity, to another lose more accuracy there?

The `across` table: for two levels of an axis, over methods, what accuracy falls by is correlated with how alike each
method's patterns at both levels are, by Spearman and Kendall, once per stage and metric. The first level is the higher
rate, or the smaller capacity. Positive for a distance and negative for a similarity: who changes more falls by more.
Source: Haurum et al., 2023, arXiv:2308.04657; JoakimHaurum/TokenReduction@88fe07e, reduction_methods_analysis/
calculate_correlation_rates.py correlates along rates so. Departs: as `accuracy_proxy`; and capacities, which is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenlens.records import tables as table

from .accuracy_proxy import UNREDUCED, correlated
from .metrics import ranks
from .off_the_shelf import correlations

if TYPE_CHECKING:
    import pandas as pd

SHARED = ["dataset", "split", "content", "blocks", "seed"]  # of both runs of a pair, and of all pairs of a row
AXES = {"keep_rate": "capacity", "capacity": "keep_rate"}  # what differs, and what else a pair has in common


def across(
    comparison: pd.DataFrame, runs: pd.DataFrame, shelf: pd.DataFrame | None = None, *, permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Correlate along keep rates and capacities and, where there is such a table, `off_the_shelf`: the `across` table.

    p is by permutation of families of methods, as in `accuracy_proxy.proxy`; q after Benjamini-Hochberg over the table.
    """
    import pandas as pd

    rows = list(_along(comparison, runs, permutations, seed))
    rows += [] if shelf is None else correlations(shelf, permutations, seed)
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["q"] = ranks.benjamini_hochberg(frame["p"])
    return table.conform(frame, "across")


def _along(comparison: pd.DataFrame, runs: pd.DataFrame, permutations: int, seed: int) -> Iterator[dict[str, Any]]:
    known = runs[runs["accuracy"].notna() & runs["keep_rate"].notna() & (runs["method"] != UNREDUCED)]
    named = [*SHARED, "accuracy", "family", *AXES]
    a, b = (known[["run", *names]].rename(columns={name: f"{name}_{end}" for name in ("run", *names)})
            for end, names in (("a", named), ("b", ["accuracy", *AXES])))  # fmt: skip
    pairs = comparison[comparison["axis"].isin(AXES)].merge(a, on="run_a").merge(b, on="run_b")
    pairs = pairs.assign(difference=pairs["accuracy_a"] - pairs["accuracy_b"], family=pairs["family_a"])
    for axis, other in AXES.items():
        ends = [f"{axis}_a", f"{axis}_b"]
        keys = [*(f"{name}_a" for name in (*SHARED, other)), *ends, "stage", "metric"]
        for key, group in pairs[pairs["axis"] == axis].groupby(keys, sort=True):
            of = dict(zip(keys, key, strict=True))
            place = {"axis": axis, "first": str(of[ends[0]]), "second": str(of[ends[1]]), "dataset": of["dataset_a"],
                     "capacity": "", "keep_rate": np.nan, "stage": of["stage"], "metric": of["metric"]}  # fmt: skip
            yield from correlated(place | {other: of[f"{other}_a"]}, group, permutations, seed)
