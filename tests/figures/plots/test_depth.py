"""The figure of mean-depth heat maps: what is drawn, where, and what is said below it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tokenlens.errors import UnknownName
from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import depth

Tables = dict[str, pd.DataFrame]
METHODS, RATES = ("evit", "l2", "topk"), (0.5, 0.25)


@pytest.fixture(scope="module")
def small(make_tables: Any) -> Tables:
    """Three methods at two rates; topk at 0.25 has no run, and evit no correlations."""
    made: Tables = make_tables(("embedded:shapes",), ("small",), METHODS, RATES)
    gone = "d0_small_topk_r0.25"
    runs, maps = (made[name][made[name]["run"] != gone] for name in ("runs", "heatmap"))
    maps = maps.assign(depth=maps["depth"] + maps["row"] / 99)  # rows and columns are not to be told apart by luck
    rows = [
        {"run_a": run, "run_b": norm, "axis": "radial", "stage": -1, "metric": "heatmap_spearman", "std": np.nan,
         "n": 10, "chance": 0.0, "value": -0.125 * (i + 1), "low": -0.9, "high": 0.1}
        for run in runs["run"] if "topk" in run or "l2" in run for i, norm in enumerate(("l1", "l2", "linf"))
    ]  # fmt: skip
    return {"runs": runs, "heatmap": maps, "comparison": pd.concat([made["comparison"], pd.DataFrame(rows)])}


def maps(figure: Any) -> dict[str, Any]:
    """The axes of maps and gaps by their place: column and rate."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    columns = [ax.get_title() for ax in axes[:3]]
    assert [ax.get_ylabel() for ax in axes] == ["keep 0.25", "", "", "keep 0.5", "", ""]
    return {f"{column} {rate}": ax for (rate, column), ax in zip(
        [(rate, column) for rate in (0.25, 0.5) for column in columns], axes, strict=True)}  # fmt: skip


def test_each_map_shows_its_depths_and_correlations(small: Tables) -> None:
    found = maps(depth.draw(Source(given=small), strict=True))
    assert list(found) == [f"{name} {rate}" for rate in (0.25, 0.5) for name in ("Top-K", "EViT", "ℓ2")]
    cells = small["heatmap"].set_index("run").loc["d0_small_evit_r0.25"]
    shown = np.asarray(found["EViT 0.25"].images[0].get_array())
    assert (shown[cells["row"], cells["column"]] == cells["depth"]).all() and shown.shape == (14, 14)
    assert found["Top-K 0.5"].get_xlabel().split() == ["−.12", "−.25", "−.38"]
    assert found["EViT 0.5"].get_xlabel() == ""
    assert [depth._short(value) for value in (-0.004, 0.004, -0.126, -1.0, np.nan)] == [
        ".00",
        ".00",
        "−.13",
        "−1.00",
        "–",
    ]


def test_a_run_that_is_lacking_is_an_annotated_gap(small: Tables) -> None:
    gap = maps(depth.draw(Source(given=small), strict=True))["Top-K 0.25"]
    assert [text.get_text() for text in gap.texts] == ["no run"] and not gap.images


def test_the_maps_of_a_rate_share_their_colors_and_a_bar(small: Tables) -> None:
    figure = depth.draw(Source(given=small), strict=True)
    rows = depth.numbers(Source(given=small)).set_index(["method", "keep_rate"])
    for rate in RATES:
        limits = {ax.images[0].get_clim() for key, ax in maps(figure).items() if key.endswith(f" {rate}") and ax.images}
        looking = rows.loc[(["topk", "evit"], [rate]), :]
        assert limits == {(looking["min_depth"].min(), looking["max_depth"].max())}
    assert sum(ax.get_label() == "<colorbar>" for ax in figure.axes) == len(RATES)


def test_rings_hold_as_many_patches_as_are_left(small: Tables, make_run: Any) -> None:
    runs = [make_run(method, 0.5, run=f"d0_small_{method}_r0.5") for method in METHODS]
    figure = depth.draw(Source(given=small, opened=runs), strict=True, ring="linf")
    rings = [patch.get_path() for patch in maps(figure)["EViT 0.5"].patches if patch.get_gid() == "ring"]
    inside = np.zeros((14, 14), bool)
    inside[4:10, 4:10] = True  # of squares of 4, 16, 36 ... patches, the nearest to 24 has 16, to 12 has 16
    inner = np.zeros((14, 14), bool)
    inner[5:9, 5:9] = True
    assert [sorted(map(tuple, ring.vertices)) for ring in rings] == [
        sorted(map(tuple, depth.outline(inner).vertices)) for _ in range(2)
    ]
    assert sorted(map(tuple, depth.outline(inside).vertices)) != sorted(map(tuple, rings[0].vertices))
    assert not [p for p in maps(figure)["EViT 0.25"].patches if p.get_gid() == "ring"]
    assert "rings of equal count" in figure.get_supxlabel()
    assert "no rings" in depth.draw(Source(given=small), strict=True).get_supxlabel()


def test_the_ring_is_that_of_the_radial_methods() -> None:
    row, column = np.divmod(np.arange(196), 14)
    away = depth.distance(row, column, "linf")
    assert [depth.disc(away, count).sum() for count in (176, 158, 142)] == [196, 144, 144]
    from tokenlens.methods.radial import radii as published  # which needs torch

    radii = published((14, 14), "l2")
    for count in (3, 24, 49, 98, 137):
        ring = depth.disc(depth.distance(row, column, "l2"), count)
        sizes = (radii[:, None].round(4) <= np.unique(radii.round(4))).sum(0)
        assert ring.sum() == sizes[np.abs(sizes - count).argmin()]
        assert radii[ring].max() < radii[~ring].min()


def test_an_outline_is_every_side_between_inside_and_outside() -> None:
    inside = np.random.default_rng(0).random((6, 9)) < 0.5
    path = depth.outline(inside)
    ends = path.vertices.reshape(-1, 2, 2)
    length = np.abs(ends[:, 0] - ends[:, 1]).sum()
    assert length == (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    one = np.zeros((5, 5), bool)
    one[1, 3] = True
    sides = {tuple(map(tuple, line)) for line in depth.outline(one).vertices.reshape(-1, 2, 2)}
    corners = [(2.5, 0.5), (3.5, 0.5), (2.5, 1.5), (3.5, 1.5)]  # x and y: column 3, row 1
    assert sides == {(corners[i], corners[j]) for i, j in ((0, 1), (2, 3), (0, 2), (1, 3))}


def test_methods_go_on_below_where_the_page_is_too_narrow(tables: Tables) -> None:
    figure = depth.draw(Source(given=tables), preset="eccv", methods=None, strict=True)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["Top-K", "EViT", "DynamicViT", "ATS", "K-Medoids", "DPC-KNN", "ℓ1", "ℓ2", "ℓ∞", "Random"]
    left = [ax for ax in figure.axes if ax.get_ylabel().startswith("keep")]
    assert [ax.get_ylabel() for ax in left] == [f"keep {rate}" for rate in (0.25, 0.5, 0.7, 0.9)] * 2


def test_what_cannot_be_drawn_is_said(small: Tables) -> None:
    with pytest.raises(UnknownName, match="no norm called 'l3'"):
        depth.draw(Source(given=small), ring="l3")
    merged = {**small, "heatmap": small["heatmap"].assign(run="another")}
    with pytest.raises(Missing, match="no heat maps of shapes"):
        depth.numbers(Source(given=merged))
    into = Figure()
    assert depth.draw(Source(given={}), figure=into) is into
    assert "tokenlens compare" in into.axes[0].texts[0].get_text()


def test_long_names_do_not_meet(make_tables: Any) -> None:
    methods = ("topk", "evit", "dynamicvit", "ats", "l1", "l2", "linf", "random", "kmedoids", "dpcknn")
    made = make_tables(("embedded:shapes",), ("small",), methods, (0.5,))
    runs = made["runs"].assign(method=made["runs"]["method"] + "-with-temperature-and-noise")
    figure = depth.draw(Source(given={**made, "runs": runs}), methods=None, strict=True)
    figure.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in figure.axes if ax.get_title()]
    assert len(boxes) == 10 and not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_one_method_stands_in_the_middle_beside_its_bar_and_says_nothing_of_what_is_not_known(make_tables: Any) -> None:
    made = make_tables(("embedded:shapes",), ("small",), ("topk",), (0.5,))
    figure = depth.draw(Source(given=made), strict=True)
    figure.draw_without_rendering()
    ax, bar = (one.get_window_extent() for one in figure.axes)
    assert abs((ax.x0 + bar.x1) / 2 / figure.bbox.width - 0.5) < 0.06 and bar.x0 - ax.x1 < 20
    assert figure.axes[0].get_xlabel() == "" and "Spearman" not in figure.get_supxlabel()
