"""Nulls by name: what chance is, told apart in worlds where each says something else."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.compare import compare
from tokenlens.errors import BadInput, UnknownName

MakeRun = Callable[..., xr.Dataset]


def central(make_run: MakeRun, method: str, own: bool) -> xr.Dataset:
    """A run that keeps the same central patches of every image; `own`: and a patch of the image's own."""
    run = make_run(method, images=60, features=5, metrics={"top1": 50.0})
    away = np.hypot(run["row"].values - 2.5, run["column"].values - 2.5)
    run["kept"].values[:] = away < 1.6
    image = np.arange(60)
    run["kept"].values[image, :, image % 4] = own
    return run


def level(runs: list[xr.Dataset], null: str, metric: str = "iou") -> tuple[float, float, float, str]:
    found = compare(runs, ["method"], [metric], null=null, resamples=10).comparison
    row = found.iloc[0]
    return float(row["chance"]), float(row["z"]), float(row["p"]), str(row["null"])


def test_each_null_keeps_what_it_says(make_run: MakeRun) -> None:
    runs = [central(make_run, method, own=True) for method in ("topk", "evit")]
    levels = {null: level(runs, null) for null in ("analytic", "other-image", "torus", "permutation")}
    assert [row[3] for row in levels.values()] == list(levels)
    analytic, other, torus, permutation = (row[0] for row in levels.values())
    size = int(runs[0]["kept"].values[0, 0].sum())
    same = float(np.mean([(i % 4) == ((i + 30) % 4) for i in range(60)]))
    assert other == pytest.approx(same + (1 - same) * (size - 1) / (size + 1))  # all but the image's own patch
    assert permutation == pytest.approx(analytic, abs=0.03)
    assert analytic < torus < other < 1
    assert level(runs, "")[3] == "analytic"


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_other_images_are_others_whatever_the_chunks_and_the_order(make_run: MakeRun, chunk: int) -> None:
    runs = [central(make_run, method, own=True) for method in ("topk", "evit")]
    for run in runs:
        run["kept"].values[:] = False
        run["kept"].values[np.arange(60), :, np.arange(60) // 2] = True  # neighbours alike, as sets sorted by class
    found = compare(runs, ["method"], ["iou"], null="other-image", chunk=chunk, resamples=10).comparison
    assert found["chance"].tolist() == [0, 0] and found["value"].tolist() == [1, 1]


def test_maps_and_features_get_z_and_p(make_run: MakeRun) -> None:
    runs = [central(make_run, method, own=True) for method in ("topk", "evit")]
    runs[1]["feature"].values[:] = runs[0]["feature"].values
    for metric, null in (
        ("pcc", "torus"),
        ("pcc", "permutation"),
        ("cka", "permutation"),
        ("procrustes", "permutation"),
    ):
        chance, z, p, told = level(runs, null, metric)
        assert abs(z) > 3 and p <= 0.05 and told == null, metric
        assert np.isfinite(chance)
    shuffled = level(runs, "permutation", "cka")[0]
    assert shuffled == pytest.approx(level(runs, "analytic", "cka")[0], abs=0.03)


def test_unknown_nulls_and_metrics_without_are_refused(make_run: MakeRun) -> None:
    runs = [make_run("topk"), make_run("evit")]
    with pytest.raises(UnknownName, match="torus"):
        compare(runs, null="toros")
    with pytest.raises(BadInput, match="other-image; choose torus, permutation"):
        compare(runs, metrics=["scc"], null="other-image")
