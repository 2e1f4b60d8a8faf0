"""Comparing class-token features of runs: values, chance levels and intervals against slow twins."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.compare import compare
from tokenlens.analysis.metrics import features
from tokenlens.analysis.metrics.gram import Gram

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
        one = found.loc[(name, 6)]
        assert one["low"] < min(one["value"], one["estimate"]) < max(one["value"], one["estimate"]) < one["high"]
        beside = min(one["value"] - one["low"], one["high"] - one["value"])  # on the side where no bias is
        assert beside == pytest.approx(1.96 * slow, rel=0.25), name


@pytest.mark.parametrize("related", [0.0, 1.0])
def test_intervals_of_features_cover_what_all_images_would_give(related: float, make_run: MakeRun) -> None:
    """The truth is known from the covariances: both runs see one signal, or two that have nothing in common."""
    rng, width = np.random.default_rng(3), 6
    turn, one = np.linalg.qr(rng.normal(size=(width, width)))[0], np.eye(width)
    truth = Gram(2 * one, 2 * one, related * turn, 10**9)
    names, hit = ["procrustes", "cka", "pwcca", "mean_cca", "mean_squared_cca"], dict[str, int]()
    for _ in range(12):
        signal, other = rng.normal(size=(2, 120, width))
        both = signal, (signal if related else other) @ turn
        a, b = (make_run(name, features=width, images=120) for name in ("evit", "topk"))
        for run, x in zip((a, b), both, strict=True):
            run["feature"] = run["feature"].dims, (x[:, None] + rng.normal(size=(120, 2, width))).astype(np.float32)
        found = compare([a, b], ["method"], names, resamples=2).comparison.set_index(["metric", "stage"])
        for name in names:
            low, high = found.loc[(name, 6), ["low", "high"]]
            hit[name] = hit.get(name, 0) + int(low - 1e-9 <= getattr(truth, name)() <= high + 1e-9)
    assert min(hit.values()) >= 10, hit  # nine in ten; `tests/benchmarks/coverage.py` takes more worlds


def test_chance_does_not_see_in_which_order_images_lie(make_run: MakeRun) -> None:
    """Images sorted by class, as folders are: a shuffle of few images at a time would leave the classes together."""
    rng = np.random.default_rng(0)
    classes, width = np.repeat(np.arange(20), 10), 6
    about, turned = rng.normal(size=(20, width)), np.linalg.qr(rng.normal(size=(width, width)))[0]
    a, b = (make_run(name, features=width, images=200) for name in ("evit", "topk"))
    a["feature"] = a["feature"] + 2 * about[classes][:, None]
    b["feature"] = b["feature"] + 2 * (about @ turned)[classes][:, None]
    by_size = [compare([a, b], ["method"], ["procrustes", "mean_cca"], resamples=5, chunk=chunk).comparison
               for chunk in (1, 7, 2048)]  # fmt: skip
    for other in by_size[1:]:
        assert other["chance"].to_numpy() == pytest.approx(by_size[0]["chance"].to_numpy(), abs=1e-9)
    x, y = (run["feature"].values[:, 0].T for run in (a, b))
    slow = np.mean([features.procrustes(x, y[:, rng.permutation(200)]) for _ in range(300)])
    found = by_size[0].set_index(["metric", "stage"]).loc[("procrustes", 6)]
    assert found["value"] < 1 < found["chance"] and found["chance"] == pytest.approx(slow, abs=0.05)


@pytest.mark.parametrize("kind", ["normalised", "twice the same"])
def test_features_without_full_rank_have_the_values_of_what_varies(kind: str, make_run: MakeRun) -> None:
    """Compared with QR, which forms no products of features and so loses no digit to them."""
    rng = np.random.default_rng(1)
    images, width = 300, 32
    a, b = (make_run(name, features=width, images=images) for name in ("evit", "topk"))
    for run in (a, b):
        x = rng.normal(size=(images, 2, width)) + (a["feature"].values if run is b else 0)
        if kind == "normalised":
            x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
        if kind == "twice the same":
            x[..., width // 2 :] = x[..., : width // 2]
        run["feature"] = run["feature"].dims, x.astype(np.float32)
    found = compare([a, b], ["method"], ["mean_cca"], resamples=5).comparison.set_index("stage")

    def basis(run: xr.Dataset) -> np.ndarray:
        x = run["feature"].values[:, 0].astype(float)
        u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
        return np.asarray(u[:, s > 1e-5 * s[0]])

    exact = np.linalg.svd(basis(a).T @ basis(b), compute_uv=False).sum() / width
    assert found.loc[6, "value"] == pytest.approx(exact, abs=1e-6)


def test_what_so_few_images_do_not_determine_is_said(make_run: MakeRun) -> None:
    a, b = (make_run(name, features=16, images=20) for name in ("evit", "topk"))
    names = ["pwcca", "mean_cca", "mean_squared_cca", "cka", "procrustes"]
    with pytest.warns(UserWarning, match="20 images do not determine mean_cca, mean_squared_cca, pwcca of"):
        found = compare([a, b], ["method"], names, resamples=5).comparison.set_index("metric")
    numbers = found[["value", "chance", "low", "high"]].notna()
    assert numbers.loc[["cka", "procrustes"]].all(axis=None)
    assert not numbers.loc[["pwcca", "mean_cca", "mean_squared_cca"], ["value", "chance"]].any(axis=None)
    assert (found.loc[["pwcca", "mean_cca", "mean_squared_cca"], ["low", "high"]] == [0, 1]).all(axis=None)
    assert (found.loc["pwcca", "reason"] == "20 images do not determine it").all()
    assert (found.loc["cka", "reason"] == "20 images are too few to tell how much of it is noise").all()
    assert (found.loc[["cka", "procrustes"], "high"].to_numpy() == [1, 1, 2, 2]).all()


def test_debiased_cka_is_that_of_pairs_of_images_streamed_or_not_wherever_features_lie(make_run: MakeRun) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)) + 3, rng.normal(size=(40, 5)) - 1
    y[:, :5] += 0.7 * x[:, :5]

    def unbiased(a: np.ndarray, b: np.ndarray) -> float:  # Song et al., 2012, equation 5, as it is written
        k, m, n = a @ a.T, b @ b.T, len(a)
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        return float(np.trace(k @ m) + k.sum() * m.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * (k @ m).sum())

    truth = 1 - unbiased(x, y) / np.sqrt(unbiased(x, x) * unbiased(y, y))
    assert float(features.debiased_cka(x.T, y.T)) == pytest.approx(truth)
    runs = []
    for method, given in (("topk", x), ("evit", y)):
        run = make_run(method)
        layers = np.repeat(given[:, None], 2, axis=1)
        runs.append(run.assign(feature=(("image", "layer", "channel"), layers)).assign_coords(layer=[6, 11]))
    for chunk in (7, 64):
        found = compare(runs, ["method"], ["debiased_cka"], chunk=chunk).comparison
        assert found["value"].tolist() == pytest.approx([truth, truth])
        assert found["estimate"].tolist() == found["value"].tolist() and (found["chance"] == 1).all()
