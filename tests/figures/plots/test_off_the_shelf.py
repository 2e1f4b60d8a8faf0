"""Accuracy and distance against tokens left."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import off_the_shelf
from tokenlens.records import tables as table


def compared(far: dict[str, float]) -> pd.DataFrame:
    """How far runs are from the un-reduced one."""
    rows = [{"run_a": "none-1.0", "run_b": run, "axis": "method", "stage": 11, "metric": "procrustes", "value": value,
             "n": 2}
            for run, value in far.items()]  # fmt: skip
    absent = {name: np.nan for name in table.COLUMNS["comparison"] if name not in rows[0]}
    return table.conform(pd.DataFrame(rows).assign(**absent), "comparison")


def test_distances_are_on_a_logarithmic_axis_in_plain_numbers_and_the_un_reduced_model_is_not(make_run: Any) -> None:
    far = {"topk-0.5": 0.02, "topk-0.7": 3e-6, "tome-0.5": 0.1}
    comparison = compared(far)
    runs = [make_run("none", 1.0), *(make_run(run.partition("-")[0], float(run.partition("-")[2])) for run in far)]
    made = off_the_shelf.draw(Source(given={"comparison": comparison}, opened=runs), strict=True)
    accuracy, distance = made.axes
    assert distance.get_yscale() == "log" and accuracy.get_yscale() == "linear"
    assert distance.get_ylabel() == "Procrustes distance\nlower is more alike"
    assert sorted(y for line in distance.lines for y in line.get_ydata()) == sorted(far.values())
    made.draw_without_rendering()
    said = [text.get_text() for text in distance.get_yticklabels()]
    assert "0.01" in said and not any("$" in text for text in said)


def test_what_no_run_has_is_no_panel_and_without_either_there_is_no_figure(make_run: Any) -> None:
    comparison = compared({"of another setting": 0.5})
    runs = [make_run("none", 1.0), make_run("topk", 0.5)]
    known = off_the_shelf.draw(Source(given={"comparison": comparison}, opened=runs), strict=True)
    assert [ax.get_ylabel().partition("\n")[0] for ax in known.axes] == ["accuracy (%)"]
    for run in runs:
        run.attrs.pop("metrics", None)
    with pytest.raises(Missing, match="no run of a method has an accuracy or a distance"):
        off_the_shelf.draw(Source(given={"comparison": comparison}, opened=runs), strict=True)
