"""The intervals that the figures draw are scipy's."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t

from tokenlens.figures.catalogue import FIGURES, Source
from tokenlens.figures.plots import accuracy
from tokenlens.figures.plots.accuracy import wilson
from tokenlens.figures.select.pairs import mean_interval


def test_wilsons_interval_is_scipys() -> None:
    for right, n in ((50, 100), (0, 10), (999, 1000)):
        ends = binomtest(right, n).proportion_ci(0.95, "wilson")
        assert wilson(100 * right / n, n) == pytest.approx((100 * ends.low, 100 * ends.high), abs=1e-4)


def test_means_have_students_interval_and_one_value_has_none() -> None:
    values = np.array([1.0, 4.0, 2.0, np.nan])
    mean, low, high, n = mean_interval(values)
    ends = t.interval(0.95, 2, 7 / 3, np.std([1, 4, 2], ddof=1) / np.sqrt(3))
    assert (mean, n) == (pytest.approx(7 / 3), 3) and (low, high) == pytest.approx(ends)
    assert mean_interval([2.0])[0] == 2 and np.isnan(mean_interval([2.0])[1:3]).all() and mean_interval([])[3] == 0


def test_a_few_lines_are_in_colour_and_the_others_faint_behind_them(small: dict[str, pd.DataFrame]) -> None:
    source = Source(given=small)
    looks = FIGURES["accuracy"].looks(source)
    reduced = {look.label: look.color for look in looks.values() if look.family != "none"}
    few, every = accuracy.draw(source, methods=2), accuracy.draw(source, methods=None)
    drawn = [{found.get_label(): found.lines[0] for found in made.axes[0].containers} for made in (few, every)]
    assert list(drawn[0]) == list(drawn[1]) and len(drawn[0]) > 3
    assert all(line.get_color() == reduced[name] for name, line in drawn[1].items())
    colored = [name for name, line in drawn[0].items() if line.get_color() == reduced[name]]
    behind = {line.get_color() for name, line in drawn[0].items() if name not in colored}
    assert len(colored) == 2 and len(behind) == 1 and behind.isdisjoint(reduced.values())
    heights = {name: line.get_zorder() for name, line in drawn[0].items()}
    assert max(heights[name] for name in heights if name not in colored) < min(heights[name] for name in colored)
    named = [[text.get_text() for text in made.legends[0].get_texts()] for made in (few, every)]
    there = accuracy.numbers(source)["method"].nunique() - 1  # without the un-reduced model
    assert f"{there - 2} others" in named[0] and not any("others" in name for name in named[1])
    assert (few.axes[0].lines[0].get_color(), every.axes[0].lines[0].get_color()) == (looks["none"].color,) * 2
