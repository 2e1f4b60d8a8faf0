"""Overlap with fixed patterns against chance: which points are drawn, and where chance is."""

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import chance

Tables = dict[str, pd.DataFrame]


def only(tables: Tables, *methods: str) -> Source:
    runs = tables["runs"]
    return Source(given={**tables, "runs": runs[runs["method"].isin(methods)]})


def test_a_line_is_a_method_through_its_rates(tables: Tables) -> None:
    lopsided = tables["comparison"].assign(high=tables["comparison"]["high"] + 0.03)
    source = only({**tables, "comparison": lopsided}, "topk", "kmedoids", "l1", "l2", "linf", "random")
    figure, rows = chance.draw(source, strict=True), chance.numbers(source)
    axes = np.reshape(figure.axes, (3, 4))
    assert [ax.get_title() for ax in axes[0]] == ["IoU with ℓ1", "IoU with ℓ2", "IoU with ℓ∞", "IoU with Random"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == [
        f"block {stage}: above chance\nhigher is more alike" for stage in (3, 6, 9)
    ]
    lines = {bars.get_label(): bars.lines[0] for bars in axes[1, 2].containers}
    assert list(lines) == ["Top-K", "K-Medoids", "Random"]
    part = rows[(rows["pattern"] == "linf") & (rows["stage"] == 6) & (rows["method"] == "kmedoids")]
    assert list(part["keep_rate"]) == [0.25, 0.5, 0.7, 0.9]
    assert (lines["K-Medoids"].get_xdata() == part["chance"]).all()
    assert lines["K-Medoids"].get_ydata() == pytest.approx((part["iou"] - part["chance"]).to_numpy())
    bars = next(found for found in axes[1, 2].containers if found.get_label() == "K-Medoids").lines[2][0]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()]) + part["chance"].to_numpy()[:, None]
    assert ends == pytest.approx(part[["low", "high"]].to_numpy())


def test_chance_is_a_line_at_nothing_above_it(tables: Tables) -> None:
    for ax in chance.draw(only(tables, "topk", "l1", "l2", "linf", "random"), strict=True).axes:
        (line,) = [line for line in ax.lines if line.get_gid() == "expected"]
        assert set(line.get_ydata()) == {0}


def test_only_runs_of_the_same_rate_meet(tables: Tables) -> None:
    comparison = tables["comparison"]
    one = comparison[(comparison["axis"] == "method") & (comparison["metric"] == "iou")].iloc[:1]
    across = one.assign(run_a="d0_tiny_ats_r0.9", run_b="d0_tiny_l2_r0.25", value=0.123)
    changed = {**tables, "comparison": pd.concat([comparison, across])}
    rows = chance.numbers(only(changed, "ats", "l2"), dataset="embedded:shapes", model="deit_tiny")
    assert len(rows) == 3 * 4 and 0.123 not in set(rows["iou"])


def test_radial_patterns_do_not_meet_each_other_and_what_is_lacking_is_said(tables: Tables) -> None:
    figure = chance.draw(only(tables, "topk", "l1", "l2"), strict=True)
    axes = np.reshape(figure.axes, (3, 2))  # a column only where there are runs
    assert [ax.get_title() for ax in axes[0]] == ["IoU with ℓ1", "IoU with ℓ2"]
    assert {bars.get_label() for bars in axes[0, 0].containers} == {"Top-K"}
    with pytest.raises(Missing, match=r"no method of shapes .* is compared with a fixed pattern"):
        chance.numbers(only(tables, "topk", "evit"), dataset="embedded:shapes")
    with pytest.raises(Missing, match="is compared with a fixed pattern"):
        chance.numbers(only(tables, "l1", "l2"))


def test_beside_a_gap_the_numbers_of_the_axis_are_written(tables: Tables) -> None:
    comparison = tables["comparison"]
    ends = comparison["run_a"] + comparison["run_b"]
    fewer = comparison[~(ends.str.contains("_l1_") & (comparison["stage"] == 6))]
    figure = chance.draw(only({**tables, "comparison": fewer}, "topk", "l1", "l2"), strict=True)
    figure.draw_without_rendering()
    axes = np.reshape(figure.axes, (3, 2))
    assert [text.get_text() for text in axes[1, 0].texts] == ["no runs of ℓ1\nat block 6"]
    written = [[any(t.label1.get_visible() for t in ax.yaxis.get_major_ticks()) for ax in line] for line in axes]
    assert written == [[True, False], [False, True], [True, False]]
    assert [ax.get_ylabel() for ax in axes[1]] == ["", "block 6: above chance\nhigher is more alike"]
