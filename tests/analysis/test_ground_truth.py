"""What the ground truth adds: partial correlation against least squares, claims that can be supported and refuted."""

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from scipy import stats

from tokenlens.analysis import evidence as judging
from tokenlens.analysis import findings
from tokenlens.analysis import ground_truth as truth
from tokenlens.analysis.metrics import ranks
from tokenlens.analysis.statistics.reliability import reliability
from tokenlens.commands.compare import compare
from tokenlens.records import tables as table

METHODS = {"topk": "pruning", "evit": "pruning", "dpcknn": "merging", "l1": "radial", "l2": "radial",
           "linf": "radial", "random": "random"}  # fmt: skip
SETS = ("embedded:shapes", "embedded:birds")
Tables = tuple[pd.DataFrame, pd.DataFrame]


def world(hit: float = 0.3, moved: float = 0.2, apart: float = 1.0, seed: int = 0, told: bool = True) -> Tables:
    """Tables in which pruning hits the object by `hit` above chance, a bias raises IoU with radial patterns by `moved`,
    and distance grows by `apart` with the difference in accuracy. Unless it is `told`, all keep as much of the object.
    """
    rng = np.random.default_rng(seed)
    runs = [
        {"run": f"{m}/{d}/{c}", "dataset": d, "split": "val", "model": c, "capacity": c, "method": m, "family": family,
         "keep_rate": 0.5, "seed": 0, "images": 9, "complete": True, "measure": "top1", "gflops": 1.0,
         "accuracy": 70.0 if m == "topk" else 50 + 10 * rng.random()}
        for d in (*SETS, "embedded:shapes@bias=0.5", "embedded:shapes@bias=1") for c in ("tiny", "small")
        for m, family in METHODS.items()
    ]  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    for run in runs:
        above = {"pruning": hit, "radial": 0.1, "merging": 0.2}.get(str(run["family"]), 0.0) + 0.002 * rng.random()
        rows.append((run["run"], "object", "object", 3, "foreground_precision", 0.2 + 0.8 * above, 0.2))
        rows.append((run["run"], "object", "object", 3, "foreground_recall", rng.random() if told else 0.5, 0.5))
    for a, b in combinations(runs, 2):
        if (a["dataset"], a["capacity"]) != (b["dataset"], b["capacity"]):
            continue
        bias = float(str(a["dataset"]).partition("@bias=")[2] or 0)
        distance = apart * abs(float(a["accuracy"]) - float(b["accuracy"])) + 5 * rng.random()  # type: ignore[arg-type]
        rows.append((a["run"], b["run"], "method", 3, "corrected_iou", 0.1 + moved * bias + 0.01 * rng.normal(), 0.0))
        rows.append((a["run"], b["run"], "method", 11, "procrustes", distance, 2.0))
    frame = pd.DataFrame(rows, columns=["run_a", "run_b", "axis", "stage", "metric", "value", "chance"])
    frame = frame.assign(std=0.0, n=9, low=frame["value"], high=frame["value"])
    return table.conform(frame, "comparison"), table.conform(pd.DataFrame(runs), "runs")


def test_partial_correlation_is_that_of_what_least_squares_leaves() -> None:
    rng = np.random.default_rng(0)
    for size in (5, 8, 40):
        a, b, given = rng.integers(0, size, (3, size)) + rng.integers(0, size, size)  # with ties
        around = np.stack([np.ones(size), ranks.ranks(given)], axis=1)
        left = [x - around @ np.linalg.lstsq(around, x, rcond=None)[0] for x in (ranks.ranks(a), ranks.ranks(b))]
        assert ranks.partial_spearman(a, b, given) == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-10)


def test_partial_correlation_sees_orders_only_and_batches() -> None:
    a, b, given = np.random.default_rng(1).normal(size=(3, 6, 12))
    found = ranks.partial_spearman(a, b, given)
    assert found == pytest.approx(ranks.partial_spearman(np.exp(a), b**3, -np.arctan(given)))
    assert found == pytest.approx(ranks.partial_spearman(b, a, given))
    assert found == pytest.approx([float(ranks.partial_spearman(*row)) for row in zip(a, b, given, strict=True)])


def test_partial_correlation_at_its_limits() -> None:
    rng = np.random.default_rng(2)
    given = rng.normal(size=2000)
    a, b = given + rng.normal(size=2000), given + rng.normal(size=2000)
    assert ranks.spearman(a, b) > 0.4
    assert abs(ranks.partial_spearman(a, b, given)) < 0.1
    assert ranks.partial_spearman(a, b, np.ones(2000)) == ranks.spearman(a, b)
    assert ranks.partial_spearman(a, a, given) == pytest.approx(1)
    for known in (a, -(b**3)):
        assert ranks.partial_spearman(a, b, known) == 0


def test_what_is_explained_leaves_nothing_however_few_and_noisy() -> None:
    """Two that share `given` alone: ranks of few, or of what is seen through noise, would leave some of it."""
    rng = np.random.default_rng(3)
    given = rng.normal(size=(3000, 8))
    a, b, seen = (given + scale * rng.normal(size=given.shape) for scale in (0.5, 0.5, 0.7))
    share = reliability(seen, np.full((3000, 8), 0.49))
    assert share == pytest.approx(1 / 1.49, abs=0.03)
    for known, reliable in ((given, 1.0), (seen, share)):
        assert ranks.partial_spearman(a, b, known).mean() > 0.05
        assert abs(ranks.left_beyond(a, b, known, reliable).mean()) < 0.03
    more = 2 * rng.normal(size=given.shape)
    assert ranks.left_beyond(a + more, b + more, seen, share).mean() > 0.2


@pytest.mark.parametrize(("hit", "left"), [(0.3, 0.222), (0.1, 0.0)])
def test_what_discs_hit_is_told_beside_what_pruning_hits(hit: float, left: float) -> None:
    """Discs hit the object by 0.1 above chance here, so that who does no better has seen nothing but the middle."""
    sixth = truth.truth(*world(hit=hit)).set_index("finding").loc[6]
    found = re.search(
        r"given the distance from the centre, above radial patterns of that rate (\S+)", sixth["sensitivity"]
    )
    assert (
        found and float(found[1]) == pytest.approx(left, abs=0.002) and sixth["value"] == pytest.approx(hit, abs=0.002)
    )
    comparison, runs = world(hit=hit)
    kept = runs["family"] != "radial"
    assert "given" not in truth.truth(comparison, runs[kept]).set_index("finding").loc[6, "sensitivity"]


def test_each_claim_can_be_supported_and_contradicted() -> None:
    judged = truth.truth(*world(told=False))
    assert judged["verdict"].tolist() == [judging.SUPPORTED] * 3, judged["paragraph"].tolist()
    judged = truth.truth(*world(hit=-0.2, moved=-0.2, apart=-1.0, told=False))
    assert judged["verdict"].tolist() == [judging.CONTRADICTED] * 3, judged["paragraph"].tolist()
    assert judged["finding"].tolist() == [6, 7, 8]
    assert list(judged.columns) == list(table.COLUMNS["findings"])


def test_numbers_are_those_that_were_put_in() -> None:
    comparison, runs = world()
    judged = truth.truth(comparison, runs).set_index("finding")
    capacities, pruning = 2, 2
    assert judged["n"].tolist() == [len(SETS) * capacities * pruning, capacities * pruning, len(SETS) * capacities]
    assert judged["value"][6] == pytest.approx(0.3, abs=0.02)
    assert judged["value"][7] == pytest.approx(0.2 * (0.5 + 1) / 2, abs=0.02)  # over both biases
    for said in ("44% of the patches kept", "by chance 20%", "pruning 0.3", "centres of merging 0.2", "radial 0.1"):
        assert said in judged["paragraph"][6]
    assert "at a bias of 0.5, from 0.1" in judged["paragraph"][7]


def test_the_hit_is_taken_out_setting_by_setting_and_the_plain_correlation_stands_beside() -> None:
    comparison, runs = world()
    hits = comparison[comparison["metric"] == "foreground_recall"].set_index("run_a")["value"]
    apart = comparison[comparison["metric"] == "procrustes"].set_index("run_b")  # Top-K is the best and comes first
    found = []
    for _, members in runs[runs["dataset"].isin(SETS)].groupby(["dataset", "capacity"]):
        topk, others = members["run"].iloc[0], members["run"].iloc[1:]
        distances = apart[apart["run_a"] == topk]["value"][others]
        worse, hit = 70 - members["accuracy"].iloc[1:].to_numpy(), hits[others].to_numpy()
        beyond = ranks.left_beyond(-worse, -distances.to_numpy(), hit)
        found.append((beyond, stats.spearmanr(worse, distances)[0], -stats.spearmanr(worse, hit)[0]))
    beyond, plain, hit = np.mean(found, axis=0)
    judged = truth.truth(comparison, runs).set_index("finding").loc[8]
    assert judged["value"] == pytest.approx(beyond)
    assert f"same pairs is {plain:.3f}; by measure" in judged["paragraph"]
    assert f"procrustes {beyond:.3f} ({plain:.3f}). Accuracy" in judged["paragraph"]
    assert f"correlate by {hit:.3f}; 100% of how" in judged["paragraph"]


def test_the_hit_is_that_of_the_last_stage_up_to_a_layer() -> None:
    comparison, runs = world()
    late = comparison[comparison["axis"] == "object"].assign(stage=9, value=0.5)  # says nothing: all the same
    plain = truth.truth(pd.concat([comparison, late]), runs).set_index("finding").loc[8]
    said = re.search(r"procrustes ([\d.]+) \(([\d.]+)\)", plain["paragraph"])
    assert said and float(said[1]) == pytest.approx(float(said[2]), abs=0.1)
    after = truth.truth(pd.concat([comparison, late.assign(stage=12)]), runs)["value"][2]
    assert after == truth.truth(comparison, runs)["value"][2]
    assert after != plain["value"]


def test_few_methods_have_no_partial_correlation() -> None:
    comparison, runs = world()
    few = runs[runs["method"].isin(["topk", "evit", "dpcknn", "l1", "l2"])]  # an anchor and four others
    judged = truth.truth(comparison, few).set_index("finding").loc[8]
    assert (judged["n"], judged["verdict"]) == (0, judging.OPEN)
    assert "at least 5 other methods" in judged["missing"]


def test_a_biased_set_is_no_data_set_of_its_own() -> None:
    comparison, runs = world()
    natural = runs[runs["dataset"].isin(SETS)]
    for judge, rows in ((truth.truth, [0, 2]), (findings.findings, [0, 1, 2, 3, 4])):
        with_bias, without = (judge(comparison, some).loc[rows] for some in (runs, natural))
        assert (with_bias["p"].isna() == without["p"].isna()).all()  # corrected for as many claims as are judged
        said = ["p", "paragraph"]
        pd.testing.assert_frame_equal(with_bias.drop(columns=said), without.drop(columns=said))


def test_nothing_is_claimed_from_nothing() -> None:
    comparison, runs = world()
    pairs = comparison[comparison["axis"] == "method"]
    assert truth.known(comparison, runs) and truth.known(pairs, runs)
    assert not truth.known(pairs, runs[runs["dataset"].isin(SETS)])
    assert not truth.known(comparison[:0], runs[:0])
    for part in (comparison[:0], pairs[:0]):
        judged = truth.truth(part, runs[:0] if part is pairs else runs)
        assert set(judged["verdict"]) == {judging.OPEN}
        assert judged["missing"].str.contains(": 0 of 3").all()


def test_the_order_of_rows_changes_nothing() -> None:
    comparison, runs = world()
    judged = truth.truth(comparison, runs)
    pd.testing.assert_frame_equal(judged, truth.truth(comparison, runs), check_exact=True)
    mixed = [frame.sample(frac=1, random_state=0) for frame in (comparison, runs)]
    pd.testing.assert_frame_equal(judged, truth.truth(*mixed))


def call(*words: object) -> Result:
    settings = ["--resamples", "5", "--metric", "iou", "--metric", "foreground_precision"]
    return CliRunner().invoke(compare, [*map(str, words), *settings], catch_exceptions=False)


def test_compare_writes_it_prints_it_and_lets_it_be(
    make_run: Callable[..., xr.Dataset], write_run: Callable[..., Path], tmp_path: Path
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    for method in ("topk", "l2"):
        write_run(make_run(method, objects=True), runs)
        write_run(make_run(method, run=f"{method}-biased", dataset="embedded:shapes@bias=1"), runs)
    said = call(runs, "--out", out, "--findings").output
    assert said.index("What the ground truth adds:") < said.index("Kept patches lie on the object")
    first = (out / "truth.parquet").read_bytes()
    assert table.read(out, "truth")["n"].tolist() == [1, 0, 0]
    call(runs, "--out", out, "--findings")
    assert (out / "truth.parquet").read_bytes() == first
    with pytest.warns(UserWarning, match=r"foreground_precision gives no rows: .* and that was not asked for"):
        said = call(runs, "--out", out, "--axis", "method", "--where", "dataset=embedded:shapes").output
    assert "ground truth" not in said
    assert (out / "truth.parquet").read_bytes() == first  # nobody asked for it anew
