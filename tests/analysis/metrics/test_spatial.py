"""How patterns lie on the grid: against plain restatements, and in worlds where the answer is seen."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.compare import compare
from tokenlens.analysis.metrics import spatial

MakeRun = Callable[..., xr.Dataset]
SIDE = 6
ROW, COLUMN = np.divmod(np.arange(SIDE * SIDE), SIDE)
WHOLE = np.ones(SIDE * SIDE, dtype=bool)


def slow_moran(kept: np.ndarray) -> float:
    apart = kept - kept.mean()
    near = np.abs(ROW[:, None] - ROW) + np.abs(COLUMN[:, None] - COLUMN) == 1
    return float(len(kept) / near.sum() * (near * np.outer(apart, apart)).sum() / (apart**2).sum())


def slow_pieces(kept: np.ndarray) -> int:
    left, count = {(r, c) for r, c, k in zip(ROW, COLUMN, kept, strict=True) if k}, 0
    while left:
        count, todo = count + 1, [left.pop()]
        while todo:
            r, c = todo.pop()
            for near in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                if near in left:
                    left.remove(near)
                    todo.append(near)
    return count


def test_they_are_what_a_loop_over_patches_gives() -> None:
    patterns = np.random.default_rng(0).random((20, 2, SIDE * SIDE)) < 0.4
    moran, pieces = spatial.moran(patterns, WHOLE), spatial.pieces(patterns, WHOLE)
    for at in np.ndindex(20, 2):
        assert moran[at] == pytest.approx(slow_moran(patterns[at].astype(float)))
        assert pieces[at] == slow_pieces(patterns[at])


def test_a_disc_is_one_piece_a_chessboard_many_and_all_or_none_say_nothing_of_order() -> None:
    disc, board = np.hypot(ROW - 2.5, COLUMN - 2.5) < 2, (ROW + COLUMN) % 2 == 0
    assert spatial.pieces(np.stack([disc, board, WHOLE, ~WHOLE]), WHOLE).tolist() == [1, 18, 1, 0]
    moran = spatial.moran(np.stack([disc, board, WHOLE, ~WHOLE]), WHOLE)
    assert moran[0] > 0.5 and moran[1] == pytest.approx(-1) and np.isnan(moran[2:]).all()


def test_chance_is_that_of_random_patterns() -> None:
    patterns = np.random.default_rng(1).random((4000, SIDE * SIDE)).argsort(-1) < 12
    layout = spatial.Layout(patterns, WHOLE)
    assert spatial.moran(patterns, WHOLE).mean() == pytest.approx(-1 / 35, abs=0.01)
    assert spatial.pieces(patterns, WHOLE).mean() == pytest.approx(
        float(spatial.expected_pieces(12, 36, SIDE)), rel=0.06
    )
    assert spatial.expected_pieces(layout.kept.sum(-1), 36, SIDE).shape == (4000,)


def test_groups_that_follow_the_object_find_its_border_and_random_ones_find_what_chance_says() -> None:
    mask = np.hypot(ROW - 2.5, COLUMN - 2.5) < 2
    assert spatial.boundary_recall(mask.astype(np.int16), mask) == 1
    assert spatial.boundary_recall(np.zeros(36, np.int16), mask) == 0
    assert np.isnan(spatial.boundary_recall(mask.astype(np.int16), WHOLE))
    groups = np.random.default_rng(2).permuted(np.tile(np.arange(36) % 5 - 1, (3000, 1)), axis=1)
    borders = spatial.Borders(groups, mask)
    assert spatial.boundary_recall(groups, mask).mean() == pytest.approx(float(borders.apart.mean()), abs=0.01)


def test_runs_are_beside_their_grid_and_their_masks(make_run: MakeRun) -> None:
    runs = [make_run("topk", objects=True), make_run("tome", objects=True)]
    found = compare(runs, ["layout", "object"], ["moran", "pieces", "boundary_recall"]).comparison
    assert set(found["run_b"][found["axis"] == "layout"]) == {"grid"}
    by_metric = found[found["stage"] == 3].set_index("metric")
    assert by_metric.loc["moran", "run_a"] == "topk-0.5-0"
    assert by_metric.loc["moran", "value"] == pytest.approx(spatial.moran(runs[0]["kept"].values[:, 0], WHOLE).mean())
    recall = spatial.boundary_recall(runs[1]["group"].values[:, 0], runs[1]["object"].values)
    assert by_metric.loc["boundary_recall", "value"] == pytest.approx(recall.mean())
