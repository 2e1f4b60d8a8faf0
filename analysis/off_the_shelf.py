"""What taking tokens away costs without any training, beside the same weights that keep them all.

The `off_the_shelf` table has a row for each run that loses tokens at every block (`--remove`), metric and last stage:
what was asked, what was left, how far below the un-reduced model the accuracy lies (with the paired test's interval and
q, as in the table `runs`), and how alike the two are. Methods
that were asked for as much may leave more or fewer tokens, so its correlations are taken twice, over methods at r asked
("at r asked"), and over methods and r together, given what tokens left tell ("at tokens left").
Source: Haurum et al., ECCV 2024, arXiv:2409.11923, 4 (off the shelf); the correlations are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tokenlens.records import tables as table
from tokenlens.records.columns import ALL_STAGES

from .accuracy_proxy import UNREDUCED, correlated, mirrored
from .metrics import ranks
from .token_statistics import ASKED, LEFT

if TYPE_CHECKING:
    import pandas as pd

SCHEDULES = ("constant", "decreasing")  # so many tokens fewer at every block, or most of them at the first
FEWEST = 5  # runs below which a partial correlation says nothing
SETTING = ["dataset", "split", "content", "model"]
AT_ASKED, AT_LEFT = "at r asked", "at tokens left"


def off_the_shelf(comparison: pd.DataFrame, runs: pd.DataFrame, tokens: pd.DataFrame) -> pd.DataFrame:
    """Each run off the shelf beside the un-reduced model of its setting; tables as `compare` gives them."""
    whole = runs[runs["method"] == UNREDUCED].drop_duplicates(SETTING)
    named = {"run": "run_a", "accuracy": "accuracy_a"}
    own = runs[runs["schedule"].isin(SCHEDULES) & (runs["method"] != UNREDUCED)]
    own = own.merge(whole[[*SETTING, *named]].rename(columns=named), on=SETTING)
    last = tokens.sort_values("stage").groupby(["run", "statistic"])["value"].last().unstack()
    last = last.reindex(columns=[ASKED, LEFT]).rename(columns={ASKED: "asked", LEFT: "left"}).reset_index()
    similar = mirrored(comparison[comparison["axis"] == "method"]).rename(columns={"run_b": "run"})
    found = own.merge(last, on="run", how="left").merge(
        similar[["run_a", "run", "metric", "stage", "value", "chance"]], on=["run_a", "run"]
    )
    newest = found.groupby(["run", "metric"])["stage"].transform("max")
    found = found[(found["stage"] == newest) | (found["stage"] == ALL_STAGES)]
    return table.conform(found.assign(below=found["accuracy_a"] - found["accuracy"]), "off_the_shelf")


def correlations(shelf: pd.DataFrame, permutations: int = 9999, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of the `across` table: of what accuracy is below the un-reduced model with how alike both are."""
    rows: list[dict[str, Any]] = []
    shelf = shelf.assign(difference=shelf["below"], family=shelf["method"])
    setting = ["dataset", "model", "metric", "stage"]
    for (dataset, model, metric, stage), group in shelf.groupby(setting, sort=True):
        place = {"axis": "off the shelf", "dataset": dataset, "capacity": model, "keep_rate": np.nan, "metric": metric,
                 "stage": stage}  # fmt: skip
        for (schedule, rate), methods in group.groupby(["schedule", "keep_rate"], sort=True):
            asked = {"first": AT_ASKED, "second": str(schedule), "keep_rate": rate}
            rows += correlated(place | asked, methods, permutations, seed)
        known = group.dropna(subset=["difference", "value", "left"])
        if len(known) >= FEWEST:
            value = float(ranks.partial_spearman(*(known[name] for name in ("difference", "value", "left"))))
            low, high = ranks.correlation_interval(value, len(known) - 1)
            rows.append(place | {"first": AT_LEFT, "second": "", "statistic": "spearman", "value": value,
                                 "n": len(known), "p": np.nan, "low": low, "high": high})  # fmt: skip
    return rows
