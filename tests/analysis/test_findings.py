"""The five findings: each can be supported, contradicted, and left open."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens import table
from tokenlens.analysis import findings as study

METHODS = {
    "topk": "pruning",
    "evit": "pruning",
    "tome": "merging",
    "sit": "soft",
    "kmedoids": "merging",
    "l2": "radial",
}
SETTINGS = [(d, c, r) for d in ("x", "y", "z") for c in ("tiny", "small") for r in (0.5, 0.7)]


def world(above: dict[str, float], topk: float = 80.0, noise: float = 0.01) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables in which similarity above chance along each axis is what `above` says, and Top-K's accuracy is `topk`."""
    rng = np.random.default_rng(0)
    runs: list[dict[str, Any]] = [
        {"run": f"{m}/{d}/{c}/{r}", "dataset": d, "split": "val", "model": c, "capacity": c, "method": m,
         "family": family, "keep_rate": r, "seed": 0, "images": 9, "complete": True, "measure": "top1",
         "accuracy": topk if m == "topk" else 50 + 10 * rng.random()}
        for d, c, r in SETTINGS for m, family in METHODS.items()
    ]  # fmt: skip
    rows = []
    for a, b in combinations(runs, 2):
        differ = [k for k in ("dataset", "capacity", "keep_rate", "method") if a[k] != b[k]]
        if len(differ) != 1:
            continue
        axis = differ[0]
        key = "radial" if axis == "method" and "radial" in (a["family"], b["family"]) else axis
        metric = {"keep_rate": "ioa", "dataset": "scc"}.get(axis, "corrected_iou")
        level = above.get(key, 0.5) + noise * rng.normal()
        rows.append((a["run"], b["run"], axis, metric, level))
        if axis == "method":  # the less alike, the further apart in accuracy, as much as `proxy` says
            apart = abs(a["accuracy"] - b["accuracy"]) * above.get("proxy", 1) + 5 * rng.random()
            rows.append((a["run"], b["run"], axis, "procrustes", apart))
    frame = pd.DataFrame(rows, columns=["run_a", "run_b", "axis", "metric", "value"])
    frame = frame.assign(stage=3, std=0.0, n=9, chance=0.0, low=0.0, high=0.0)
    return table.conform(frame, "comparison"), table.conform(pd.DataFrame(runs), "runs")


FOR = {"capacity": 0.1, "keep_rate": 0.9, "radial": 0.2, "dataset": 0.7, "proxy": 10.0}
AGAINST = {"capacity": 0.9, "keep_rate": 0.2, "radial": 0.8, "dataset": -0.6, "proxy": -10.0}


def test_each_finding_can_be_supported_and_contradicted() -> None:
    judged = study.findings(*world(FOR))
    assert judged["verdict"].tolist() == [study.SUPPORTED] * 5, judged["paragraph"].tolist()
    judged = study.findings(*world(AGAINST, topk=10.0))
    assert judged["verdict"].tolist() == [study.CONTRADICTED] * 5, judged["paragraph"].tolist()
    assert (judged["missing"] == "").all()
    assert list(judged.columns) == list(table.COLUMNS["findings"])


def test_nothing_is_claimed_from_nothing() -> None:
    comparison, runs = world(FOR)
    judged = study.findings(comparison[:0], runs[:0])
    assert set(judged["verdict"]) == {study.OPEN}
    assert judged["value"].isna().all()
    assert judged["missing"].str.contains("0 of").all()


def test_a_few_runs_are_not_enough_and_what_is_missing_is_said() -> None:
    comparison, runs = world(FOR)
    few = runs[(runs["dataset"] == "x") & (runs["keep_rate"] == 0.5)]
    part = comparison[comparison["run_a"].isin(few["run"]) & comparison["run_b"].isin(few["run"])]
    judged = study.findings(part, few).set_index("finding")
    assert judged["verdict"][1] == judged["verdict"][2] == judged["verdict"][4] == judged["verdict"][5] == study.OPEN
    assert "2 of 5 settings" in judged["missing"][1]
    assert "keep rate only (0 of 3)" in judged["missing"][2]


def test_two_pairs_are_too_few_however_much_they_agree() -> None:
    comparison, runs = world(FOR, noise=1e-6)
    two = runs[runs["dataset"].isin(["x", "y"]) & (runs["keep_rate"] == 0.5) & (runs["capacity"] == "tiny")]
    part = comparison[comparison["run_a"].isin(two["run"]) & comparison["run_b"].isin(two["run"])]
    judged = study.findings(part, two).set_index("finding")
    assert judged["low"][4] > 0
    assert judged["verdict"][4] == study.OPEN
    assert "2 of 3 pairs" in judged["missing"][4]


def test_an_interval_that_contains_the_reference_decides_nothing() -> None:
    judged = study.findings(*world({"capacity": 0.5, "keep_rate": 0.5, "radial": 0.5, "dataset": 0.0}, noise=0.3))
    undecided = judged[judged["finding"].isin([2, 3, 4])]
    assert set(undecided["verdict"]) == {study.OPEN}
    assert undecided["missing"].str.contains("still contains").all()


def test_text_has_a_row_and_a_paragraph_for_each() -> None:
    judged = study.findings(*world(FOR))
    lines = study.report(judged).splitlines()
    for row in judged.itertuples():
        assert any(line.startswith(f"{row.finding}  {row.verdict}") for line in lines)
        assert any(row.paragraph in line for line in lines)


def test_interval_is_students() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=8), rng.normal(size=5)
    found = study.estimate(a)
    assert found[:3] == pytest.approx((a.mean(), *stats.ttest_1samp(a, 0).confidence_interval()))
    found = study.estimate(a, b)
    assert found[1:3] == pytest.approx(tuple(stats.ttest_ind(a, b, equal_var=False).confidence_interval()))
    assert np.isnan(study.estimate([1.0]).low)
    assert np.isnan(study.estimate([]).value)
