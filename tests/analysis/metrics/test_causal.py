"""Areas below insertion and deletion curves, from arrays to a row of the table."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.compare import compare
from tokenlens.analysis.curves import curves
from tokenlens.analysis.metrics.causal import deletion_auc, insertion_auc
from tokenlens.errors import BadInput

MakeRun = Callable[..., xr.Dataset]


def test_it_is_the_mean_height_over_the_shares_that_are_shown() -> None:
    shown, height = np.array([0.5, 0.25, 1.0]), np.array([0.6, 0.2, 0.8])
    along = np.linspace(0.25, 1, 100_001)
    expected = np.interp(along, [0.25, 0.5, 1.0], [0.2, 0.6, 0.8]).mean()
    assert insertion_auc(height, shown) == pytest.approx(expected, abs=1e-6)
    assert deletion_auc(height, shown) == insertion_auc(height, shown)
    assert insertion_auc(height, np.ones(3)) == 0.8  # all is shown at every point
    assert np.isnan(insertion_auc(np.array([np.nan, 0.2, 0.8]), shown))


def test_a_run_has_its_areas_as_rows_and_one_without_curves_a_reason(make_run: MakeRun) -> None:
    holding, lacking, merging = make_run("topk", curves=True), make_run("evit"), make_run("tome", curves=True)
    holding["insertion"][0, 0] = np.nan  # nothing to show of one image
    asked: dict[str, Any] = {"resamples": 50, "chunk": 16}
    found = compare([holding, lacking, merging], metrics=["insertion_auc", "deletion_auc"], **asked).comparison
    assert set(found["axis"]) == {"curve"} and set(found["run_b"]) == {"shown"} and set(found["stage"]) == {-1}
    rows = found.set_index(["run_a", "metric"])
    assert len(rows) == 4  # what keeps no patches has nothing to show alone
    table = curves([holding], resamples=50).set_index(["run_a", "curve"])
    for metric, n in (("insertion_auc", 39), ("deletion_auc", 40)):
        row, none = rows.loc[("topk-0.5-0", metric)], rows.loc[("evit-0.5-0", metric)]
        assert row["value"] == pytest.approx(table.loc[("topk-0.5-0", metric), "value"], abs=1e-12)
        assert row["low"] < row["value"] < row["high"] and row["n"] == n and row["reason"] == ""
        assert np.isnan(row["chance"]) and np.isnan(row["z"]) and row["null"] == ""
        assert np.isnan(none["value"]) and none["n"] == 0 and "swap --curves" in none["reason"]
    every = compare([holding, lacking], ["curve"], resamples=5).comparison
    assert set(every["run_a"]) == {"topk-0.5-0"}  # said only of metrics that were asked for


def test_grids_of_several_sizes_show_the_share_of_the_patches_that_there_are(make_run: MakeRun) -> None:
    run = make_run("topk", images=6, curves=True)
    valid = np.ones((6, 36), dtype=bool)
    valid[:3, 18:] = False
    run = run.assign(valid=(("image", "patch"), valid), kept=run["kept"] & valid[:, None])
    row = compare([run], metrics=["insertion_auc"], resamples=5).comparison.iloc[0]
    shown = np.concatenate([run["kept"].values.sum(2) / valid.sum(1)[:, None], np.ones((6, 1))], axis=1)
    height = np.concatenate([run["insertion"].values, run["whole"].values[:, None]], axis=1)
    assert row["value"] == pytest.approx(insertion_auc(height, shown).mean())


def test_what_is_not_defined_on_any_image_says_so(make_run: MakeRun) -> None:
    """Where all patches stay there are no others to show, and no neighbours to differ."""
    run = make_run("topk", curves=True)
    run["kept"][:] = True
    run["deletion"][:] = np.nan
    found = compare([run], metrics=["deletion_auc", "insertion_auc", "moran"], resamples=5).comparison
    nothing = found["value"].isna()
    assert set(found["metric"][nothing]) == {"deletion_auc", "moran"} and (found["n"][nothing] == 0).all()
    assert (found["reason"][nothing] == "it is not defined on any of these images").all()
    assert (found["reason"][~nothing] == "").all()


def test_curves_that_do_not_end_are_refused_in_a_sentence(make_run: MakeRun) -> None:
    with pytest.raises(BadInput, match=r"holds curves without `whole`.*swap --curves"):
        compare([make_run("topk", curves=True).drop_vars("whole")], metrics=["insertion_auc"], resamples=5)
