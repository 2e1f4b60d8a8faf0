"""Intervals of heat maps hold what all images would give, also where noise is most of the map."""

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.heat_maps import HeatMap, rows_of_pair, rows_of_run
from tokenlens.analysis.metrics.base import METRICS
from tokenlens.analysis.nulls import elsewhere
from tokenlens.analysis.pairing import Pair
from tokenlens.analysis.statistics.bootstrap import Resampler

NAMES = ("kl", "js", "pcc", "scc", "sim", "emd")
PAIR = Pair("a", "b", "dataset")


def heat_map(rng: np.random.Generator, images: int, score: np.ndarray, seed: int) -> HeatMap:
    depth = np.where((score + rng.gumbel(size=(images, 36))).argsort(1).argsort(1) < 9, 3.0, 12.0)
    drawn = (Resampler(images, 100, seed).counts(images) @ depth / images).astype(np.float32)
    return HeatMap(depth.mean(0), drawn, images, 6)


@pytest.mark.parametrize("images", [10, 60])
def test_two_sets_of_one_pattern_may_be_the_same(images: int) -> None:
    """The truth is the best value of each metric, which noise alone keeps the maps from."""
    rng, row = np.random.default_rng(0), np.arange(36) // 6
    hit = dict.fromkeys(NAMES, 0)
    for world in range(12):
        maps = [heat_map(rng, images, 0.3 * np.abs(row - 2.5), 2 * world + side) for side in (0, 1)]
        for found in rows_of_pair(PAIR, *maps, [METRICS[name] for name in NAMES]):
            best = METRICS[found["metric"]].best
            hit[found["metric"]] += found["low"] - 1e-9 <= best <= found["high"] + 1e-9
            assert found["low"] <= found["value"] <= found["high"]
    assert min(hit.values()) >= 10, hit


def test_a_rank_correlation_is_stretched_as_the_linear_one_that_it_amounts_to() -> None:
    """Noise shrinks Kendall's tau by less than Pearson's correlation where it is near 1: by its sine."""
    rng, row = np.random.default_rng(0), np.arange(36)
    grid = xr.Dataset(coords={"row": ("patch", row // 6), "column": ("patch", row % 6)})
    away, tau = np.hypot(row // 6 - 2.5, row % 6 - 2.5), METRICS["heatmap_kendall"]
    truth = float(tau(heat_map(rng, 8000, -0.5 * away, 0).mean, away))
    found = [rows_of_run("a", grid, heat_map(rng, 60, -0.5 * away, seed), [tau])[1] for seed in range(12)]  # l2
    assert sum(row["low"] <= truth <= row["high"] for row in found) >= 11
    assert all(abs(row["estimate"]) > abs(row["value"]) for row in found)
    assert tau.of_correlation(tau.as_correlation(-0.7)) == pytest.approx(-0.7)


def test_one_image_says_nothing_of_others() -> None:
    maps = [heat_map(np.random.default_rng(side), 1, np.zeros(36), side) for side in (0, 1)]
    (found,) = rows_of_pair(PAIR, *maps, [METRICS["scc"]])
    assert np.isnan([found["low"], found["high"], found["estimate"]]).all()
    assert found["reason"] == "one image says nothing of others"


def test_shifts_keep_neighbours_and_are_never_the_map_itself() -> None:
    heat = np.random.default_rng(1).random(24)
    moved = elsewhere("torus", heat, 6)
    assert moved.shape == (23, 24)
    grids = moved.reshape(-1, 4, 6)
    for grid in grids:
        at = tuple(np.argwhere(grid == heat[0])[0])
        assert grid[at[0], (at[1] + 1) % 6] == heat[1] and grid[(at[0] + 1) % 4, at[1]] == heat[6]
        assert at != (0, 0)
