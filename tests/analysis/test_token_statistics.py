"""What is left, how deep, and off the shelf: beside numbers counted by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.compare import Comparison, compare
from tokenlens.analysis.off_the_shelf import off_the_shelf
from tokenlens.analysis.proxy_across import across

MakeRun = Callable[..., xr.Dataset]


def of(found: Comparison, run: str, statistic: str) -> np.ndarray:
    rows = found.tokens
    return rows[(rows["run"] == run) & (rows["statistic"] == statistic)].sort_values("stage")["value"].to_numpy()


def test_tokens_left_reduction_and_depth_are_those_of_the_patterns(make_run: MakeRun) -> None:
    run = make_run("topk")
    found = compare([run], metrics=["depth_spearman"])
    name = run.attrs["run"]
    assert of(found, name, "tokens_left") == pytest.approx([18, 9])
    assert of(found, name, "asked") == pytest.approx([18, 9])
    assert of(found, name, "reduction") == pytest.approx([0.5, 0.5])
    kept = run["kept"].values
    depth = np.where(~kept[:, 0], 3, np.where(~kept[:, 1], 6, 12)).astype(float)
    assert of(found, name, "depth") == pytest.approx([depth.mean()])
    assert of(found, name, "depth_spread") == pytest.approx([depth.mean(0).std()])
    row = found.tokens[found.tokens["statistic"] == "depth"].iloc[0]
    assert row["std"] == pytest.approx(depth.mean(1).std(), abs=1e-9) and row["n"] == 40


def test_who_changes_more_from_rate_to_rate_falls_by_more(make_run: MakeRun) -> None:
    runs = []
    for i, method in enumerate(("topk", "evit", "kmedoids", "random")):
        high, low = (make_run(method, rate=rate, images=60, metrics={"top1": top1})
                     for rate, top1 in ((0.5, 70.0), (0.3, 70.0 - 5 * i)))  # fmt: skip
        low["kept"].values[: 15 * i] ^= True  # contained in what the higher rate keeps, less and less
        runs += [high, low]
    found = compare(runs, ["keep_rate"], ["ioa"])
    rows = across(found.comparison, found.runs)
    rows = rows[(rows["statistic"] == "spearman") & (rows["stage"] == 3)]
    assert rows[["axis", "first", "second", "capacity"]].to_numpy().tolist() == [["keep_rate", "0.5", "0.3", "tiny"]]
    assert rows["value"].tolist() == pytest.approx([-1.0]) and rows["n"].tolist() == [4]


def test_off_the_shelf_stands_beside_the_unreduced_model(make_run: MakeRun) -> None:
    whole = make_run("none", rate=None, features=4, metrics={"top1": 80.0})
    runs = [whole]
    for i, method in enumerate(("topk", "evit", "tome", "kmedoids")):
        run = make_run(method, features=4, metrics={"top1": 78.0 - 3 * i}, schedule="constant")
        run["feature"].values[:] = whole["feature"].values + 4.0**i / 9 * run["feature"].values
        run["tokens_left"].values[:] = 9 + i
        runs.append(run)
    found = compare(runs, ["method"], ["procrustes"])
    shelf = off_the_shelf(found.comparison, found.runs, found.tokens)
    shelf = shelf.set_index("method")
    assert shelf["below"].to_dict() == {"topk": 2.0, "evit": 5.0, "tome": 8.0, "kmedoids": 11.0}
    assert shelf.loc["tome", ["asked", "left", "stage"]].tolist() == [9, 11, 11]
    rows = across(found.comparison, found.runs, shelf.reset_index())
    rows = rows[(rows["axis"] == "off the shelf") & (rows["statistic"] == "spearman")]
    assert rows[["first", "second", "n"]].to_numpy().tolist() == [["at r asked", "constant", 4]]
    assert rows["value"].iloc[0] == pytest.approx(1.0)
