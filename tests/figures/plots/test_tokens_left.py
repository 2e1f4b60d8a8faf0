"""Tokens left against tokens asked: points of the methods that leave others, names of those that do not."""

from typing import Any

import numpy as np
import pytest

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import tokens_left


@pytest.fixture
def runs(make_run: Any) -> list[Any]:
    """Top-K as asked, EViT one more everywhere, ATS fewer and image by image."""
    made = [make_run(method, rate) for method in ("topk", "evit", "ats") for rate in (0.5, 0.25)]
    for run in made:
        if run.attrs["keep_rate"] == 0.25:
            run.attrs["keep"] = [12, 3]
            run["tokens_left"] = run["tokens_left"] * 0 + np.int16([12, 3])
        if run.attrs["method"] == "evit":
            run["tokens_left"] = run["tokens_left"] + 1
        if run.attrs["method"] == "ats":
            run["tokens_left"] = run["tokens_left"] - np.int16([[2], [0]])
    return [*made, make_run("none", 1.0)]


def test_a_point_is_what_was_left_over_what_was_asked(runs: list[Any]) -> None:
    figure = tokens_left.draw(Source(opened=runs), strict=True)
    first, second = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["after block 3", "after block 6"]
    lines = {bars.get_label(): bars.lines[0] for bars in second.containers}
    assert list(lines) == ["EViT", "ATS"]
    assert list(lines["EViT"].get_xdata()) == [3, 12] and list(lines["EViT"].get_ydata()) == [1, 1]
    assert list(lines["ATS"].get_ydata()) == [-1, -1]
    bars = next(found for found in first.containers if found.get_label() == "ATS").lines[2][0]
    ends = [segment[:, 1] for segment in bars.get_segments()]
    assert np.array(ends) == pytest.approx(np.array([[-1.9, -0.1]] * 2))
    (line,) = [line for line in first.lines if line.get_gid() == "expected"]
    assert set(line.get_ydata()) == {0}


def test_methods_that_leave_what_was_asked_are_named(runs: list[Any]) -> None:
    figure = tokens_left.draw(Source(opened=runs), strict=True)
    assert figure.get_supxlabel().endswith("always as asked: Top-K")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["EViT", "ATS"]


def test_where_all_leave_what_was_asked_they_are_drawn_on_the_line(runs: list[Any], make_run: Any) -> None:
    figure = tokens_left.draw(Source(opened=[*runs[:2], make_run("l2", 0.5)]), strict=True)
    for ax in figure.axes:
        lines = {bars.get_label(): bars.lines[0] for bars in ax.containers}
        assert list(lines) == ["Top-K", "ℓ2"] and not any(np.any(line.get_ydata()) for line in lines.values())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Top-K", "ℓ2"]


def test_numbers_are_those_of_the_runs(runs: list[Any]) -> None:
    rows = tokens_left.numbers(Source(opened=runs)).set_index(["method", "keep_rate", "stage"])
    assert rows.loc[("ats", 0.5, 3), ["asked", "left", "more", "n"]].tolist() == [24, 23, -1, 2]
    assert "none" not in rows.index
    del runs[0].attrs["keep"]  # a run that was made in memory says shares of the patches
    runs[0].attrs["keep_rates"] = [24 / 49, 12 / 49]
    again = tokens_left.numbers(Source(opened=runs)).set_index(["method", "keep_rate", "stage"])
    assert (again == rows).all(axis=None)
    with pytest.raises(Missing, match="no runs of a reduction method"):
        tokens_left.numbers(Source(opened=runs[-1:]))
