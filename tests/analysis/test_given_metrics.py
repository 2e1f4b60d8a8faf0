"""Metrics that a user hands to `compare`: they give the rows that they should, or it is said why not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tokenlens
from tokenlens.analysis.compare import compare
from tokenlens.analysis.metrics import gram, overlap, radial
from tokenlens.analysis.metrics.base import Metric
from tokenlens.errors import BadInput

MakeRun = Callable[..., xr.Dataset]
QUICK: dict[str, Any] = {"resamples": 20, "chunk": 16}


def dice(a: Any, b: Any) -> Any:
    return 2 * (a & b).sum(axis=-1) / (a.sum(axis=-1) + b.sum(axis=-1))


def test_a_plain_function_is_a_metric_of_kept_patches_and_its_chance_is_not_known(make_run: MakeRun) -> None:
    a, b = make_run("evit"), make_run("topk", stages=(6, 9), draw=9, blocks=[3, 6])
    with pytest.warns(UserWarning, match="what chance gives is not known of dice, so it is NaN there"):
        found = tokenlens.compare([a, b], ["method"], ["iou", dice], **QUICK).comparison
    assert found["metric"].tolist() == ["dice", "iou"]
    row = found.iloc[0]
    each = dice(a["kept"].values[:, 1], b["kept"].values[:, 0])
    assert (row["stage"], row["n"], row["value"]) == (6, 40, pytest.approx(each.mean()))
    assert row["low"] < row["value"] < row["high"] and np.isnan(row["chance"])


def test_what_a_metric_says_of_itself_is_kept_to(make_run: MakeRun) -> None:
    runs = [make_run(m, features=4, objects=True) for m in ("topk", "evit", "tome", "sit")]
    mine = [
        Metric("dice", dice, "kept", chance=lambda a, b: (a.mean(axis=-1) + b.mean(axis=-1)) / 2),
        Metric("same", lambda a, b: (a == b).mean(axis=-1), "group", chance=0.1),
        Metric("covered", lambda a, b: (a & b).mean(axis=-1), "object", chance=0.15),
        Metric("slope", lambda depth, away: (depth * away).mean(axis=-1), "depth", range=(0, np.inf), chance=0.0),
        Metric("apart", lambda a, b: np.abs(a - b).mean(axis=-1), "heatmap", range=(0, 12), chance=0.5),
        Metric("central", radial.spearman, "heatmap", range=(-1, 1), axes=("radial",), chance=0.0),
        Metric("trace", lambda sums: np.trace(sums.ab), "feature", shared=gram.gram, chance=lambda sums: 0.0),
    ]
    found = compare(runs, metrics=mine, **QUICK).comparison
    axes = found.groupby("metric")["axis"].agg(set).to_dict()
    assert axes == {"dice": {"method"}, "same": {"method"}, "covered": {"object"}, "slope": {"radial"},
                    "apart": {"method"}, "central": {"radial"}, "trace": {"method"}}  # fmt: skip
    named = found.set_index("metric")
    a, b = (run["kept"].values[:, 0] for run in (runs[1], runs[0]))
    assert named.loc["dice", "chance"].iloc[0] == pytest.approx((a.mean() + b.mean()) / 2)
    assert named.loc["same", "value"].iloc[0] == pytest.approx(
        (runs[3]["group"].values[:, 0] == runs[2]["group"].values[:, 0]).mean()
    )
    assert found[found["metric"] == "apart"]["low"].notna().all()
    trace = (
        found.query("metric == 'trace' and run_b == 'topk-0.5-0' and stage == 6").set_index("run_a").loc["evit-0.5-0"]
    )
    x, y = (run["feature"].values[:, 0].T.astype(np.float64) for run in (runs[1], runs[0]))
    assert trace["value"] == pytest.approx(np.trace(gram.gram(x, y).ab), rel=1e-3)
    assert trace[["low", "high"]].isna().all()  # nothing says how far an image moves it


def test_what_is_shared_is_made_once_a_pair_and_chunk(make_run: MakeRun) -> None:
    made = []

    def both(a: Any, b: Any) -> overlap.Overlap:
        made.append(a.shape)
        return overlap.Overlap(a, b)

    of: dict[str, Any] = {"of": "kept", "shared": both, "chance": 0.0}
    metrics = [Metric("one", lambda both: both.iou, **of), Metric("two", lambda both: both.common / 36, **of)]
    found = compare([make_run("topk"), make_run("evit")], ["method"], metrics, **QUICK).comparison
    assert made == [(16, 2, 36), (16, 2, 36), (8, 2, 36)]
    assert set(found["metric"]) == {"one", "two"}


def test_a_metric_that_gives_no_rows_says_why(make_run: MakeRun) -> None:
    runs = [make_run("topk"), make_run("evit")]
    with pytest.warns(
        UserWarning, match="cka gives no rows: it compares class-token features, and no runs .* hold these"
    ):
        assert len(compare(runs, metrics=["cka"], **QUICK).comparison) == 0
    with pytest.warns(UserWarning, match=r"ioa gives no rows: .*, along keep_rate or .*, and that was not asked for"):
        compare(runs, ["method"], ["iou", "ioa"], **QUICK)


def test_what_is_no_metric_of_such_arrays_is_refused(make_run: MakeRun) -> None:
    runs = [make_run("topk"), make_run("evit")]
    with pytest.raises(BadInput, match=r"metric whole gives an array of shape \(\) for 16 images at 2 stages"):
        compare(runs, metrics=[Metric("whole", lambda a, b: (a & b).mean(), "kept")], **QUICK)
    with pytest.raises(BadInput, match="two of the metrics are called 'dice'"):
        compare(runs, metrics=[dice, Metric("dice", lambda a, b: a, "kept")], **QUICK)
    assert set(compare(runs, metrics=["iou", overlap.iou], **QUICK).comparison["metric"]) == {"iou"}
