"""The findings: each can be supported, contradicted, and left open."""

import re
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.analysis import evidence as judging
from tokenlens.analysis import findings as study
from tokenlens.analysis.statistics.crossed import estimate
from tokenlens.records import tables as table

METHODS = {"topk": "pruning", "evit": "pruning", "ats": "pruning", "dynamicvit": "pruning", "tome": "merging",
           "kmedoids": "merging", "dpcknn": "merging", "sit": "soft", "sinkhorn": "soft", "l2": "radial"}  # fmt: skip
SETS, CAPACITIES, RATES = ("x", "y", "z"), ("tiny", "small", "base"), (0.5, 0.7)
Tables = tuple[pd.DataFrame, pd.DataFrame]


def world(above: dict[str, float], topk: float = 57.0, noise: float = 0.01) -> Tables:
    """Tables in which similarity above chance along each axis is what `above` says, and Top-K's accuracy is `topk`."""
    rng = np.random.default_rng(0)
    runs: list[dict[str, Any]] = [
        {"run": f"{m}/{d}/{c}/{r}", "dataset": d, "split": "val", "model": c, "capacity": c, "method": m,
         "family": family, "keep_rate": r, "seed": 0, "images": 9, "complete": True, "measure": "top1",
         "gflops": 1.0, "accuracy": topk + rng.random() if m == "topk" else 50 + 10 * rng.random()}
        for d, c, r in product(SETS, CAPACITIES, RATES) for m, family in METHODS.items()
    ]  # fmt: skip
    rows = []
    for a, b in combinations(runs, 2):
        axis = "+".join(k for k in ("dataset", "capacity", "keep_rate", "method") if a[k] != b[k])
        if axis not in ("dataset", "capacity+keep_rate", "keep_rate", "method"):
            continue
        a, b = sorted((a, b), key=lambda run: -run["keep_rate"])
        key = "radial" if axis == "method" and "radial" in (a["family"], b["family"]) else axis
        metric = {"method": "overlap_coefficient", "dataset": "scc_given_centre"}.get(axis, "ioa")
        rows.append((a["run"], b["run"], axis, metric, above.get(key, 0.5) + noise * rng.normal()))
        if axis == "method":  # the less alike, the further apart in accuracy, as much as `proxy` says
            apart = abs(a["accuracy"] - b["accuracy"]) * above.get("proxy", 1) + 5 * rng.random()
            rows.append((a["run"], b["run"], axis, "procrustes", apart))
    rows += [(run["run"], run["run"], "seed", "scc", above.get("seed", 0.5) + noise * rng.normal())
             for run in runs if run["family"] in ("pruning", "merging")]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["run_a", "run_b", "axis", "metric", "value"])
    frame = frame.assign(
        estimate=frame["value"], stage=3, std=0.0, n=9, chance=0.0, low=frame["value"], high=frame["value"]
    )
    return table.conform(frame, "comparison"), table.conform(pd.DataFrame(runs), "runs")


FOR = {"capacity+keep_rate": 0.1, "keep_rate": 0.9, "radial": 0.2, "dataset": 0.7, "proxy": 10.0, "seed": 0.96}
AGAINST = {"capacity+keep_rate": 0.9, "keep_rate": 0.2, "radial": 0.8, "dataset": -0.6, "proxy": -10.0, "seed": 0.8}


@pytest.fixture(scope="module")
def supported() -> Tables:
    return world(FOR, topk=59.5)


def part_of(tables: Tables, chosen: pd.Series) -> Tables:
    """The rows of some runs."""
    comparison, runs = tables
    names = runs["run"][chosen]
    return comparison[comparison["run_a"].isin(names) & comparison["run_b"].isin(names)], runs[chosen]


def test_each_finding_can_be_supported_and_contradicted(supported: Tables) -> None:
    judged = study.findings(*supported)
    assert judged["verdict"].tolist() == [judging.SUPPORTED] * 6, judged["paragraph"].tolist()
    assert list(judged.columns) == list(table.COLUMNS["findings"])
    judged = study.findings(*world(AGAINST, topk=50.0))
    assert judged["verdict"].tolist() == [judging.CONTRADICTED] * 6, judged["paragraph"].tolist()
    assert (judged["missing"] == "").all()


def test_nothing_is_claimed_from_nothing(supported: Tables) -> None:
    comparison, runs = supported
    judged = study.findings(comparison[:0], runs[:0])
    assert set(judged["verdict"]) == {judging.OPEN}
    assert judged["value"].isna().all()
    assert judged["missing"].str.contains(": 0 of 3").all()
    assert (judged["n"] == 0).all()


def test_a_few_runs_are_not_enough_and_what_is_missing_is_said(supported: Tables) -> None:
    runs = supported[1]
    few = (runs["dataset"] == "x") & (runs["keep_rate"] == 0.5) & (runs["capacity"] == "tiny")
    judged = study.findings(*part_of(supported, few)).set_index("finding")
    assert (judged["verdict"][[2, 4, 5]] == judging.OPEN).all()
    assert "(axis capacity+keep_rate): 0 of 3 (0 of dataset, 0 of method, 0 of capacity)" in judged["missing"][2]
    assert "1 of 3 (1 of dataset, 1 of capacity)" in judged["missing"][5]


def test_pairs_that_hang_together_count_as_one_cell(supported: Tables) -> None:
    comparison, runs = supported
    judged = study.findings(comparison, runs).set_index("finding")
    data, capacities, pruning, reducing = 3, 3, 4, 9
    pairs = 3  # of three capacities, and of three data sets
    cells = [data * capacities * (reducing - 1), data * reducing * pairs, data * capacities * pruning]
    kept = data * capacities * (pruning + 3)  # three mergers
    assert judged["n"].tolist() == [*cells, pairs * capacities * pruning, data * capacities, kept]
    one = runs[(runs["dataset"] == "x") & (runs["capacity"] == "tiny") & runs["method"].isin(["topk", "l2"])]
    more = [one.assign(run=one["run"] + f"/{seed}", seed=seed) for seed in range(4)]
    many = pd.concat(more, ignore_index=True)  # 4 seeds at 2 rates: 8 pairs, and still one data set, model and method
    pairs = comparison[comparison["run_a"].isin(one["run"]) & comparison["run_b"].isin(one["run"])]
    pairs = pd.concat([pairs.assign(run_a=pairs["run_a"] + f"/{s}", run_b=pairs["run_b"] + f"/{s}") for s in range(4)])
    radial = study.findings(pairs, many).set_index("finding").loc[3]
    assert (radial["n"], radial["verdict"]) == (1, judging.OPEN)


def test_methods_at_different_rates_or_without_one_are_no_pair(supported: Tables) -> None:
    comparison, runs = supported
    judged = study.findings(comparison, runs).set_index("finding").loc[3]
    crossed = comparison[(comparison["axis"] == "method") & comparison["run_b"].str.contains("l2")]
    crossed = crossed[crossed["run_a"].str.endswith("0.5")].assign(value=0.99)
    crossed["run_b"] = crossed["run_b"].str.replace("0.5", "0.7")
    mixed = study.findings(pd.concat([comparison, crossed]), runs).set_index("finding").loc[3]
    assert (mixed["value"], mixed["n"]) == (judged["value"], judged["n"])
    none = study.findings(comparison, runs.assign(keep_rate=np.nan))
    assert (none["n"] == 0).all()


def test_what_top_k_can_be_told_from_is_said_of_runs_at_one_rate(supported: Tables) -> None:
    runs = supported[1][lambda rows: (rows["dataset"] == "x") & (rows["capacity"] == "tiny")]
    rows = [(f"{a}/x/tiny/{r}", f"{b}/x/tiny/{s}", difference, q) for a, b, r, s, difference, q in (
        ("ats", "topk", 0.5, 0.5, -4.0, 0.01), ("sit", "topk", 0.7, 0.7, 6.0, 0.05),
        ("evit", "topk", 0.5, 0.5, 9.0, 0.2), ("dpcknn", "topk", 0.5, 0.7, 9.0, 0.001),
        ("dpcknn", "evit", 0.5, 0.5, 9.0, 0.001),
    )]  # fmt: skip
    accuracy = pd.DataFrame(rows, columns=["run_a", "run_b", "difference", "q"]).assign(axis="method")
    detail = study.share_beaten(runs, ["pruning", "merging", "soft"], accuracy).detail
    assert "surely ahead of 1 and behind 1 of 3" in detail


def test_runs_of_other_images_or_blocks_are_another_setting(supported: Tables) -> None:
    """Top-K once more on a few easy images, or at late blocks, says nothing of how it stands beside the others."""
    runs = supported[1]
    plain = study.share_beaten(runs, ["pruning", "merging", "soft"]).rows
    topk = runs[runs["method"] == "topk"].assign(accuracy=100.0)
    for apart in ({"content": "a few"}, {"blocks": "9,11"}):
        more = pd.concat([runs, topk.assign(run=topk["run"] + "/more", **apart)])
        pd.testing.assert_frame_equal(study.share_beaten(more, ["pruning", "merging", "soft"]).rows, plain)
    twice = pd.concat([runs, runs.assign(run=runs["run"] + "/late", blocks="9,11")])
    assert "differ in blocks" in study.share_beaten(twice, ["pruning", "merging", "soft"]).detail


def test_cells_that_all_say_the_same_decide_what_the_range_bounds() -> None:
    comparison, runs = world(FOR, topk=80.0, noise=0)
    judged = study.findings(comparison, runs).set_index("finding")
    assert judged["value"][1] == 1
    for number in (2, 3):
        assert judged["verdict"][number] == judging.OPEN
        assert np.isnan(judged["low"][number])
        assert judged["missing"][number].startswith("a spread: all")
    for number in (1, 4):  # three sets that all agree say little of others
        assert judged["verdict"][number] == judging.UNDECIDED
        assert judged["low"][number] < judged["reference"][number] < judged["high"][number] <= 1


def test_a_measured_overlap_differs_by_no_less_than_its_interval() -> None:
    comparison, runs = world(FOR, noise=0)
    measured = comparison.assign(low=comparison["value"] - 0.05, high=comparison["value"] + 0.01)
    rows = study.overlap_with_radial(judging.with_attributes(measured, runs), measured, runs, ["pruning"]).rows
    assert rows["error"].to_numpy() == pytest.approx(0.05 / 1.96)
    found = estimate(rows, ["dataset", "capacity", "method"])
    assert 0.1 < found.low < 0.19 and 0.21 < found.high < 0.3 and found.pvalue(0.5) < 0.05


def test_the_interval_of_a_share_is_a_share(supported: Tables) -> None:
    runs, claim = supported[1], judging.declared("findings")[0]
    beaten = (runs["method"] == "topk") & (runs["dataset"] == "z") & (runs["capacity"] == "base")
    rows = study.share_beaten(runs.assign(accuracy=runs["accuracy"].mask(beaten, 0.0)), claim.pool).rows
    free, held = estimate(rows, claim.factors), estimate(rows, claim.factors, span=claim.range)
    assert free.high > 1 == held.high > held.value > held.low == free.low


def test_an_interval_that_contains_the_reference_decides_nothing() -> None:
    equal = {"capacity+keep_rate": 0.5, "keep_rate": 0.5, "radial": 0.5, "dataset": 0.0}
    judged = study.findings(*world(equal, noise=0.3)).set_index("finding").loc[[2, 3, 4]]
    assert set(judged["verdict"]) == {judging.UNDECIDED}
    assert judged["missing"].str.contains("the interval contains").all()


def test_families_apart_are_no_proxy_and_one_family_out_is_told(supported: Tables) -> None:
    """Accuracy and distance differ between families alone: overall it is a proxy, within families it is none."""
    comparison, runs = supported
    level = {"pruning": 0, "merging": 20, "soft": 40, "radial": 60}
    rng = np.random.default_rng(1)
    level_of = runs.set_index("run")["family"].map(level)
    apart = (comparison["run_a"].map(level_of) - comparison["run_b"].map(level_of)).abs() + rng.random(len(comparison))
    alone = comparison.assign(value=apart.where(comparison["metric"] == "procrustes", comparison["value"]))
    judged = study.findings(alone, runs.assign(accuracy=70 - runs["run"].map(level_of) + rng.random(len(runs))))
    fifth = judged.set_index("finding").loc[5]
    assert abs(fifth["value"]) < 0.3 and re.search("Over all families it is 0.[89]", fifth["paragraph"])
    assert "without pruning" in fifth["sensitivity"] and fifth["verdict"] != judging.SUPPORTED


def test_what_the_centre_explains_is_told_beside_it(supported: Tables) -> None:
    """What capacity changes here lies in the distance from the centre alone, and so does what tells accuracy."""
    runs = supported[1]
    comparison, runs = part_of(supported, (runs["dataset"] != "z") & (runs["capacity"] != "base"))
    rates = comparison[comparison["axis"].isin(["keep_rate", "capacity+keep_rate"])]
    near = comparison[comparison["metric"] == "procrustes"]
    noise = np.random.default_rng(3).random(len(near))
    given = pd.concat([rates.assign(value=0.4), near.assign(value=noise)]).assign(metric="scc_given_centre")
    judged = study.findings(pd.concat([comparison, given]), runs).set_index("finding")
    assert "given the distance from the centre, by Spearman of heat maps 0.000" in judged["sensitivity"][2]
    alone = re.search(r"given the distance from the centre, by Spearman of heat maps (\S+)", judged["sensitivity"][5])
    assert alone and abs(float(alone[1])) < 0.3 < judged["value"][5]
    assert judged["sensitivity"][[1, 3, 4]].str.contains("given").sum() == 0


def test_text_has_a_row_and_a_paragraph_for_each(supported: Tables) -> None:
    judged = study.findings(*supported)
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


@pytest.mark.parametrize("shape", [(2, 2, 4), (4, 3, 11)])
def test_a_number_at_the_edge_of_its_bound_is_hardly_ever_equivalent(shape: tuple[int, int, int]) -> None:
    """Nothing false is nearer to being true. At a third of the bound most of the larger worlds find it."""
    (claim,) = (one for one in judging.declared("findings") if one.bound)
    claim, rng, worlds, bound = claim._replace(bound=6.0), np.random.default_rng(4), 60, 6.0
    found = dict.fromkeys((-18.0, -6.0, -2.0, 2.0, 6.0, 18.0), 0)
    for _ in range(worlds):
        parts = [rng.normal(size=[n if axis == i else 1 for i, n in enumerate(shape)]) for axis in range(3)]
        values = sum(parts) + rng.normal(size=shape)
        rows = pd.DataFrame([(*where, values[where]) for where in np.ndindex(*shape)], columns=[*"abc", "value"])
        drawn = estimate(rows, "abc")
        for truth in found:
            one = drawn._replace(value=truth + drawn.value, low=truth + drawn.low, high=truth + drawn.high)
            decided = claim.pvalue(one) <= judging.LEVEL
            assert decided == (one.low > bound or one.high < -bound or -bound < one.low < one.high < bound)
            found[truth] += decided and claim.fits(one.value) == (abs(truth) <= bound)
    assert max(found[-6.0], found[6.0]) / worlds <= 0.05
    assert shape == (2, 2, 4) or min(found[truth] for truth in (-18.0, -2.0, 2.0, 18.0)) / worlds > 0.5


def test_what_noise_hides_is_no_equivalence(supported: Tables) -> None:
    """Of few images two seeds and two halves are alike in that nothing agrees: such rows have no estimate."""
    comparison, runs = supported
    hidden = comparison.assign(estimate=comparison["estimate"].mask(comparison["axis"] == "seed"))
    judged = study.findings(hidden, runs).set_index("finding").loc[9]
    assert (judged["verdict"], judged["n"], judged["bound"]) == (judging.OPEN, 0, 0.1)
    assert "the claim wants it within 0.1 of 0" in judged["paragraph"]
