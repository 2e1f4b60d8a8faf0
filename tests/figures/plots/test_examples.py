"""Example images: each cell is what the method did, groups keep their colours, and fused patches look like no other."""

from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.parts.group_colors import OUTLINES, group_colors
from tokenlens.figures.parts.patch_painter import LUMA, paint
from tokenlens.figures.plots import examples
from tokenlens.figures.select.runs import read_pictures

GRID, SIDE = (7, 7), 7 * examples.PIXELS
METHODS = ("tome", "topk", "evit", "atc-average")


@pytest.fixture
def runs(make_run: Any) -> list[Any]:
    made = [make_run(method) for method in METHODS]
    kept = made[2]["kept"].values
    made[2]["group"] = made[2]["group"].where(made[2]["kept"], 40)  # EViT fuses what it does not keep
    assert not kept.all()
    return made


def cell(ax: Any, row: int, column: int) -> np.ndarray:
    """One cell of a block, (h, w, 3) uint8."""
    step = SIDE + examples.GAP
    whole = np.asarray(ax.images[0].get_array())
    return whole[row * step : row * step + SIDE, column * step : column * step + SIDE]


def test_each_cell_is_what_a_method_did_at_a_stage(runs: list[Any]) -> None:
    figure = examples.draw(Source(opened=runs), strict=True)
    assert [ax.get_ylabel() for ax in figure.axes] == ["000000", "000001"]
    for number, ax in enumerate(figure.axes):
        heads = [text.get_text() for text in ax.get_xticklabels()]
        assert heads == ["image", "Top-K", "EViT", "ToMe", "ATC average"]
        assert [text.get_text() for text in ax.get_yticklabels()] == ["block 3", "block 6"]
        picture = examples._resized(read_pictures(runs[0], list(runs[0]["image"].values))[number], GRID)
        for column, run in enumerate([runs[1], runs[2], runs[0], runs[3]], 1):
            colors = group_colors(run["group"].values[number], GRID)
            for row in range(2):
                kept, group = (run[name].values[number, row] for name in ("kept", "group"))
                want = paint(picture, kept, group, run.attrs["merges"], GRID, colors[row])
                assert (cell(ax, row, column) == want).all()
        place = [tick for tick in ax.get_xticks()]
        assert place == [SIDE / 2 + (SIDE + examples.GAP) * i for i in range(5)]


def test_a_stage_that_a_run_has_not_is_an_annotated_gap(make_run: Any) -> None:
    runs = [make_run("topk"), make_run("l2", stages=(3,))]
    (ax,) = examples.draw(Source(opened=runs), images=1, strict=True).axes
    assert [text.get_text() for text in ax.texts] == ["no such\nstage"]
    assert (cell(ax, 1, 2) == 255).all() and not (cell(ax, 0, 2) == 255).all()


@pytest.mark.parametrize("preset", ["iccv", "eccv", "neurips", "slide"])
@pytest.mark.parametrize("methods", [1, 4, 17])
def test_all_methods_find_a_place_on_the_page(preset: str, methods: int) -> None:
    banks, cell = examples.layout(methods, 3, 1, preset)
    chosen = examples.style.preset(preset)
    scale = chosen.size / 8
    assert (ceil(methods / banks) + 1) * cell * scale <= chosen.page
    assert (banks * (3 * cell + examples.HEAD) + examples.FOOT) * scale <= chosen.height + 1e-9
    for fewer in range(1, banks):  # would have cells that are too small, or smaller at any rate
        wide = chosen.page / scale / (ceil(methods / fewer) + 1)
        assert wide < examples.ENOUGH + 0.1 and wide < cell + 0.1


@pytest.mark.usefixtures("among_methods")
def test_methods_go_on_below(make_run: Any) -> None:
    names = ["topk", "evit", "ats", "tome", "sit", "sinkhorn", "l1", "l2", "linf", "random", "dpcknn", "kmedoids"]
    figure = examples.draw(
        Source(opened=[make_run(name) for name in names]), preset="eccv", images=1, methods=None, strict=True
    )
    heads = [[text.get_text() for text in ax.get_xticklabels()] for ax in figure.axes]
    assert len(heads) > 1 and all(head[0] == "image" for head in heads)
    assert [name for head in heads for name in head[1:]] == list(map(examples.label, examples.style.in_order(names)))


def test_numbers_count_patches(runs: list[Any]) -> None:
    rows = examples.numbers(Source(opened=runs), images=["shapes/test/000001"]).set_index(["method", "stage"])
    assert rows.loc[("topk", 3), ["kept", "dropped", "fused", "groups", "tokens_left"]].tolist() == [24, 25, 0, 0, 24]
    assert rows.loc[("evit", 6), ["kept", "dropped", "fused", "groups"]].tolist() == [12, 0, 37, 0]
    assert rows.loc[("tome", 6), ["kept", "dropped", "fused", "groups", "tokens_left"]].tolist() == [0, 0, 0, 12, 12]
    assert len(rows) == 8


def test_what_cannot_be_shown_is_missing_and_said(make_run: Any) -> None:
    gone = make_run("topk").assign_coords(image=["shapes/test/000000", "elsewhere"])
    with pytest.raises(Missing, match="no longer in embedded:shapes"):
        examples.draw(Source(opened=[gone]), strict=True)
    into = Figure()
    assert examples.draw(Source(opened=[gone]), figure=into) is into
    assert "put them back" in into.axes[0].texts[0].get_text()
    del gone.attrs["input_size"]
    with pytest.raises(Missing, match="does not say its input_size"):
        examples.numbers(Source(opened=[gone]))
    with pytest.raises(Missing, match=r"no run has the keep rate 0.9; the runs have 0.5"):
        examples.numbers(Source(opened=[make_run("topk")]), keep_rate=0.9)


def test_a_group_keeps_its_color_when_others_join_it() -> None:
    stages = np.array([[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 1, 1, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0, 1, 1]])
    colors = group_colors(stages, (1, 8))
    assert (colors[:, 0] == colors[0, 0]).all() and (colors[:, 6] == colors[0, 6]).all()
    assert (colors[1, 4] == colors[0, 2]).all() and not (colors[0, 4] == colors[0, 2]).all()
    assert (group_colors(np.array([5, 2, 9, 0])[stages], (1, 8)) == colors).all()  # whatever the groups are called


@pytest.mark.parametrize(
    ("sizes", "joined", "apart"),
    [
        ([4, *[2] * 7, 4], [*range(9)], {0, 8}),  # two large groups among seven small ones
        ([*[6] * 8, *[2] * 7], [*[0] * 8, *range(8, 15)], {0, *range(8, 15)}),  # small ones, but the last to be left
        ([*[2] * 5, *[1] * 7], [*[0] * 5, *range(5, 12)], set(range(5))),  # a patch alone needs no colour
    ],
)
def test_the_last_and_the_largest_groups_have_colors_of_their_own(
    sizes: list[int], joined: list[int], apart: set[int]
) -> None:
    first = np.repeat(np.arange(len(sizes)), sizes)
    colors = group_colors(np.stack([first, np.array(joined)[first]]), (1, len(first)))
    assert len({tuple(colors[0, first == group][0]) for group in apart}) == len(apart)
    assert {tuple(color) for stage in colors for color in stage} <= set(map(tuple, OUTLINES))


def test_no_neighbour_has_the_color_of_a_group_at_any_stage() -> None:
    first = np.random.default_rng(0).integers(0, 40, 196)  # scattered, so that each has some twenty neighbours
    stages = np.stack([first, first // 2, first // 4])
    colors = group_colors(stages, (14, 14)).reshape(3, 14, 14, 3)
    groups = stages.reshape(3, 14, 14)
    for axis in (1, 2):
        here, beside = (np.moveaxis(groups, axis, 0)[part] for part in (slice(1, None), slice(-1)))
        same = (np.diff(colors, axis=axis) == 0).all(axis=-1)
        assert (np.moveaxis(same, axis, 0) == (here == beside)).all()


def test_a_line_in_the_groups_color_is_inside_of_it_and_around_no_single_patch() -> None:
    image, color = np.full((84, 84, 3), 120, np.uint8), np.tile(OUTLINES[1], (49, 1))
    group = np.arange(49)
    group[[8, 9, 15]] = 8
    drawn = paint(image, np.zeros(49, bool), group, True, GRID, color)
    inside = np.isin(np.arange(49), [8, 9, 15]).reshape(7, 7).repeat(12, axis=0).repeat(12, axis=1)
    line = (drawn == OUTLINES[1]).all(axis=-1)
    ring = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1))
    assert line[ring].all() and not line[~inside].any() and line.sum() < 2 * ring.sum()
    assert (drawn[~inside] == 120).all()


def test_fused_and_dropped_are_told_apart_in_grey_too() -> None:
    image = np.full((84, 84, 3), 120, np.uint8)
    group = np.full(49, -1)
    group[:7] = 0
    drawn = paint(image, np.zeros(49, bool), group, False, GRID, np.zeros((49, 3))) @ LUMA
    fused, dropped = drawn[:12], drawn[13:]
    assert np.ptp(dropped) < 1 and np.ptp(fused) > 50
    assert all(np.ptp(fused[:, 12 * i : 12 * i + 12]) > 50 for i in range(7))  # every patch of it


def test_long_names_do_not_meet(make_run: Any) -> None:
    runs = [make_run("topk", run=f"run{i}") for i in range(9)]
    for i, run in enumerate(runs):
        run.attrs["method"] = f"topk-with-temperature-{i}-and-noise"
    (ax,) = examples.draw(Source(opened=runs), images=1, methods=None, strict=True).axes
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
    assert len(boxes) == 10 and not any(a.overlaps(b) for a, b in pairwise(boxes))
