"""The figures that come from tables: what is drawn is what the tables say."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from tokenlens.figures.catalogue import Missing, Source
from tokenlens.figures.plots import accuracy, axes, correlations, datasets, proxy, tradeoff
from tokenlens.figures.select.pairs import mean_interval
from tokenlens.figures.theme.style import Canvas, color, label, marker

pytestmark = pytest.mark.usefixtures("among_methods")

Tables = dict[str, pd.DataFrame]
SOME = ("topk", "dynamicvit", "tome", "dpcknn", "sit", "l2", "random")


@pytest.fixture(scope="module")
def source(small: Tables) -> Source:
    return Source(given=small)


def bars(ax: Axes) -> dict[str, ErrorbarContainer]:
    return {one.get_label(): one for one in ax.containers if isinstance(one, ErrorbarContainer)}


def drawn(ax: Axes, name: str) -> np.ndarray:
    return np.asarray(bars(ax)[name].lines[0].get_ydata(), dtype=float)


def gaps(made: Canvas) -> list[str]:
    return [text.get_text() for ax in made.axes for text in ax.texts if text.get_gid() == "gap"]


def test_accuracy_is_drawn_over_rates_with_wilsons_interval(source: Source, small: Tables) -> None:
    made = accuracy.draw(source, methods=None)
    assert [ax.get_title() for ax in made.axes] == [
        "shapes, tiny", "shapes, small", "birds, tiny", "birds, small", "average rank",
    ]  # fmt: skip
    ax, runs = made.axes[2], small["runs"].set_index("run")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.25", "0.5", "0.9"]
    assert list(bars(ax)) == [label(name) for name in SOME]
    wanted = runs.loc[[f"d1_tiny_tome_r{rate:g}" for rate in (0.25, 0.5, 0.9)], "accuracy"].to_numpy()
    assert drawn(ax, "ToMe") == pytest.approx(wanted)
    line = bars(ax)["ToMe"].lines[0]
    assert (line.get_color(), line.get_marker()) == (color("tome"), marker("tome"))
    whole = next(line for line in ax.lines if line.get_label() == "Un-reduced")
    assert list(whole.get_ydata()) == [runs.loc["d1_tiny_none_r1", "accuracy"]] * 2
    legend = [text.get_text() for text in made.legends[0].texts]
    assert legend == ["Un-reduced", *map(label, SOME), "at rate 0.25", "at rate 0.5", "at rate 0.9"]


def test_points_that_cannot_be_told_from_the_unreduced_model_are_hollow(small: Tables) -> None:
    runs = small["runs"].assign(q=0.001)
    near = runs["run"].isin(["d1_tiny_tome_r0.9", "d1_tiny_topk_r0.9"])
    made = accuracy.draw(Source(given={"runs": runs.assign(q=runs["q"].mask(near, 0.4))}))
    hollow = [line for line in made.axes[2].lines if line.get_markerfacecolor() == "white"]
    assert {(line.get_color(), *line.get_xdata()) for line in hollow} == {(color("tome"), 0.9), (color("topk"), 0.9)}
    assert not any(line.get_markerfacecolor() == "white" for line in made.axes[1].lines)
    assert "not told from un-reduced" in [text.get_text() for text in made.legends[0].texts]


def test_ranks_are_averaged_and_methods_ordered_by_them(source: Source) -> None:
    frame = accuracy.numbers(source)
    made = accuracy.draw(source).axes[-1]
    methods = [text.get_text() for text in made.get_yticklabels()]
    assert methods == [label(name) for name in SOME]  # the best has the smallest trait
    assert frame.loc[frame["method"] == "none", "rank"].isna().all()
    assert [one.lines[0].get_xdata()[0] for one in made.containers] == [1, 2, 3, 4, 5, 6, 7]
    dots = [line for line in made.lines if line.get_label().startswith("at rate")]
    assert len(dots) == 3 * len(SOME)


def test_the_ranks_of_many_methods_have_room(make_tables: Callable[..., Tables], tables: Tables) -> None:
    runs = make_tables(("a",), ("tiny",), tuple(sorted({*tables["runs"]["method"]} - {"none"})), (0.5,))["runs"]
    more = runs[runs["method"] != "none"]
    more = more.assign(run=more["run"] + "x", method="a-plugin-with-a-long-name-for-" + more["method"])
    made = accuracy.draw(Source(given={"runs": pd.concat([runs, more])}))
    made.draw_without_rendering()
    boxes = [text.get_window_extent() for text in made.axes[-1].get_yticklabels()]
    assert len(boxes) == 34 and not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert made.legends[0].get_window_extent().y1 < made.axes[-1].get_window_extent().y0


def test_a_rate_that_was_not_run_is_a_gap_in_the_line_and_a_setting_a_gap_in_the_page(small: Tables) -> None:
    runs = small["runs"]
    fewer = runs[~((runs["method"] == "tome") & (runs["keep_rate"] == 0.5))]
    fewer = fewer[~((fewer["dataset"] == "folder:/birds") & (fewer["capacity"] == "small"))]
    made = accuracy.draw(Source(given={"runs": fewer.assign(measure="mAP")}))
    assert np.isnan(drawn(made.axes[0], "ToMe")).tolist() == [False, True, False]
    assert gaps(made) == ["no runs"] and made.axes[3].get_title() == "birds, small"
    lengths = [np.ptp(part[:, 1]) for part in bars(made.axes[0])["Top-K"].lines[2][0].get_segments()]
    assert max(lengths) == 0  # a mean average precision has no interval of shares
    alone = accuracy.draw(Source(given={"runs": runs[runs["method"] == "none"]}))
    assert len(alone.axes) == 4 and not gaps(alone)  # no ranks
    single = accuracy.draw(Source(given={"runs": runs[runs["method"] == "topk"]}))
    assert len(single.axes) == 4 and not gaps(single)
    assert [text.get_text() for text in single.legends[0].texts] == ["Top-K"]
    ranks = accuracy.draw(Source(given={"runs": runs[runs["method"].isin(["topk", "l2"])]})).axes[-1]
    assert all(tick == round(tick) for tick in ranks.get_xticks())
    with pytest.raises(Missing, match="no run has both an accuracy and one keep rate"):
        accuracy.numbers(Source(given={"runs": runs.assign(accuracy=np.nan)}))


def test_axes_show_similarity_above_chance_after_the_last_stage(source: Source, small: Tables) -> None:
    made = axes.draw(source)
    assert [ax.get_title() for ax in made.axes] == [
        "IoU above chance", "AMI", "Procrustes", "IoA above chance", "AMI", "Procrustes",
    ]  # fmt: skip
    assert [text.get_text() for text in made.axes[0].get_xticklabels()] == ["tiny\nsmall"]
    rates = [text.get_text() for text in made.axes[3].get_xticklabels()]
    assert rates == ["0.5\n0.25", "0.9\n0.5", "0.9\n0.25"]  # near pairs first
    rows = small["comparison"].query("axis == 'capacity' and metric == 'iou' and stage == 9")
    rows = rows[rows["run_a"].str.contains("_topk_")]
    above = (rows["value"] - rows["chance"]) / (1 - rows["chance"])
    assert drawn(made.axes[0], "Top-K") == pytest.approx([above.mean()]) and len(above) == 6
    assert set(bars(made.axes[1])) == {"ToMe", "DPC-KNN", "SiT"}


def test_what_has_no_pairs_is_left_out_and_named(small: Tables) -> None:
    comparison = small["comparison"]
    only = comparison[(comparison["axis"] == "keep_rate") & (comparison["metric"] == "ioa")]
    made = axes.draw(Source(given=small | {"comparison": only}))
    assert [ax.get_title() for ax in made.axes] == ["IoA above chance"] and not gaps(made)
    said = " ".join(made.get_supxlabel().split())
    assert said == (
        "Left out: no two runs differ in capacity only; AMI: no method here merges patches; Procrustes: no features, "
        "which `tokenlens extract --features` keeps."
    )


def test_data_sets_agree_as_the_heat_maps_do(source: Source, small: Tables) -> None:
    made = datasets.draw(source)
    assert [ax.get_title() for ax in made.axes] == ["tiny", "small", "", ""]
    keepers = ["Top-K", "DynamicViT", "DPC-KNN", "ℓ2", "Random"]
    assert [text.get_text() for text in made.axes[0].get_yticklabels()] == keepers
    rows = small["comparison"].query("axis == 'dataset' and metric == 'scc'").set_index("run_a")
    wanted = [rows.loc[f"d0_small_{name}_r0.5", "value"] for name in ("topk", "dynamicvit", "dpcknn", "l2", "random")]
    assert np.asarray(bars(made.axes[1])["0.5"].lines[0].get_xdata(), dtype=float) == pytest.approx(wanted)
    one = small | {"comparison": small["comparison"].query("axis != 'dataset'")}
    said = gaps(datasets.draw(Source(given=one)))
    assert len(said) == 1 and "no two runs that differ in data set only" in said[0] and "--data NAME" in said[0]
    with pytest.raises(Missing, match="follow no one keep rate"):
        datasets.numbers(Source(given=small | {"runs": small["runs"].assign(keep_rate=np.nan)}))


def test_proxy_shows_each_other_method_of_each_setting_once(source: Source, small: Tables) -> None:
    points = proxy.numbers(source)
    top = points[(points["anchor"] == "topk") & (points["metric"] == "procrustes")]
    assert len(top) == 2 * 2 * 3 * (len(SOME) - 1) and not (set(top["method"]) & {"topk", "none"})
    runs = small["runs"].set_index("run")["accuracy"]
    row = top[(top["method"] == "l2") & (top["keep_rate"] == 0.5) & (top["capacity"] == "small")].iloc[0]
    assert row["difference"] == pytest.approx(runs["d0_small_topk_r0.5"] - runs["d0_small_l2_r0.5"])
    found = small["comparison"].query("axis == 'method' and metric == 'procrustes' and stage == 11")
    pair = found[(found["run_a"] == "d0_small_l2_r0.5") & (found["run_b"] == "d0_small_topk_r0.5")]
    assert row["similarity"] == pair["value"].iloc[0]
    turned = found.rename(columns={"run_a": "run_b", "run_b": "run_a"})
    other = pd.concat([small["comparison"].drop(found.index), turned])
    again = proxy.numbers(Source(given=small | {"comparison": other}))
    pd.testing.assert_frame_equal(again, points)  # whichever run comes first


def test_tables_of_different_runs_are_told(small: Tables) -> None:
    same = "are not of the same runs; write both anew by `tokenlens compare`"
    with pytest.raises(Missing, match=same):
        proxy.numbers(Source(given=small | {"proxy": small["proxy"].assign(run="another")}))
    others = small["comparison"].assign(run_a="another", run_b="one more")
    for figure in (axes, datasets, proxy):
        with pytest.raises(Missing, match=same):
            figure.numbers(Source(given=small | {"comparison": others}))


def test_a_figure_takes_the_place_of_axes(source: Source) -> None:
    host = Figure()
    left, right = host.subplots(1, 2)
    made = tradeoff.draw(source, figure=right)
    host.draw_without_rendering()
    assert made.figure is host and left in host.axes and len(made.axes) == 4
    assert made.legends[0].get_window_extent().y1 < min(ax.get_window_extent().y0 for ax in made.axes)


def test_proxy_writes_both_correlations_with_their_interval(source: Source, small: Tables) -> None:
    made = proxy.draw(source)
    assert [ax.get_title().split("\n")[0] for ax in made.axes[:3]] == [
        "anchor: best run", "anchor: Top-K", "anchor: un-reduced",
    ]  # fmt: skip
    part = small["proxy"].query("anchor == 'topk' and metric == 'procrustes' and stage == 11")
    words = made.axes[1].get_title().split("\n")[1:]
    for word, (letter, statistic) in zip(words, {"ρ": "spearman", "τ": "kendall"}.items(), strict=True):
        mean, low, high, _ = mean_interval(part.loc[part["statistic"] == statistic, "value"])
        assert word == f"{letter} {mean:.2f} [{low:.2f}, {high:.2f}]"
    assert made.axes[1].get_xlabel() == "Procrustes (12 settings)\nlower is more alike" and gaps(made) == [
        "this anchor keeps\nno set of patches"
    ]
    single = part[(part["dataset"] == "embedded:shapes") & (part["capacity"] == "tiny") & (part["keep_rate"] == 0.5)]
    low, high = single.loc[single["statistic"] == "spearman", ["low", "high"]].iloc[0]
    assert f"[{low:.2f}, {high:.2f}]" in proxy.sentence(single)


def test_correlations_are_means_and_bold_where_most_hold(source: Source, small: Tables) -> None:
    made = correlations.draw(source)
    assert [ax.get_title() for ax in made.axes][:4] == [
        "ρ, anchor: best run", "ρ, anchor: Top-K", "ρ, anchor: un-reduced", "τ, anchor: best run",
    ]  # fmt: skip
    ax = made.axes[1]
    assert [text.get_text() for text in made.axes[0].get_yticklabels()] == [
        "IoU", "IoU above chance", "SCC", "EMD", "Procrustes",
    ]  # fmt: skip
    assert [text.get_text() for text in made.axes[-2].get_xticklabels()] == ["0.25", "0.5", "0.9", "all"]
    cells = np.ma.filled(ax.collections[0].get_array(), np.nan).reshape(5, 4)
    part = small["proxy"].query("anchor == 'topk' and metric == 'iou' and stage == 9 and statistic == 'spearman'")
    means = part.groupby("keep_rate")["value"].mean()
    assert cells[0] == pytest.approx([*means, part["value"].mean()])
    assert ax.texts[0].get_text() == f"{means[0.25]:.2f}".replace("-", "−")
    assert np.isnan(np.ma.filled(made.axes[2].collections[0].get_array(), np.nan).reshape(5, 4)[:4]).all()
    assert len(made.axes[2].texts) == 4  # only features are there for the un-reduced model
    assert made.axes[-1].get_ylabel() == "correlation with the loss of accuracy"
    for each in made.axes[:-1]:  # every number can be read on its ground
        mesh = each.collections[0]
        shades = mesh.to_rgba(mesh.get_array().compressed())[:, :3]
        for text, shade in zip(each.texts, shades, strict=True):
            light = np.where(shade <= 0.04045, shade / 12.92, ((shade + 0.055) / 1.055) ** 2.4) @ [
                0.2126,
                0.7152,
                0.0722,
            ]
            written = {"black": 0.0, "white": 1.0}[text.get_color()]
            assert (max(light, written) + 0.05) / (min(light, written) + 0.05) > 4.5
    weights = {text.get_fontweight() for text in ax.texts[:4]}
    assert weights == ({"bold"} if (part["q"] < 0.05).all() else {"normal"})
    sure = small["proxy"].assign(q=0.001)
    bold = correlations.draw(Source(given=small | {"proxy": sure}))
    assert {text.get_fontweight() for text in bold.axes[1].texts} == {"bold"}


@pytest.mark.parametrize("figure", [accuracy, axes, correlations, datasets, proxy, tradeoff], ids=lambda m: m.__name__)
def test_a_whole_study_fits_the_page(figure: object, tables: Tables) -> None:
    made = figure.draw(Source(given=tables), preset="eccv")
    made.draw_without_rendering()
    for ax in made.axes:
        box = ax.get_tightbbox()
        assert min(box.x0, box.y0) > -2 and box.x1 < made.bbox.width + 2 and box.y1 < made.bbox.height + 2
    titles = [ax.title.get_window_extent() for ax in made.axes if ax.get_title()]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
