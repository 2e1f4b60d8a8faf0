"""The accuracy proxy: its anchors, its direction, its honesty."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tokenlens.analysis import accuracy_proxy as accuracy
from tokenlens.analysis.compare import Comparison, compare
from tokenlens.analysis.metrics import ranks
from tokenlens.errors import BadInput
from tokenlens.records import tables as table

MakeRun = Callable[..., xr.Dataset]
FAMILIES = {"topk": "pruning", "evit": "pruning"}
METHODS = {"evit": 71.0, "random": 40.0, "tome": 66.0, "kmedoids": 60.0, "sit": 58.0}


def tables(
    comparison: list[tuple[str, str, str, float]], scores: dict[str, float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A comparison (run_a, run_b, metric, value) along methods, and its runs, all of one setting."""
    rows = [{"run_a": a, "run_b": b, "axis": "method", "stage": 3, "metric": m, "value": v, "std": 0.0, "n": 9,
             "chance": 0.0, "low": 0.0, "high": 0.0} for a, b, m, v in comparison]  # fmt: skip
    runs = [{"run": r, "dataset": "d", "split": "val", "model": "m", "capacity": "tiny", "method": r,
             "family": FAMILIES.get(r, r), "keep_rate": np.nan if r == "none" else 0.5,
             "seed": 0, "images": 9, "complete": True, "measure": "top1",
             "accuracy": score, "gflops": 1.0} for r, score in scores.items()]  # fmt: skip
    return table.conform(pd.DataFrame(rows), "comparison"), table.conform(pd.DataFrame(runs), "runs")


def test_the_more_alike_the_more_accurate() -> None:
    scores = {"topk": 70.0, **METHODS}
    alike = {m: 1 - abs(70 - s) / 100 for m, s in scores.items()}
    pairs = [(*sorted(("topk", m)), "iou", alike[m]) for m in METHODS if m != "evit"]  # evit is the one above topk
    found = accuracy.proxy(*tables(pairs, scores), ["topk"])
    assert found["value"].tolist() == pytest.approx([-1, -1])
    assert found["n"].tolist() == [4, 4]
    assert found["p"].tolist() == pytest.approx([2 / 24, 2 / 24])
    assert found["q"].tolist() == pytest.approx([2 / 24, 2 / 24])


def test_anchors_are_the_best_topk_the_unreduced_or_a_run() -> None:
    scores = {"topk": 70.0, "none": 75.0, **METHODS}
    names = list(scores)
    pairs = [(a, b, "procrustes", float(i * j + i)) for i, a in enumerate(names) for j, b in enumerate(names) if a < b]
    found = accuracy.proxy(*tables(pairs, scores), [*accuracy.ANCHORS, "sit"])
    assert found.groupby("anchor")["run"].first().to_dict() == {
        "best": "evit", "topk": "topk", "none": "none", "sit": "sit"}  # fmt: skip
    assert set(found["n"]) == {5, 6}  # all methods of the setting but the anchor; the un-reduced model is no method
    assert found["q"].to_numpy() == pytest.approx(np.maximum(found["q"], found["p"]))


def test_seen_from_the_other_side_directed_measures_trade_places() -> None:
    scores = {"a": 60.0, "b": 50.0, "c": 40.0, "topk": 70.0}
    pairs = [(m, "topk", "homogeneity", v) for m, v in zip("abc", (0.9, 0.8, 0.7), strict=True)]
    found = accuracy.proxy(*tables(pairs, scores), ["topk"])
    assert set(found["metric"]) == {"completeness"}
    assert found["value"].tolist() == pytest.approx([-1, -1])


def test_a_metric_that_is_none_from_the_other_side_is_taken_from_one() -> None:
    scores = {"a": 60.0, "b": 50.0, "c": 40.0, "topk": 70.0, "z": 10.0}
    pairs = [(m, "topk", "ioa", v) for m, v in zip("abc", (0.9, 0.8, 0.7), strict=True)]
    assert len(accuracy.proxy(*tables(pairs, scores), ["topk"])) == 0
    assert len(accuracy.proxy(*tables([(b, a, m, v) for a, b, m, v in pairs], scores), ["topk"])) == 2


def test_too_few_others_say_nothing() -> None:
    pairs = [("a", "topk", "iou", 0.5), ("b", "topk", "iou", 0.4), ("c", "topk", "iou", np.nan)]
    found = accuracy.proxy(*tables(pairs, {"a": 1.0, "b": 2.0, "c": 3.0, "topk": 4.0}), ["topk"])
    assert len(found) == 0
    assert list(found.columns) == list(table.COLUMNS["proxy"])
    assert np.isnan(accuracy.correlate([1.0], [2.0])[:2]).all()


def test_noise_is_rarely_significant_and_never_after_correction() -> None:
    rng = np.random.default_rng(0)
    scores = {"topk": 70.0, **{f"m{i}": float(s) for i, s in enumerate(rng.random(9) * 50)}}
    pairs = [(m, "topk", f"noise{k}", rng.random()) for m in scores if m != "topk" for k in range(30)]
    found = accuracy.proxy(*tables(pairs, scores), ["topk"], permutations=400)
    assert 0 < found["p"].min() < 0.2
    assert (found["p"] < 0.05).mean() < 0.2
    assert (found["q"] >= 0.05).all()
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()


def test_variants_of_one_idea_are_not_counted_as_methods() -> None:
    """Three linkages and three discs that agree among themselves: a perfect order of two families says nothing."""
    scores = {"topk": 70.0, **{f"a{i}": 60.0 + i for i in range(3)}, **{f"b{i}": 40.0 + i for i in range(3)}}
    pairs = [(m, "topk", "iou", s / 100) for m, s in scores.items() if m != "topk"]
    comparison, runs = tables(pairs, scores)
    alone = accuracy.proxy(comparison, runs, ["topk"])
    assert alone["p"].to_numpy() == pytest.approx(2 / 720)
    variants = accuracy.proxy(comparison, runs.assign(family=runs["run"].str[0]), ["topk"])
    assert variants["p"].tolist() == [1.0, 1.0]


def test_a_perfect_order_of_few_is_no_proof() -> None:
    for statistic in (ranks.spearman, ranks.kendall):
        low, high = ranks.correlation_interval(1.0, 6, statistic)
        assert low < 0.8 and high == 1
        assert ranks.correlation_interval(-1.0, 6, statistic) == pytest.approx((-high, -low))
    assert ranks.correlation_interval(0.9, 3) == (-1, 1)
    assert np.isnan(ranks.correlation_interval(np.nan, 9)).all()


def test_another_setting_is_another_anchor() -> None:
    scores = {"topk": 70.0, **METHODS}
    comparison, runs = tables([(m, "topk", "iou", s / 100) for m, s in METHODS.items()], scores)
    late = runs[runs["run"] == "topk"].assign(run="late", accuracy=99.0, blocks="9,11")
    found = accuracy.proxy(comparison, pd.concat([runs, late]), ["best", "topk"])
    assert set(found["run"]) == {"evit", "topk"} or set(found["run"]) == {"topk"}


def test_published_accuracies_can_be_joined(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(m, metrics={}) for m in ("topk", *METHODS)]
    found: Comparison = compare(runs, ["method"], ["corrected_iou"], resamples=20)
    assert found.runs["accuracy"].isna().all()
    assert len(accuracy.proxy(found.comparison, found.runs)) == 0
    path = tmp_path / "published.csv"
    path.write_text("run,accuracy\n" + "".join(f"{m}-0.5-0,{s}\n" for m, s in (METHODS | {"topk": 70.0}).items()))
    joined = accuracy.join(found.runs, accuracy.read(path))
    assert joined.set_index("run")["accuracy"]["sit-0.5-0"] == 58.0
    assert set(joined["measure"]) == {"given"}
    proxy = accuracy.proxy(found.comparison, joined)
    assert set(proxy["anchor"]) == {"best", "topk"}
    assert set(proxy["n"]) == {3}  # of pruning and of mergers with centres


@pytest.mark.parametrize(("text", "message"), [
    ("name,top1\na,1\n", "but run and accuracy are needed"),
    ("run,accuracy\na,high\n", "gives run 'a' no number"),
    ("run,accuracy\na,1\na,2\n", "names run 'a' twice"),
    ("", "cannot read accuracies"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "accuracy.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        accuracy.read(path)


def test_names_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    comparison, runs = tables([], {"topk": 1.0})
    with pytest.raises(BadInput, match="no anchor 'topkk'"):
        accuracy.proxy(comparison, runs, ["topkk"])
    with pytest.raises(BadInput, match="none of the 1 runs in the accuracy file"):
        accuracy.join(runs, {"elsewhere": 3.0})
    with pytest.raises(BadInput, match=r"there is no file .*missing.csv; pass a CSV with the columns run,accuracy"):
        accuracy.read(tmp_path / "missing.csv")
