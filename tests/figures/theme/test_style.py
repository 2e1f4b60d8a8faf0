"""The paper that figures are drawn for."""

import matplotlib
import pytest
from matplotlib.figure import Figure

from tokenlens.errors import UnknownName
from tokenlens.figures.theme import style
from tokenlens.methods import methods


def test_a_preset_lasts_as_long_as_its_block() -> None:
    before = dict(matplotlib.rcParams)
    with style.use("slide") as preset:
        assert matplotlib.rcParams["font.size"] == preset.size == 15 and matplotlib.rcParams["pdf.fonttype"] == 42
        style.canvas(None, "slide", "page", 9)  # smaller letters
        assert matplotlib.rcParams["font.size"] < 15
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(UnknownName, match="no preset called 'icvc'; did you mean iccv"), style.use("icvc"):
        pass


@pytest.mark.parametrize(("name", "width", "inches"), [
    ("cvpr", "column", 3.28), ("iccv", "page", 6.875), ("eccv", "page", 4.8), ("neurips", "column", 5.5),
    ("slide", "page", 12.3),
])  # fmt: skip
def test_figures_have_the_widths_of_their_paper_and_fit_its_page(name: str, width: style.Width, inches: float) -> None:
    figure = style.new_figure(name, width, 100)
    assert tuple(figure.get_size_inches()) == (inches, style.preset(name).height)


def test_a_figure_goes_where_it_is_asked_to() -> None:
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    parts = Figure().subfigures(1, 2)
    assert style.canvas(figure, "iccv") is figure and style.canvas(parts[1], "iccv") is parts[1]
    made = style.canvas(right, "iccv")
    assert figure.axes == [left] and made.figure is figure
    made.subplots(2, 2)
    figure.draw_without_rendering()
    assert min(ax.get_position().x0 for ax in made.axes) >= 0 and len(figure.axes) == 5
    with pytest.raises(ValueError, match="placed by hand"):
        style.canvas(Figure().add_axes((0, 0, 1, 1)), "iccv")


def test_a_gap_says_why_and_leaves_the_ticks_of_its_neighbours() -> None:
    figure = Figure()
    gap, beside = figure.subplots(1, 2, sharey=True)
    beside.plot([0, 1], [2, 5])
    style.annotate_gap(gap, "no runs")
    assert [(text.get_text(), text.get_gid()) for text in gap.texts] == [("no runs", "gap")]
    assert not gap.patch.get_hatch()
    style.label_rows([gap, beside], "accuracy")
    figure.draw_without_rendering()
    assert beside.get_ylabel() == "accuracy" and any(t.label1.get_visible() for t in beside.yaxis.get_major_ticks())


@pytest.mark.parametrize("name", style.PRESETS)
@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.usefixtures("among_methods")
def test_the_legend_of_all_methods_fits(name: str, width: style.Width) -> None:
    every = style.in_order(methods())
    with style.use(name):
        figure = style.new_figure(name, width, 3)
        figure.subplots()
        style.legend_of(figure, every)
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.width
        assert [text.get_text() for text in figure.legends[0].texts] == list(map(style.label, every))


def test_tick_labels_keep_their_size_outside() -> None:
    with style.use("slide"):
        figure = style.new_figure("slide", "column", 2)
        figure.subplots().plot([0, 1])
        style.fix_tick_sizes(figure)
    figure.draw_without_rendering()
    assert {text.get_size() for text in figure.axes[0].get_xticklabels()} == {0.85 * 15}


def test_long_names_are_shortened_in_their_middle_and_folded_at_their_joints() -> None:
    assert style.shortened("spatial_scorer_v2", 17) == "spatial_scorer_v2"
    assert [style.shortened("spatial_scorer_v2", n) for n in (9, 3, 2, 1)] == ["spat…r_v2", "s…2", "s…", "…"]
    assert style.wrapped("ATC complete", 5) == "ATC complete"
    assert style.wrapped("topk-with-temperature-and-noise", 15) == "topk-with-\ntempera…d-noise"
    assert style.wrapped("averylongmethodname", 12) == "averylongmet\nhodname"


@pytest.mark.parametrize("name", ["iccv", "slide"])
def test_many_long_names_take_room_of_their_own(name: str) -> None:
    methods = [f"a-plugin-with-the-name-{i}-of-a-method" for i in range(30)]
    with style.use(name):
        figure = style.canvas(None, name, "page", 2.9 + style.legend_room(methods, name))
        ax = figure.subplots()
        style.legend_of(figure, methods)
        figure.draw_without_rendering()
        box, size = figure.legends[0].get_window_extent(), matplotlib.rcParams["font.size"]
        assert 0 <= box.x0 and box.x1 <= figure.bbox.width and 0 <= box.y0
        assert ax.get_window_extent().height > 100 * 2 * size / 8
        assert max(len(text.get_text()) for text in figure.legends[0].texts) == style.LONGEST
    assert style.legend_room(["topk", "l2"], name) == 0
