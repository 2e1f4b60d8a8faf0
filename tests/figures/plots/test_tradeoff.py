"""Accuracy against what it costs."""

import numpy as np
import pandas as pd

from tokenlens.figures.catalogue import Source
from tokenlens.figures.plots import tradeoff

Tables = dict[str, pd.DataFrame]


def test_the_front_holds_what_nothing_beats() -> None:
    x = np.array([1, 2, 3, 3, np.nan, 2])
    y = np.array([9, 9, 5, 4, 99, 7])
    assert tradeoff.front(x, y).tolist() == [False, True, True, False, False, False]
    order = np.array([3, 1, 5, 0, 4, 2])
    assert (tradeoff.front(x[order], y[order]) == tradeoff.front(x, y)[order]).all()


def test_tradeoff_joins_accuracy_with_what_was_measured(small: Tables) -> None:
    source = Source(given=small)
    frame = tradeoff.numbers(source)
    bench = small["bench"].set_index(["model", "method", "keep_rate"])["images_per_second"]
    speeds = [bench[tuple(row)] for row in frame[["model", "method", "keep_rate"]].to_numpy()]
    assert frame["images_per_second"].tolist() == speeds and len(frame) == len(small["runs"])
    made = tradeoff.draw(source)
    assert [ax.get_title() for ax in made.axes] == ["shapes", "shapes", "birds", "birds"]
    assert made.axes[2].get_xlabel() == "images a second (cpu, batch 32, float32)\nhigher is better"
    best = frame[(frame["dataset"] == "embedded:shapes") & frame["on_front_speed"]].sort_values("images_per_second")
    line = next(line for line in made.axes[0].lines if line.get_label() == "Pareto front")
    assert line.get_xdata().tolist() == best["images_per_second"].tolist() and len(best) > 3
    assert line.get_ydata().tolist() == sorted(best["accuracy"], reverse=True)


def test_tradeoff_takes_the_setting_of_the_benchmark_with_most_rows(small: Tables) -> None:
    other = small["bench"].iloc[:4].assign(device="cuda", images_per_second=1e6)
    given = small | {"bench": pd.concat([other, small["bench"]])}
    assert tradeoff.numbers(Source(given=given))["images_per_second"].max() < 1e6


def test_names_of_capacities_stay_within_their_panels(small: Tables) -> None:
    alike = small["runs"].assign(accuracy=70.0)  # the names stand on top of all else
    for made in (tradeoff.draw(Source(given=small)), tradeoff.draw(Source(given=small | {"runs": alike}))):
        made.draw_without_rendering()
        for ax in made.axes:
            box, names = ax.get_window_extent(), [text.get_window_extent() for text in ax.texts]
            assert len(names) == 2 and all(box.x0 <= n.x0 and n.x1 <= box.x1 and n.y1 <= box.y1 for n in names)
            assert all(text.get_path_effects() for text in ax.texts)


def test_without_a_benchmark_the_cost_has_the_whole_width(small: Tables) -> None:
    made = tradeoff.draw(Source(given={"runs": small["runs"]}))
    assert [ax.get_title() for ax in made.axes] == ["shapes", "birds"]
    assert made.axes[1].get_xlabel() == "GFLOPs\nlower is better"
    assert made.axes[1].get_ylabel() == "top-1 accuracy (%)\nhigher is better"
    assert not [text for ax in made.axes for text in ax.texts if text.get_gid() == "gap"]
    (line,) = [bars.lines[0] for bars in made.axes[0].containers if bars.get_label() == "Top-K deit_tiny"]
    assert line.get_xdata().tolist() == [
        small["runs"].set_index("run").loc[f"d0_tiny_topk_r{rate:g}", "gflops"] for rate in (0.25, 0.5, 0.9)
    ]  # fmt: skip
