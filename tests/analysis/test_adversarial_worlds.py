"""Worlds in which something looks like a finding and is none, by construction: none of it may be taken for one."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tokenlens.analysis import evidence
from tokenlens.analysis.compare import compare
from tokenlens.analysis.off_the_shelf import correlations
from tokenlens.analysis.paired_accuracy import paired_accuracy
from tokenlens.analysis.statistics.crossed import estimate

MakeRun = Callable[..., xr.Dataset]


def test_what_all_pictures_share_is_no_agreement_on_the_picture(make_run: MakeRun) -> None:
    """Both methods keep the middle whatever they see: far above analytic chance, and not above other images."""
    rng, runs = np.random.default_rng(0), []
    for method in ("topk", "evit"):
        run = make_run(method, images=200)
        middle = -np.hypot(run["row"].values - 2.5, run["column"].values - 2.5)
        score = middle + rng.gumbel(size=(200, 36))
        run["kept"].values[:] = (score.argsort(-1).argsort(-1) >= 24)[:, None]
        runs.append(run)
    rows = {null: compare(runs, ["method"], ["iou"], null=null, resamples=10).comparison.iloc[0]
            for null in ("analytic", "other-image")}  # fmt: skip
    assert rows["analytic"]["z"] > 10
    assert abs(rows["other-image"]["z"]) < 3 and rows["other-image"]["p"] > 0.01


def test_who_keeps_more_tokens_is_as_accurate_and_as_alike_for_that_alone() -> None:
    """Accuracy and likeness both follow the tokens left, each with noise of its own."""
    rng = np.random.default_rng(1)
    left = np.repeat(np.linspace(20, 180, 5), 12)
    shelf = pd.DataFrame({
        "dataset": "d", "model": "m", "metric": "procrustes", "stage": 11, "schedule": "constant",
        "method": [f"method{i}" for i in range(12)] * 5, "keep_rate": np.round(left / 196, 3), "left": left,
        "below": 180 - left + rng.normal(size=60), "value": 2 - left / 100 + 0.01 * rng.normal(size=60),
    })  # fmt: skip
    found = pd.DataFrame(correlations(shelf, permutations=200))
    given = found[found["first"] == "at tokens left"].iloc[0]
    assert given["low"] < 0 < given["high"] and given["n"] == 60
    asked = found[(found["first"] == "at r asked") & (found["statistic"] == "spearman")]
    assert len(asked) == 5 and (asked["p"] < 0.01).sum() <= 1


def test_the_same_cell_many_times_is_one_cell() -> None:
    """Stages, seeds, anchors and norms of a cell do not narrow what is known of other data sets."""
    rng = np.random.default_rng(2)
    cells = pd.DataFrame([(d, m, rng.normal() + 2 * d) for d in range(2) for m in range(4)],
                         columns=["dataset", "method", "value"])  # fmt: skip
    many = pd.concat([cells.assign(value=cells["value"] + shift) for shift in (-0.5, 0, 0.5)] * 10)
    one, often = (estimate(rows, ["dataset", "method"]) for rows in (cells, many))
    assert (often.low, often.high, often.n) == pytest.approx((one.low, one.high, one.n))


@pytest.mark.parametrize("spread", [(1, 0, 0, 0.1), (1, 1, 1, 1)], ids=["dataset", "all"])
def test_nothing_is_hardly_ever_supported(spread: tuple[float, ...]) -> None:
    """A statistic of no effect, whatever it varies with: at most one in twenty is supported or contradicted."""
    rng, claim, false = np.random.default_rng(3), evidence.declared("findings")[1], 0
    shape = (3, 4, 2)
    for _ in range(25):
        parts = [sd * rng.normal(size=[n if axis == i else 1 for i, n in enumerate(shape)])
                 for axis, sd in enumerate(spread[:3])]  # fmt: skip
        values = sum(parts) + spread[3] * rng.normal(size=shape)
        rows = pd.DataFrame([(*at, values[at]) for at in np.ndindex(*shape)], columns=[*claim.factors, "value"])
        p = estimate(rows, claim.factors).pvalue(claim.reference)
        false += p <= evidence.LEVEL
    assert false <= 4  # at 5 % in 99 of 100 such tests


def test_equal_runs_hardly_ever_differ(make_run: MakeRun) -> None:
    rng, runs = np.random.default_rng(4), []
    for world in range(40):  # each a data set of its own, so that pairs are independent
        for seed in range(2):
            right = rng.random(300) < 0.7
            run = make_run("topk", images=300, seed=seed, dataset=f"d{world}", run=f"{world}-{seed}")
            runs.append(run.assign(rank=("image", np.where(right, 0, 5).astype(np.int32)),
                                   label=("image", np.zeros(300, np.int32))))  # fmt: skip
    found = paired_accuracy(runs, resamples=200)
    outside = (found["low"] > 0) | (found["high"] < 0)
    assert len(found) == 40 and (found["p"] <= 0.05).sum() <= 5 and outside.sum() <= 5
    assert (found["q"] > 0.05).all()
