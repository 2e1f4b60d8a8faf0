"""The five findings: each can be supported, contradicted, and left open."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.analysis import evidence as judging
from tokenlens.analysis import findings as study
from tokenlens.records import tables as table

METHODS = {
    "topk": "pruning",
    "evit": "pruning",
    "tome": "merging",
    "sit": "soft",
    "kmedoids": "merging",
    "l2": "radial",
}
SETTINGS = [(d, c, r) for d in ("x", "y", "z") for c in ("tiny", "small") for r in (0.5, 0.7)]


def world(above: dict[str, float], topk: float = 57.0, noise: float = 0.01) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables in which similarity above chance along each axis is what `above` says, and Top-K's accuracy is `topk`."""
    rng = np.random.default_rng(0)
    runs: list[dict[str, Any]] = [
        {"run": f"{m}/{d}/{c}/{r}", "dataset": d, "split": "val", "model": c, "capacity": c, "method": m,
         "family": family, "keep_rate": r, "seed": 0, "images": 9, "complete": True, "measure": "top1",
         "gflops": 1.0, "accuracy": topk + rng.random() if m == "topk" else 50 + 10 * rng.random()}
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
    assert judged["verdict"].tolist() == [judging.SUPPORTED] * 5, judged["paragraph"].tolist()
    judged = study.findings(*world(AGAINST, topk=52.0))
    assert judged["verdict"].tolist() == [judging.CONTRADICTED] * 5, judged["paragraph"].tolist()
    assert (judged["missing"] == "").all()
    assert list(judged.columns) == list(table.COLUMNS["findings"])


def test_nothing_is_claimed_from_nothing() -> None:
    comparison, runs = world(FOR)
    judged = study.findings(comparison[:0], runs[:0])
    assert set(judged["verdict"]) == {judging.OPEN}
    assert judged["value"].isna().all()
    assert judged["missing"].str.endswith("0 of 3").all()
    assert (judged["n"] == 0).all()


def test_a_few_runs_are_not_enough_and_what_is_missing_is_said() -> None:
    comparison, runs = world(FOR)
    few = runs[(runs["dataset"] == "x") & (runs["keep_rate"] == 0.5)]
    part = comparison[comparison["run_a"].isin(few["run"]) & comparison["run_b"].isin(few["run"])]
    judged = study.findings(part, few).set_index("finding")
    assert judged["verdict"][1] == judged["verdict"][2] == judged["verdict"][4] == judged["verdict"][5] == judging.OPEN
    assert judged["missing"][1].endswith("at one keep rate: 2 of 3")
    assert judged["missing"][2].endswith("differ in keep rate only: 0 of 3")


def test_two_units_are_too_few_however_much_they_agree() -> None:
    comparison, runs = world(FOR, noise=1e-6)
    two = runs[runs["dataset"].isin(["x", "y"]) & (runs["keep_rate"] == 0.5) & (runs["capacity"] == "tiny")]
    part = comparison[comparison["run_a"].isin(two["run"]) & comparison["run_b"].isin(two["run"])]
    judged = study.findings(part, two).set_index("finding")
    assert judged["low"][4] > 0
    assert judged["verdict"][4] == judging.OPEN
    assert judged["missing"][4].endswith("2 of 3")


def test_pairs_that_hang_together_count_as_one_unit() -> None:
    comparison, runs = world(FOR)
    judged = study.findings(comparison, runs).set_index("finding")
    data, capacities, pruning, reducing = 3, 2, 2, 5
    assert judged["n"].tolist() == [data * capacities, data * reducing, data * capacities * pruning,
                                    capacities * pruning, data * capacities]  # fmt: skip
    one = runs[(runs["dataset"] == "x") & (runs["capacity"] == "tiny") & runs["method"].isin(["topk", "l2"])]
    more = [one.assign(run=one["run"] + f"/{seed}", seed=seed) for seed in range(4)]
    many = pd.concat(more, ignore_index=True)  # 4 seeds at 2 rates: 8 pairs, and still one data set, model and method
    pairs = comparison[comparison["run_a"].isin(one["run"]) & comparison["run_b"].isin(one["run"])]
    pairs = pd.concat([pairs.assign(run_a=pairs["run_a"] + f"/{s}", run_b=pairs["run_b"] + f"/{s}") for s in range(4)])
    radial = study.findings(pairs, many).set_index("finding").loc[3]
    assert (radial["n"], radial["verdict"]) == (1, judging.OPEN)


def test_methods_at_different_rates_or_without_one_are_no_pair() -> None:
    comparison, runs = world(FOR)
    judged = study.findings(comparison, runs).set_index("finding").loc[3]
    crossed = comparison[comparison["run_a"].str.contains("topk") & comparison["run_b"].str.contains("l2")]
    crossed = crossed[crossed["run_a"].str.endswith("0.5")].assign(value=0.99)
    crossed["run_b"] = crossed["run_b"].str.replace("0.5", "0.7")
    mixed = study.findings(pd.concat([comparison, crossed]), runs).set_index("finding").loc[3]
    assert (mixed["value"], mixed["n"]) == (judged["value"], judged["n"])
    none = study.findings(comparison, runs.assign(keep_rate=np.nan))
    assert (none["n"] == 0).all()


def test_units_that_all_say_the_same_decide_nothing() -> None:
    judged = study.findings(*world(FOR, topk=80.0, noise=0)).set_index("finding")
    assert judged["value"][1] == 1
    for number in (1, 2, 3, 4):
        assert judged["verdict"][number] == judging.OPEN
        assert np.isnan(judged["low"][number])
        assert judged["missing"][number].startswith("a spread: all")


def test_an_interval_that_contains_the_reference_decides_nothing() -> None:
    judged = study.findings(*world({"capacity": 0.5, "keep_rate": 0.5, "radial": 0.5, "dataset": 0.0}, noise=0.3))
    undecided = judged[judged["finding"].isin([2, 3, 4])]
    assert set(undecided["verdict"]) == {judging.OPEN}
    assert undecided["missing"].str.contains("still contains").all()


def test_text_has_a_row_and_a_paragraph_for_each() -> None:
    judged = study.findings(*world(FOR))
    lines = judging.report(judged).splitlines()
    for row in judged.itertuples():
        assert any(line.startswith(f"{row.finding}  {row.verdict}") for line in lines)
        assert any(row.paragraph in line for line in lines)


def test_text_of_one_unit_has_no_interval() -> None:
    comparison, runs = world(FOR)
    one = runs[(runs["dataset"] == "x") & (runs["capacity"] == "tiny") & runs["method"].isin(["topk", "l2"])]
    part = comparison[comparison["run_a"].isin(one["run"]) & comparison["run_b"].isin(one["run"])]
    text = judging.report(study.findings(part, one))
    assert "n=1 " in text
    assert "nan" not in text


def test_interval_is_students() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    a = rng.normal(size=8)
    found = judging.estimate([*a, np.nan])
    assert found[:3] == pytest.approx((a.mean(), *stats.ttest_1samp(a, 0).confidence_interval()))
    assert found.n == 8
    assert np.isnan(judging.estimate([1.0]).low)
    assert np.isnan(judging.estimate([0.1 + 0.2, 0.3, 0.3]).low)
    assert np.isnan(judging.estimate([]).value)
