"""What the figures of pairs share: which sets they are of, and where intervals end."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import accuracy, axes, correlations, datasets, proxy

Tables = dict[str, pd.DataFrame]


def test_a_set_with_a_photographers_bias_is_no_data_set_of_its_own(make_tables: Callable[..., Tables]) -> None:
    sets = ("embedded:shapes", "folder:/birds", "embedded:shapes@bias=1")
    three, two = (
        make_tables(chosen, ("small",), ("topk", "evit", "tome", "sit", "l2", "random"), (0.25, 0.5))
        for chosen in (sets, sets[:2])
    )
    for figure in (axes, datasets, proxy, correlations):
        pd.testing.assert_frame_equal(figure.numbers(Source(given=three)), figure.numbers(Source(given=two)))
    said = datasets.draw(Source(given=three)).legends[0].get_title().get_text()
    assert said == "keep rate (birds and shapes; pairs of runs: 1)"
    frame, without = (accuracy.numbers(Source(given={"runs": t["runs"].assign(images=9)})) for t in (three, two))
    assert accuracy.average_ranks(frame) == accuracy.average_ranks(without)
    assert set(frame["dataset"]) == set(sets)  # its accuracies are shown all the same
    only = three | {"proxy": three["proxy"].query("dataset == @sets[2]")}
    with pytest.raises(Missing, match=r"sets with a photographer's bias, which are no data sets .* --data embedded"):
        proxy.numbers(Source(given=only))


def test_intervals_end_where_values_can(small: Tables) -> None:
    comparison = small["comparison"]
    wide = comparison.assign(low=comparison["value"] - 9, high=comparison["value"] + 9)
    frame = datasets.numbers(Source(given=small | {"comparison": wide})).set_index("metric")
    assert (frame.loc["scc", "low"] == -1).all() and (frame.loc["scc", "high"] == 1).all()
    assert (frame.loc["emd", "low"] == 0).all() and (frame.loc["emd", "high"] > 5).all()
    apart = comparison["value"] + np.where(comparison["run_a"].str.startswith("d0"), 2, 0)
    frame = axes.numbers(Source(given=small | {"comparison": comparison.assign(value=apart)})).set_index("metric")
    assert frame.loc[["iou", "ioa", "ami"], "high"].max() == 1 and frame.loc["procrustes", "low"].min() == 0
    made = axes.draw(Source(given=small))
    assert [made.axes[i].get_xlabel() for i in (0, 3)] == ["pair of capacities\nn = 6", "pair of keep rates\nn = 4"]
    ranks = accuracy.average_ranks(pd.DataFrame({"method": "topk", "rank": [1.0, 1, 1, 4]}))
    assert ranks["topk"][1:] == (1, 4, 4)
