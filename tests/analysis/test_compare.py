"""Whole comparisons of runs in memory: twins, invariance and limits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tokenlens.analysis import feature_sums, heat_maps, image_means
from tokenlens.analysis.compare import compare
from tokenlens.analysis.metrics import foreground, heatmap, overlap, partition
from tokenlens.analysis.metrics.base import METRICS
from tokenlens.core.families import UNORDERED
from tokenlens.errors import BadInput, UnknownName
from tokenlens.records import store
from tokenlens.records.columns import ALL_STAGES

MakeRun = Callable[..., xr.Dataset]

QUICK = {"resamples": 50, "chunk": 16}


def value(table: pd.DataFrame, metric: str, stage: int, column: str = "value", a: str | None = None) -> float:
    rows = table[(table["metric"] == metric) & (table["stage"] == stage)]
    rows = rows if a is None else rows[rows["run_a"] == a]
    assert len(rows) == 1, rows
    return float(rows[column].iloc[0])


def test_kept_patches_are_compared_image_by_image(make_run: MakeRun) -> None:
    a, b = make_run("evit"), make_run("topk", draw=9)
    found = compare([a, b], ["method"], **QUICK).comparison
    for i, stage in enumerate((3, 6)):
        slow = overlap.iou(a["kept"].values[:, i], b["kept"].values[:, i])
        assert value(found, "iou", stage) == pytest.approx(slow.mean())
        assert value(found, "iou", stage, "std") == pytest.approx(slow.std())
        assert value(found, "iou", stage, "chance") == pytest.approx(overlap.expected_iou(*[(18, 9)[i]] * 2, 36))
        assert value(found, "iou", stage, "low") < slow.mean() < value(found, "iou", stage, "high")
    assert set(found["n"]) == {40}
    assert "ioa" not in set(found["metric"])
    assert not set(found["metric"]) & {"vmeasure", "procrustes"}


def test_groups_are_compared_image_by_image(make_run: MakeRun) -> None:
    a, b = make_run("sit"), make_run("tome")
    found = compare([a, b], ["method"], **QUICK).comparison
    slow = partition.homogeneity_completeness_vmeasure(a["group"].values, b["group"].values)
    chance = partition.expected_agreement(a["group"].values, b["group"].values)
    for name, values, levels in zip(slow._fields, slow, chance, strict=True):
        assert value(found, name, 6) == pytest.approx(values[:, 1].mean())
        assert value(found, name, 6, "chance") == pytest.approx(levels[:, 1].mean())
    ami = partition.adjusted_mutual_information(a["group"].values, b["group"].values)
    assert value(found, "ami", 3) == pytest.approx(ami[:, 0].mean())
    assert value(found, "ami", 3, "chance") == value(found, "ari", 3, "chance") == 0
    assert "iou" not in set(found["metric"])


def test_mergers_that_keep_centres_are_compared_both_ways(make_run: MakeRun) -> None:
    found = compare([make_run("kmedoids"), make_run("topk"), make_run("tome")], ["method"], **QUICK).comparison
    both = found.groupby(["run_a", "run_b"])["metric"].agg(set)
    assert "iou" in both["kmedoids-0.5-0", "topk-0.5-0"]
    assert "ami" in both["kmedoids-0.5-0", "tome-0.5-0"]
    assert ("tome-0.5-0", "topk-0.5-0") not in both


def test_a_strangers_merger_that_keeps_its_centres_is_paired_by_iou_too(make_run: MakeRun) -> None:
    theirs = make_run("tome", run="theirs", keeps=True).assign_attrs(method="theirs")
    old = theirs.assign_attrs(run="old", method="older")
    for name in ("keeps", "merges", "adaptive", "follows_rate"):
        del old.attrs[name]
    found = compare([theirs, old, make_run("topk")], ["method"], **QUICK)
    for run in ("theirs", "old"):
        metrics = set(found.comparison[(found.comparison["run_a"] == run)]["metric"])
        assert {"iou", "scc"} <= metrics
    assert found.runs.set_index("run")[["keeps", "merges"]].loc[["old", "theirs"]].all(axis=None)


def test_the_runs_table_says_how_a_method_is_drawn(make_run: MakeRun) -> None:
    told = make_run("topk", label="Top-K", color="#08306b", marker="o", order=1)
    runs = compare([told, make_run("tome")], ["seed"], **QUICK).runs.set_index("method")
    look = ["label", "color", "marker", "order", "keeps", "merges"]
    assert runs.loc["topk", look].tolist() == ["Top-K", "#08306b", "o", 1, True, False]
    assert runs.loc["tome", look].tolist() == ["tome", "", "", UNORDERED, False, True]


def test_rates_are_compared_by_containment(make_run: MakeRun) -> None:
    low, high = make_run("topk", rate=0.5), make_run("topk", rate=0.75)
    found = compare([low, high], ["keep_rate"], **QUICK).comparison
    assert set(found["run_a"]) == {"topk-0.75-0"}
    assert value(found, "ioa", 3) == 1  # the same draw: what the lower rate keeps, the higher keeps
    assert value(found, "ioa", 3, "chance") == pytest.approx(27 / 36)
    assert value(found, "iou", 3) == pytest.approx(18 / 27)


def test_heat_maps_are_compared_over_all_images(make_run: MakeRun) -> None:
    a, b = make_run("evit"), make_run("topk")
    found = compare([a, b], ["method"], **QUICK)
    maps = [heatmap.mean_depth(run["kept"].values, [3, 6], 12) for run in (a, b)]
    for name in ("kl", "js", "js_published", "pcc", "scc", "sim", "emd"):
        assert value(found.comparison, name, ALL_STAGES) == pytest.approx(float(getattr(heatmap, name)(*maps)))
        low, high = (value(found.comparison, name, ALL_STAGES, end) for end in ("low", "high"))
        assert low <= value(found.comparison, name, ALL_STAGES) <= high
    assert value(found.comparison, "kl_reverse", ALL_STAGES) == pytest.approx(float(heatmap.kl(maps[1], maps[0])))
    heat = found.heatmap[found.heatmap["run"] == "topk-0.5-0"]
    assert heat["depth"].to_numpy() == pytest.approx(maps[1])
    assert heat["row"].tolist() == (np.arange(36) // 6).tolist()


def test_data_sets_are_compared_by_heat_maps_only(make_run: MakeRun) -> None:
    runs = [make_run("topk", run="a"), make_run("topk", run="b", dataset="other", draw=7, first=900, images=25)]
    found = compare(runs, ["dataset"], **QUICK).comparison
    assert set(found["stage"]) == {ALL_STAGES}
    assert set(found["metric"]) == {"kl", "kl_reverse", "js", "js_published", "pcc", "scc", "scc_given_centre", "sim",
                                    "emd"}  # fmt: skip
    assert set(found["n"]) == {25}


def test_a_run_is_compared_with_the_centre_and_with_its_masks(make_run: MakeRun) -> None:
    run = make_run("topk", objects=True)
    row, column = np.divmod(np.arange(36), 6)
    central = np.maximum(abs(row - 2.5), abs(column - 2.5)) < 2
    run["kept"][:] = np.stack([central, central])
    found = compare([run], **QUICK).comparison
    assert set(found["axis"]) == {"radial", "object", "layout"}
    radial = found[found["axis"] == "radial"].set_index(["metric", "run_b"])["value"]
    assert radial["depth_spearman", "linf"] == pytest.approx(radial["heatmap_spearman", "linf"])
    assert radial["depth_kendall", "linf"] < -0.7
    recall = foreground.foreground_recall(run["kept"].values, run["object"].values[:, None])
    assert value(found, "foreground_recall", 3) == pytest.approx(np.nanmean(recall[:, 0]))
    assert value(found, "foreground_recall", 3, "chance") == pytest.approx(16 / 36)


def test_images_without_an_object_do_not_count(make_run: MakeRun) -> None:
    run = make_run("topk", objects=True)
    run["object"][:10] = False
    run["kept"][:10] = True
    found = compare([run], ["object"], **QUICK).comparison
    assert value(found, "foreground_recall", 3, "n") == 30
    assert value(found, "foreground_recall", 3, "chance") == pytest.approx(18 / 36)
    assert value(found, "foreground_precision", 3, "n") == 40


def test_a_run_against_itself(make_run: MakeRun) -> None:
    for method in ("topk", "tome"):
        one = make_run(method, features=4)
        other = one.assign_attrs(run="other", seed=1)
        found = compare([one, other], ["seed"], **QUICK).comparison.set_index("metric")["value"]
        for name in {"iou", "corrected_iou", "pcc", "scc", "sim", "ami", "vmeasure", "ari", "mean_cca"} & set(
            found.index
        ):
            assert np.asarray(found[name]) == pytest.approx(1, abs=1e-6), name
        for name in {"kl", "js", "emd", "procrustes", "cka", "pwcca"} & set(found.index):
            assert np.asarray(found[name]) == pytest.approx(0, abs=1e-6), name


@pytest.mark.parametrize("order", ["shuffled", "reversed", "swapped in places"])
def test_the_order_of_images_does_not_matter(make_run: MakeRun, order: str) -> None:
    a, b = make_run("evit", features=4), make_run("topk", features=4)
    index = {"shuffled": np.random.default_rng(0).permutation(40), "reversed": np.arange(40)[::-1],
             "swapped in places": np.arange(40).reshape(-1, 2)[:, ::-1].ravel()}[order]  # fmt: skip
    straight = compare([a, b], ["method"], chunk=4, resamples=50).comparison
    permuted = compare([a, b.isel(image=index)], ["method"], chunk=4, resamples=50).comparison
    pd.testing.assert_frame_equal(straight, permuted)


def test_chunks_and_workers_do_not_change_values(make_run: MakeRun) -> None:
    runs = [make_run(m, features=4) for m in ("topk", "evit", "tome", "sit")]
    once = compare(runs, chunk=1000, workers=1, resamples=20).comparison
    often = compare(runs, chunk=7, workers=3, resamples=20).comparison
    exact = ["run_a", "run_b", "axis", "stage", "metric", "n"]
    assert once[exact].equals(often[exact])
    assert once["value"].to_numpy() == pytest.approx(often["value"].to_numpy(), abs=1e-6)


def test_the_seed_decides_the_interval(make_run: MakeRun) -> None:
    runs = [make_run("topk"), make_run("evit")]
    first, again, other = (compare(runs, ["method"], seed=s, **QUICK).comparison for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first["low"].equals(other["low"])


def test_runs_over_other_images_meet_on_those_they_share(make_run: MakeRun) -> None:
    a, b = make_run("evit", images=30), make_run("topk", images=30, first=10)
    with pytest.warns(UserWarning, match=r"images left out: evit-0.5-0 \(10\) and topk-0.5-0 \(10\)"):
        found = compare([a, b], ["method"], **QUICK).comparison
    assert set(found["n"]) == {20}
    slow = overlap.iou(a["kept"].values[10:, 0], b["kept"].values[:20, 0])
    assert value(found, "iou", 3) == pytest.approx(slow.mean())
    maps = [heatmap.mean_depth(kept, [3, 6], 12) for kept in (a["kept"].values[10:], b["kept"].values[:20])]
    assert value(found, "scc", ALL_STAGES) == pytest.approx(float(heatmap.scc(*maps)))


def test_no_image_in_common_is_an_error(make_run: MakeRun) -> None:
    runs = [make_run("evit", images=5), make_run("topk", images=5, first=10)]
    with pytest.raises(BadInput, match="have no image in common"):
        compare(runs, ["method"], **QUICK)


def test_a_run_that_has_just_begun_is_left_out_for_now(make_run: MakeRun) -> None:
    runs = [make_run("evit"), make_run("topk"), make_run("random").isel(image=slice(0))]
    with pytest.warns(UserWarning, match="no images are written yet in random-0.5-0"):
        found = compare(runs, ["method"], ["iou"], **QUICK).comparison
    assert len(found) == 2


def test_many_pairs_are_compared_in_batches(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make_run("topk", seed=s, features=4) for s in range(4)]
    whole = compare(runs, ["seed"], **QUICK).comparison
    monkeypatch.setattr(image_means, "COLUMNS_AT_ONCE", 5)
    monkeypatch.setattr(feature_sums, "SUMS_AT_ONCE", 2000)
    monkeypatch.setattr(heat_maps, "RUNS_AT_ONCE", 1)
    parts = compare(runs, ["seed"], **QUICK).comparison
    exact = ["run_a", "run_b", "stage", "metric", "value", "std", "n", "low", "high"]
    kept = ~whole["metric"].isin([name for name, metric in METRICS.items() if metric.of == "feature"])
    pd.testing.assert_frame_equal(whole[kept][exact], parts[kept][exact])


def test_only_what_was_asked_for(make_run: MakeRun) -> None:
    runs = [make_run("topk", features=4), make_run("evit", features=4), make_run("topk", seed=1)]
    found = compare(runs, ["method"], ["iou", "cka"], **QUICK)
    assert set(found.comparison["metric"]) == {"iou", "cka"}
    assert set(found.comparison["axis"]) == {"method"}
    assert len(found.heatmap) == 0
    assert found.runs["accuracy"].tolist() == [50.0] * 3


def test_what_a_run_does_not_hold_is_not_compared(make_run: MakeRun) -> None:
    pruned = [make_run(m, features=3).drop_vars("kept") for m in ("topk", "evit")]
    merged = [make_run(m, features=3).drop_vars("group") for m in ("tome", "sit")]
    found = compare(pruned + merged, **QUICK).comparison
    assert set(found["metric"]) == {name for name, metric in METRICS.items() if metric.of == "feature"}


def test_requests_that_make_no_sense_are_refused(make_run: MakeRun) -> None:
    run = make_run("topk")
    with pytest.raises(UnknownName, match="no metric called 'iuo'; did you mean iou"):
        compare([run], metrics=["iuo"])
    with pytest.raises(UnknownName, match="no axis called 'rate'"):
        compare([run], ["rate"])
    with pytest.raises(BadInput, match="the same name"):
        compare([run, run])
    with pytest.raises(BadInput, match="no run with images"):
        compare([])
    with pytest.raises(BadInput, match="at least 1"):
        compare([run], chunk=0)
    twice = run.assign_coords(image=["same"] * 40)
    with pytest.raises(BadInput, match="holds an image id twice"):
        compare([twice])


def test_no_metric_is_computed_twice_or_forgotten(make_run: MakeRun) -> None:
    runs = [make_run(m, features=4, objects=True, attention=True, curves=True) for m in ("topk", "evit", "tome", "sit")]
    runs += [make_run("topk", rate=0.7, features=4), make_run("topk", dataset="x", run="x")]
    found = compare(runs, **QUICK).comparison
    assert set(found["metric"]) == set(METRICS)
    assert not found.duplicated(["run_a", "run_b", "axis", "stage", "metric"]).any()


def test_runs_on_disk_compare_as_in_memory(
    make_run: MakeRun, write_run: Callable[[xr.Dataset, Path], None], tmp_path: Path
) -> None:
    for method in ("topk", "evit"):
        write_run(make_run(method), tmp_path)
    found = compare(store.open_runs(tmp_path), ["method"], ["iou"], **QUICK).comparison
    pd.testing.assert_frame_equal(
        found, compare([make_run("topk"), make_run("evit")], ["method"], ["iou"], **QUICK).comparison
    )
