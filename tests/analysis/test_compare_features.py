"""Comparing class-token features of runs: values, chance levels and intervals against slow twins."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.compare import compare
from tokenlens.analysis.metrics import features

MakeRun = Callable[..., xr.Dataset]
QUICK = {"resamples": 50, "chunk": 16}


def test_features_are_compared_layer_by_layer(make_run: MakeRun) -> None:
    a, b = make_run("evit", features=5, images=90), make_run("topk", features=7, images=90)
    found = compare([a, b], ["method"], seed=1, **QUICK).comparison.set_index(["metric", "stage"])
    for i, layer in enumerate((6, 11)):
        x, y = (run["feature"].values[:, i].T for run in (a, b))
        for name in ("procrustes", "cka", "pwcca", "mean_cca", "mean_squared_cca"):
            assert found.loc[(name, layer), "value"] == pytest.approx(float(getattr(features, name)(x, y)), abs=1e-6)
        assert found.loc[("pwcca_reverse", layer), "value"] == pytest.approx(float(features.pwcca(y, x)), abs=1e-6)


def test_chance_of_features_is_that_of_shuffled_images(make_run: MakeRun) -> None:
    a, b = make_run("evit", features=4, images=200), make_run("topk", features=6, images=200)
    b["feature"][..., :4] += 2 * a["feature"].values
    found = compare([a, b], ["method"], resamples=10).comparison.set_index(["metric", "stage"])
    x, y = (run["feature"].values[:, 0].T for run in (a, b))
    rng = np.random.default_rng(0)
    for name, close in (("cka", 2e-3), ("mean_squared_cca", 2e-3), ("procrustes", 0.05), ("mean_cca", 0.05)):
        slow = np.mean([getattr(features, name)(x, y[:, rng.permutation(200)]) for _ in range(300)])
        assert found.loc[(name, 6), "chance"] == pytest.approx(slow, abs=close), name


def test_intervals_of_features_are_those_of_a_bootstrap(make_run: MakeRun) -> None:
    a, b = make_run("evit", features=3, images=400), make_run("topk", features=3, images=400)
    b["feature"] = a["feature"] * 0.7 + b["feature"]
    found = compare([a, b], ["method"], resamples=10).comparison.set_index(["metric", "stage"])
    x, y = (run["feature"].values[:, 0].T for run in (a, b))
    draws = [np.random.default_rng(i).integers(0, 400, 400) for i in range(400)]
    for name in ("procrustes", "cka", "mean_cca", "mean_squared_cca", "pwcca"):
        slow = np.std([getattr(features, name)(x[:, d], y[:, d]) for d in draws])
        width = found.loc[(name, 6), "high"] - found.loc[(name, 6), "low"]
        assert width == pytest.approx(2 * 1.96 * slow, rel=0.25), name
