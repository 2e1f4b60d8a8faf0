"""How much of the object is kept: points, and where a random pattern would be."""

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import object as figure_of_object

Tables = dict[str, pd.DataFrame]
METRICS = ("foreground_recall", "foreground_precision")
RUNS = {"d0_tiny_evit_r0.25": 0.2, "d0_tiny_topk_r0.25": 0.25, "d0_tiny_topk_r0.5": 0.5}


def source(tables: Tables, *metrics: str) -> Source:
    rows = [
        {"run_a": run, "run_b": "object", "axis": "object", "stage": stage, "metric": metric, "std": 0.1, "n": 9,
         "chance": kept / stage if metric == METRICS[0] else 0.3, "value": kept + stage / 100, "low": 0.1, "high": 0.9}
        for run, kept in RUNS.items() for stage in (3, 6) for metric in metrics
    ]  # fmt: skip
    comparison = pd.DataFrame(rows, columns=tables["comparison"].columns)
    return Source(given={"runs": tables["runs"], "comparison": comparison})


@pytest.mark.parametrize("row", [0, 1])
def test_points_are_drawn_over_the_share_of_patches_kept(tables: Tables, row: int) -> None:
    figure = figure_of_object.draw(source(tables, *METRICS), strict=True, dataset="embedded:shapes", model="deit_tiny")
    axes = np.reshape(figure.axes, (2, 2))
    assert [ax.get_title() for ax in axes[0]] == ["after block 3", "after block 6"]
    said = ("share of object kept", "share of kept patches\non the object")[row]
    assert axes[row, 0].get_ylabel() == f"{said}\nhigher is better"
    lines = {bars.get_label(): bars.lines[0] for bars in axes[row, 1].containers}
    assert list(lines) == ["Top-K", "EViT"]
    assert list(lines["Top-K"].get_xdata()) == [0.25 / 6, 0.5 / 6] and list(lines["EViT"].get_xdata()) == [0.2 / 6]
    assert lines["Top-K"].get_ydata() == pytest.approx([0.31, 0.56])


def test_a_random_pattern_keeps_as_much_of_the_object_as_of_all(tables: Tables) -> None:
    figure = figure_of_object.draw(source(tables, *METRICS), strict=True, dataset="embedded:shapes", model="deit_tiny")
    axes = np.reshape(figure.axes, (2, 2))
    expected = [next(line for line in ax.lines if line.get_gid() == "expected") for ax in axes[:, 0]]
    assert expected[0].get_slope() == 1 and expected[0].get_xy1() == (0, 0)
    assert list(expected[1].get_ydata()) == pytest.approx([0.3, 0.3])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Top-K", "EViT", "a random pattern"]


def test_what_is_lacking_is_said(tables: Tables) -> None:
    setting = {"dataset": "embedded:shapes", "model": "deit_tiny"}
    figure = figure_of_object.draw(source(tables, METRICS[0]), strict=True, **setting)
    assert [text.get_text() for text in np.reshape(figure.axes, (2, 2))[1, 0].texts] == [
        "not compared by\nforeground_precision"
    ]
    figure = figure_of_object.draw(source(tables, METRICS[1]), strict=True, **setting)
    assert "not compared by" in np.reshape(figure.axes, (2, 2))[0, 0].texts[0].get_text()
    with pytest.raises(Missing, match=r"birds \(val\), deit_tiny, 1000 images: no run has masks of objects"):
        figure_of_object.numbers(source(tables, *METRICS), dataset="folder:/data/birds", model="deit_tiny")
    with pytest.raises(Missing, match="no run is compared with masks of objects"):
        figure_of_object.numbers(Source(given=tables))
