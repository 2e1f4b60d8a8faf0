"""Which runs a figure shows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.select.pairs import joined
from tokenlens.figures.select.setting import default_rate, describe, rows_of, select_setting, within

pytestmark = pytest.mark.usefixtures("among_methods")


def runs(*rows: dict[str, Any]) -> pd.DataFrame:
    one = {"dataset": "embedded:shapes", "split": "test", "model": "nano", "method": "topk", "family": "pruning",
           "keep_rate": 0.5, "seed": 0, "images": 10, "complete": True}  # fmt: skip
    return pd.DataFrame([{**one, "run": f"run{i}", **row} for i, row in enumerate(rows)])


def test_the_setting_with_most_runs_is_shown_or_the_one_asked_for() -> None:
    table = runs({"model": "base"}, {"model": "base", "method": "evit"}, {}, {"dataset": "folder:/a/birds"})
    assert list(select_setting(table)["run"]) == ["run0", "run1"]
    assert list(select_setting(table, "embedded:shapes", "nano")["run"]) == ["run2"]
    assert list(select_setting(table, dataset="folder:/a/birds")["run"]) == ["run3"]
    assert describe(select_setting(table, dataset="folder:/a/birds")) == "birds (test), nano, 10 images"
    with pytest.raises(Missing, match="there are no runs of large at a keep rate"):
        select_setting(table, model="large")


def test_one_run_a_method_and_rate_in_the_order_of_the_studies() -> None:
    seeds = {"complete": False}, {"seed": 2}, {"seed": 1}
    rateless = {"method": "tome", "keep_rate": np.nan}
    table = runs(*seeds, {"method": "l2"}, {"method": "evit"}, {"keep_rate": 0.25}, rateless)
    assert list(select_setting(table)["run"]) == ["run5", "run2", "run4", "run3"]
    assert list(select_setting(table.iloc[::-1])["run"]) == ["run5", "run2", "run4", "run3"]


def test_the_usual_rate() -> None:
    none = {"family": "none", "keep_rate": 1.0}
    assert default_rate(runs({}, {"keep_rate": 0.9}, {"keep_rate": 0.9})) == 0.5
    assert default_rate(runs({"keep_rate": 0.9}, {"keep_rate": 0.9}, {"keep_rate": 0.7}, none, none, none)) == 0.9
    assert default_rate(runs({}, {"keep_rate": 0.9}), 0.9) == 0.9
    with pytest.raises(Missing, match=r"no run has the keep rate 0.3; the runs have 0.5"):
        default_rate(runs({}), 0.3)
    with pytest.raises(Missing, match="no runs of a reduction method"):
        default_rate(runs(none))


def test_runs_say_of_themselves_what_the_table_says(make_run: Any) -> None:
    made = [make_run("topk", 0.5), make_run("tome", None), make_run("l2", 0.25)]
    chosen = select_setting(rows_of(made))
    assert chosen[["run", "family", "keep_rate", "images"]].values.tolist() == [
        ["topk-0.5", "pruning", 0.5, 2], ["l2-0.25", "radial", 0.25, 2],
    ]  # fmt: skip


def test_runs_that_do_not_say_what_they_are_are_refused(make_run: Any) -> None:
    unknown = make_run("topk", run="in memory")
    del unknown.attrs["method"]
    with pytest.raises(Missing, match="run 'in memory' does not say its method; write runs with"):
        rows_of([unknown])
    with pytest.raises(Missing, match="two runs have the same name"):
        rows_of([make_run("topk"), make_run("topk")])


def test_pairs_within_what_was_chosen(tables: dict[str, pd.DataFrame]) -> None:
    chosen = select_setting(tables["runs"], dataset="embedded:shapes", model="deit_small")
    found = within(joined(Source(given=tables), "method", ["iou"]), chosen)
    assert len(found) and set(found["run_a"]) | set(found["run_b"]) <= set(chosen["run"])
    beside = found.iloc[:2].assign(run_b=["object", "d9_other"], method_b=[np.nan, "topk"])
    assert list(within(beside, chosen)["run_b"]) == ["object"]
