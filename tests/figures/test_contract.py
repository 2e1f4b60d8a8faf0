"""What every registered figure promises, and that one of a user's is treated as ours are."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.figure import Figure
from matplotlib.text import Text

from tokenlens.commands.figures import figures as figures_command
from tokenlens.errors import BadInput, UnknownName
from tokenlens.figures.catalogue import FIGURES, PATTERNS, Entry, entries, figure
from tokenlens.figures.report.figures import figures as figures_of_report
from tokenlens.figures.source import Missing, Source
from tokenlens.figures.theme import style
from tokenlens.records import tables as table

Tables = dict[str, pd.DataFrame]
every = pytest.mark.parametrize("entry", FIGURES.values(), ids=list(FIGURES))


@pytest.fixture
def example(small: Tables, make_run: Any, make_synthesized: Any) -> Source:
    """A small study: tables, and runs on the embedded set."""
    beside = pd.DataFrame([
        {"run_a": run, "run_b": "object", "axis": "object", "stage": 3, "metric": metric, "std": 0.1, "n": 9,
         "chance": 0.3, "value": 0.5, "low": 0.1, "high": 0.9}
        for run in small["runs"]["run"] for metric in ("foreground_recall", "foreground_precision")
    ])  # fmt: skip
    given = small | {"comparison": pd.concat([small["comparison"], beside])}
    runs = [make_run(name) for name in ("topk", "evit", "tome", "l2")]
    return Source(given=given, opened=[*runs, *(make_synthesized(name) for name in ("tome", "kmedoids"))])


@every
def test_a_figure_draws_on_a_small_example_of_no_more_than_it_needs(entry: Entry, example: Source) -> None:
    runs = example.opened if PATTERNS in entry.needs else None
    source = Source(given={name: example.given[name] for name in entry.needs if name != PATTERNS}, opened=runs)
    frame = entry.numbers(source)
    assert len(frame) and not frame.isna().all(axis=None)
    made = entry.draw(source, strict=True)
    made.draw_without_rendering()
    assert made.axes or made.images


@every
def test_axes_say_a_direction_and_the_legend_no_method_that_is_not_in_the_numbers(
    entry: Entry, example: Source
) -> None:
    frame, made = entry.numbers(example), entry.draw(example, strict=True)
    if any(ax.containers for ax in made.axes):  # axes of values, and not images
        said = " ".join(text.get_text() for text in made.findobj(Text))
        assert any(word in said for word in ("is better", "is more alike", "is as asked"))  # which end is the good one
    held = [column for column in frame if str(column).split("_")[0] in ("method", "pattern")]
    with style.among(looks := entry.looks(example)):
        known, named = (set(map(style.label, names)) for names in (looks, frame[held].to_numpy().ravel()))
    assert {text.get_text() for legend in made.legends for text in legend.texts} & known <= named


@every
def test_a_figure_says_what_it_is_and_what_it_needs(entry: Entry) -> None:
    assert entry.title and "\n" not in entry.title and len(f"{entry.name:15} {entry.title}") < 90
    assert len(entry.caption) > 20 and "\n    " not in entry.caption
    assert entry.needs and set(entry.needs) <= {*table.COLUMNS, PATTERNS}
    one_run = entry.of_one_setting and entry.pages is None
    assert ("lowest seed is shown" in " ".join(entry.caption.split())) == one_run


@every
def test_without_any_of_its_needs_a_figure_says_which_command_makes_it(entry: Entry, example: Source) -> None:
    for lacking in entry.needs:
        given = {name: frame for name, frame in example.given.items() if name != lacking}
        source = Source(given=given, opened=[] if lacking == PATTERNS else example.opened)
        with pytest.raises(Missing, match="`tokenlens "):
            entry.numbers(source)
        with pytest.raises(Missing, match="`tokenlens "):
            entry.draw(source, strict=True)
        gap = entry.draw(source)
        assert [text.get_gid() for ax in gap.axes for text in ax.texts] == ["gap"]
        assert "tokenlens " in gap.axes[0].texts[0].get_text()


def test_figures_are_asked_for_by_name() -> None:
    assert [entry.name for entry in entries(["proxy", "depth", "proxy"])] == ["proxy", "depth"]
    assert [entry.name for entry in entries()] == list(FIGURES)
    with pytest.raises(UnknownName, match="no figure called 'acuracy'; did you mean accuracy"):
        entries(["acuracy"])


MINE = '''"""How many runs there are of each method, a bar each."""

from tokenlens.figures.catalogue import figure
from tokenlens.figures.theme import style


def numbers(source):
    return source.table("runs").groupby("method", as_index=False).size()


@figure("how-many", "runs of each method", numbers, needs=["runs"])
def draw(source, *, figure, preset):
    rows, canvas = numbers(source), style.canvas(figure, preset)
    canvas.subplots().bar([style.label(method) for method in rows["method"]], rows["size"])
    return canvas
'''


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A figure in a user's file, until the test ends."""
    monkeypatch.setattr(FIGURES, "_things", dict(FIGURES))
    monkeypatch.setattr(FIGURES, "_origin", dict(FIGURES._origin))
    module = ModuleType("a_users_file")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(MINE, module.__dict__)
    yield module


def test_a_users_figure_is_one_file_and_appears_everywhere(mine: Any, small: Tables, tmp_path: Path) -> None:
    listed = CliRunner().invoke(figures_command, ["--list"], catch_exceptions=False).output
    last = listed.splitlines()[-1]
    assert last.startswith("how-many ") and last.endswith("runs of each method")
    made = mine.draw(Source(given=small))
    assert made.axes[0].get_xticklabels()[0].get_text() == "DPC-KNN"  # as its facts say
    (shown,) = [one for one in figures_of_report(Source(given={"runs": small["runs"]})) if one.name == "how-many"]
    assert shown.numbers is not None and "How many runs there are of each method" in shown.markup
    table.write(small["runs"], tmp_path, "runs")
    words = ["how-many", "--results", str(tmp_path), "--out", str(tmp_path), "--format", "png", "--tables"]
    done = CliRunner().invoke(figures_command, words, catch_exceptions=False)
    made_of = [Path(line).name for line in done.stdout.splitlines()]
    assert made_of == ["how-many.png", "how-many.txt", "how-many.tex", "how-many.md"]
    assert "| Top-K |" in (tmp_path / "how-many.md").read_text()


def test_what_is_no_figure_is_not_taken_for_one() -> None:
    assert FIGURES.adopt is not None
    FIGURES.adopt("accuracy", FIGURES["accuracy"].draw)  # registered itself on import
    with pytest.raises(BadInput, match=r"it is no figure; write @figure\('mine', \.\.\.\) above the function"):
        FIGURES.adopt("mine", print)


def test_two_figures_of_one_name_are_refused(mine: Any) -> None:
    with pytest.raises(BadInput, match=r"registers a figure 'how-many', and .* has that name"):

        @figure("how-many", "another", mine.numbers, needs=["runs"], caption="Other.")
        def draw(source: Source, **options: Any) -> Figure:
            return Figure()


def test_a_gap_takes_the_place_of_what_was_passed_in(mine: Any) -> None:
    host = Figure()
    left, right = host.subplots(1, 2)
    made = mine.draw(Source(), figure=right)
    assert made.figure is host and left in host.axes and "no runs table" in made.axes[0].texts[0].get_text()
    with pytest.raises(UnknownName, match="no preset called"):
        mine.draw(Source(), preset="a0")


def test_runs_without_facts_are_drawn_from_the_palette_of_their_family(make_run: Any, example: Source) -> None:
    runs: list[xr.Dataset] = [make_run(name) for name in ("topk", "evit", "tome")]
    for run in runs:
        for fact in ("label", "color", "marker", "order", "keeps", "merges", "adaptive"):
            del run.attrs[fact]
    source = Source(opened=runs)
    looks = source.looks()
    assert list(looks) == ["evit", "topk", "tome"] and len({look.color for look in looks.values()}) == 3
    assert [look.label for look in looks.values()] == ["evit", "topk", "tome"]
    for name in ("tokens_left", "examples", "contact-sheet"):
        assert len(FIGURES[name].numbers(source)) and FIGURES[name].draw(source, strict=True)
