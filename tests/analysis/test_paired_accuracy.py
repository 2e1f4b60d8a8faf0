"""Accuracies beside each other: exact counts, a bootstrap that keeps pairs, and average precisions."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.paired_accuracy import mcnemar, paired_accuracy, with_unreduced
from tokenlens.analysis.runs_table import describe
from tokenlens.records.accuracy import mean_average_precision

MakeRun = Callable[..., xr.Dataset]


def judged(run: xr.Dataset, right: np.ndarray) -> xr.Dataset:
    return run.assign(rank=("image", np.where(right, 0, 3).astype(np.int32)),
                      label=("image", np.zeros(len(right), np.int32)))  # fmt: skip


def test_counts_are_those_of_the_images_and_a_shared_part_does_not_widen_the_interval(make_run: MakeRun) -> None:
    image = np.arange(300)
    a, b = judged(make_run("topk", images=300), image % 2 == 0), judged(make_run("evit", images=300), image % 2 == 0)
    a["rank"].values[1:40:2] = 0  # right in a alone: 20 images
    b["rank"].values[41:49:2] = 0  # and in b alone: 4
    a["rank"].values[299] = -1  # of unknown class
    row = paired_accuracy([a, b]).iloc[0]
    assert (row["run_a"], row["only_a"], row["only_b"], row["n"]) == ("evit-0.5-0", 4, 20, 299)
    assert row["difference"] == pytest.approx(-100 * 16 / 299, abs=0.2)
    assert row["p"] == mcnemar(4, 20) < 0.01
    assert row["low"] < row["difference"] < row["high"] < 0
    assert row["high"] - row["low"] == pytest.approx(
        2 * 196 * np.sqrt(24 / 300**2), rel=0.2
    )  # only what differs counts


def test_the_runs_say_how_far_they_are_below_the_unreduced_model(make_run: MakeRun) -> None:
    image = np.arange(100)
    whole = judged(make_run("none", rate=None, images=100), image < 80)
    runs = [whole, judged(make_run("topk", images=100), image < 79), judged(make_run("sit", images=100), image < 50)]
    accuracy = paired_accuracy(runs)
    found = with_unreduced(describe(runs), accuracy).set_index("method")
    assert found["below"].to_dict() == pytest.approx({"none": np.nan, "topk": 1, "sit": 30}, nan_ok=True)
    assert found.loc["topk", "q"] > 0.05 > found.loc["sit", "q"]
    assert 15 < found.loc["sit", "below_low"] < 30 < found.loc["sit", "below_high"] < 45
    given = with_unreduced(describe(runs).assign(measure="given"), accuracy)
    assert given[["below", "q"]].isna().all(axis=None)


def test_seeds_without_an_unreduced_model_are_below_the_first_one(make_run: MakeRun) -> None:
    """And those that have one are below their own; nothing is beside it twice."""
    image = np.arange(100)

    def run(method: str, seed: int, right: int) -> xr.Dataset:
        rate = None if method == "none" else 0.5
        return judged(make_run(method, rate=rate, images=100, seed=seed, run=f"{method}{seed}"), image < right)

    runs = [run("none", 0, 80), run("none", 2, 60), *(run("topk", seed, 50) for seed in range(3))]
    runs.append(judged(make_run("none", rate=None, images=100, dataset="other", run="other"), image < 90))
    accuracy = paired_accuracy(runs)
    below = with_unreduced(describe(runs), accuracy).set_index("run")["below"].dropna().to_dict()
    assert below == pytest.approx({"topk0": 30, "topk1": 30, "topk2": 10})
    assert not accuracy.duplicated(["axis", "run_a", "run_b"]).any() and (accuracy["axis"] == "method").sum() == 3


def test_images_are_met_by_their_ids(make_run: MakeRun) -> None:
    a = judged(make_run("topk"), np.arange(40) % 3 == 0)
    b = a.isel(image=np.random.default_rng(0).permutation(40)).assign_attrs(make_run("evit").attrs)
    row = paired_accuracy([a, b], resamples=50).iloc[0]
    assert (row["only_a"], row["only_b"], row["difference"], row["p"]) == (0, 0, 0, 1)


def test_images_of_unknown_classes_have_no_rows(make_run: MakeRun) -> None:
    a, b = (judged(make_run(method), np.ones(40, bool)) for method in ("topk", "evit"))
    assert len(paired_accuracy([a, b], resamples=5)) == 1
    b["rank"].values[:] = -1
    assert not len(paired_accuracy([a, b], resamples=5))


def test_several_labels_have_their_mean_average_precision(make_run: MakeRun) -> None:
    rng = np.random.default_rng(0)
    label = rng.random((40, 3)) < 0.4
    runs = [make_run(method).assign(label=(("image", "class"), label),
                                    score=(("image", "class"), rng.normal(size=(40, 3)) + signal * label))
            for method, signal in (("evit", 3.0), ("topk", 0.0))]  # fmt: skip
    row = paired_accuracy(runs).iloc[0]
    one = paired_accuracy([run.isel(image=[0]) for run in runs]).iloc[0]
    assert one["n"] == 1 and one[["low", "high", "p", "q"]].isna().all()
    each = [mean_average_precision(run["score"].values, label) for run in runs]
    assert [row["accuracy_a"], row["accuracy_b"]] == pytest.approx(each)
    assert 0 < row["low"] < row["difference"] < row["high"] and row["p"] < 0.05 and row["measure"] == "mAP"
