"""The similarity matrices: values, order, chance, and what is not there."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import similarity
from tokenlens.figures.theme.style import label

pytestmark = pytest.mark.usefixtures("among_methods")

Tables = dict[str, pd.DataFrame]
PRUNING, CAMPS = ("topk", "evit", "l1", "l2"), ({"topk", "l1"}, {"evit", "l2"})


@pytest.fixture
def small(make_tables: Any) -> Tables:
    """Four methods in two camps that the order of the studies mixes; one pair is as chance, another is lacking."""
    made: Tables = make_tables(("embedded:shapes",), ("small",), PRUNING, (0.5, 0.7))
    comparison = made["comparison"].copy()
    method = [comparison[f"run_{end}"].str.split("_").str[2] for end in "ab"]
    alike = np.array([any({a, b} <= camp for camp in CAMPS) for a, b in zip(*method, strict=True)])
    iou = (comparison["metric"] == "iou").to_numpy()
    comparison.loc[iou, "value"] = np.where(alike, 0.9, 0.5)[iou]
    comparison.loc[iou, ["low", "high"]] = comparison.loc[iou, "value"].to_numpy()[:, None] + [-0.02, 0.02]
    pair = [{"topk", "l2"} == set(names) for names in zip(*method, strict=True)]
    comparison.loc[iou & pair, "chance"] = 0.51
    lacking = np.array([{"topk", "evit"} == set(names) for names in zip(*method, strict=True)])
    return {**made, "comparison": comparison[~(iou & lacking & (comparison["stage"] == 6))]}


def panels(figure: Any, metric: str) -> list[Any]:
    """The axes of a measure's row, from left to right."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    rows = {ax.get_subplotspec().rowspan.start for ax in axes}
    there = [name for name in similarity.SHOWN if len(rows) == 3 or name != "vmeasure"]  # what is lacking has no row
    return [ax for ax in axes if ax.get_subplotspec().rowspan.start == there.index(metric)]


def names(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def test_a_matrix_holds_the_values_of_its_pairs_in_the_order_of_its_labels(small: Tables) -> None:
    figure = similarity.draw(Source(given=small), strict=True)
    rows = similarity.numbers(Source(given=small))
    ax = panels(figure, "procrustes")[1]
    assert ax.get_title().startswith("block 6")
    shown, order = np.ma.filled(ax.images[0].get_array(), np.nan), names(panels(figure, "procrustes")[0])
    part = rows[(rows["metric"] == "procrustes") & (rows["stage"] == 6)]
    assert {"none", *PRUNING} == {*part["method_a"], *part["method_b"]} and len(order) == 5
    for row in part.itertuples():
        i, j = order.index(label(str(row.method_a))), order.index(label(str(row.method_b)))
        assert shown[i, j] == shown[j, i] == row.value
    assert np.isnan(np.diag(shown)).all() and np.isnan(shown).sum() == 25 - 2 * len(part)


def test_methods_that_are_alike_stand_together(small: Tables) -> None:
    rows = similarity.numbers(Source(given=small))
    rows = rows[rows["metric"] == "iou"]
    order = similarity.clustered(rows)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset(camp) for camp in CAMPS}
    assert similarity.clustered(rows.sample(frac=1, random_state=1)) == order
    turned = rows.rename(columns={"method_a": "method_b", "method_b": "method_a"})
    assert similarity.clustered(turned) == order
    far = rows.assign(metric="procrustes", value=1 - rows["value"])  # a distance says the same the other way round
    assert similarity.clustered(far) == order
    figure = similarity.draw(Source(given=small), strict=True)
    assert names(panels(figure, "iou")[0]) == [label(method) for method in order]


def test_chance_is_marked(small: Tables) -> None:
    figure = similarity.draw(Source(given=small), strict=True)
    ax, order = panels(figure, "iou")[0], names(panels(figure, "iou")[0])
    (crosses,) = [found for found in ax.collections if found.get_gid() == "chance"]
    place = order.index("Top-K"), order.index("ℓ2")
    assert sorted(map(tuple, crosses.get_offsets())) == sorted([place, place[::-1]])
    rows = similarity.numbers(Source(given=small))
    rows = rows[rows["metric"] == "iou"]
    assert list(rows.loc[~rows["beyond_chance"], ["method_a", "method_b"]].agg(set, axis=1)) == [{"topk", "l2"}] * 3
    levels = rows.groupby("stage")["chance"].mean()
    assert ax.get_title() == f"block 3 · chance {levels[3]:.2f}"
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    lines = [line.get_ydata()[0] for line in bars[0].lines if line.get_gid() == "chance"]
    assert lines == pytest.approx(list(levels))
    assert not [line for line in bars[1].lines if line.get_gid() == "chance"]  # of Procrustes: beyond all values


def test_what_is_lacking_is_said(small: Tables) -> None:
    figure = similarity.draw(Source(given=small), strict=True)
    assert figure.get_supxlabel().endswith("Left out: NMI: no two runs merge patches.")
    bars = [ax.get_ylabel() for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bars == ["IoU\nhigher is more alike", "Procrustes distance\nlower is more alike"]
    grey = [list(ax.patches) for ax in panels(figure, "iou")]
    order = names(panels(figure, "iou")[0])
    corners = {tuple(np.array(patch.get_xy()) + 0.5) for patch in grey[1]}
    place = order.index("Top-K"), order.index("EViT")
    assert corners == {place, place[::-1]} and not grey[0]
    (last,) = [text.get_text() for text in panels(figure, "iou")[3].texts]
    assert last == "no stage\nat block 11"  # features have a last layer


def test_the_keep_rate_is_the_usual_one_or_the_one_asked_for(small: Tables) -> None:
    source = Source(given=small)
    assert set(similarity.numbers(source)["keep_rate"]) == {0.5}
    assert "keep 0.7" in similarity.draw(source, keep_rate=0.7, strict=True).get_supxlabel()
    with pytest.raises(Missing, match=r"no run has the keep rate 0.1"):
        similarity.numbers(source, keep_rate=0.1)
    alone = {**small, "runs": small["runs"][small["runs"]["method"] == "topk"]}
    with pytest.raises(Missing, match=r"no two methods of shapes .* are compared at the keep rate 0.5"):
        similarity.numbers(Source(given=alone))


def test_names_keep_clear_of_each_other_and_crosses_are_no_larger_than_letters(
    make_tables: Any, tables: Tables
) -> None:
    every = make_tables(("embedded:shapes",), ("small",), tuple(sorted({*tables["runs"]["method"]} - {"none"})), (0.5,))
    figure = similarity.draw(Source(given=every), strict=True)
    figure.draw_without_rendering()
    for metric in similarity.SHOWN:
        boxes = [text.get_window_extent() for text in panels(figure, metric)[0].get_yticklabels()]
        assert len(boxes) > 8 and not any(a.overlaps(b) for a, b in pairwise(boxes))
    two = make_tables(("embedded:shapes",), ("small",), ("topk", "random"), (0.5,))
    chance = two["comparison"].assign(chance=two["comparison"]["value"])
    figure = similarity.draw(Source(given={**two, "comparison": chance}), strict=True)
    (crosses,) = panels(figure, "iou")[0].collections
    assert len(crosses.get_offsets()) == 2 and crosses.get_sizes()[0] ** 0.5 <= 8


def test_many_methods_make_the_matrices_higher(small: Tables) -> None:
    names = [f"topk-{i}" for i in range(40)]
    one = small["runs"].query("method == 'topk' and keep_rate == 0.5")
    runs = pd.concat([one.assign(run=name, method=name) for name in names])
    pair = small["comparison"].query("axis == 'method' and metric == 'iou' and stage == 3").iloc[:1]
    pairs = pd.concat([pair.assign(run_a=a, run_b=b) for i, a in enumerate(names) for b in names[:i]])
    figure = similarity.draw(Source(given={"runs": runs, "comparison": pairs}), strict=True)
    labels = panels(figure, "iou")[0].get_yticklabels()
    boxes = [text.get_window_extent() for text in labels]
    assert len(boxes) == 40 and not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert labels[0].get_size() > 3
