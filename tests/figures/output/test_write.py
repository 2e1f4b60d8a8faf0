"""What `tokenlens figures` writes and says."""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from tokenlens.commands.figures import figures
from tokenlens.errors import BadInput
from tokenlens.figures.catalogue import FIGURES, Source, entries
from tokenlens.figures.output.write import Request, draw_all
from tokenlens.records import tables as table

Tables = dict[str, pd.DataFrame]
NAMES = ["accuracy", "datasets", "tradeoff"]


@pytest.fixture
def results(tmp_path: Path, make_tables: Callable[..., Tables]) -> Path:
    made = make_tables(("a",), ("tiny",), ("topk", "tome", "l2"), (0.5, 0.7))
    for name in ("runs", "comparison"):
        table.write(made[name], tmp_path / "results", name)
    return tmp_path / "results"


def run(*words: str | Path) -> tuple[list[str], list[str]]:
    done = CliRunner().invoke(figures, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_what_can_be_drawn_is_and_what_cannot_is_said(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--results", results, "--runs", tmp_path / "none", "--out", out, "--format", "svg,png", "--tables"]
    said, notes = run(*NAMES, "contact-sheet", *words)
    files = [f"{name}.{kind}" for name in ("accuracy", "tradeoff") for kind in ("svg", "png", "txt", "tex", "md")]
    assert said == [str(out / name) for name in files] and sorted(p.name for p in out.iterdir()) == sorted(files)
    assert len(notes) == 2 and all((out / name).stat().st_size for name in files)
    assert notes[0].startswith("not drawn: datasets: no two runs that differ in data set only are compared")
    assert notes[1].startswith("not drawn: contact-sheet: there is no folder of runs") and "extract" in notes[1]
    assert "| a | tiny | Top-K |" in (out / "accuracy.md").read_text()
    printed = (out / "accuracy.tex").read_text()
    assert r"a & tiny & Top-K & " in printed and r"\caption{Accuracy in percent at each keep rate" in printed
    assert "Bars are 95 % intervals" in (out / "accuracy.txt").read_text() and "Bars are" not in printed
    assert r"\caption{Accuracy against throughput and against GFLOPs. One row" in (out / "tradeoff.tex").read_text()


def test_figures_of_one_setting_say_how_many_there_are_and_show_the_one_asked_for(
    tmp_path: Path, make_tables: Callable[..., Tables]
) -> None:
    made = make_tables(("embedded:shapes", "folder:/birds"), ("tiny",), ("topk", "l2"), (0.5,))
    for name in ("runs", "comparison", "heatmap"):
        table.write(made[name], tmp_path, name)
    words = ["depth", "chance", "accuracy", "--results", tmp_path, "--out", tmp_path / "out", "--format", "svg"]
    words += ["--runs", tmp_path / "none"]
    said, (note,) = run(*words)
    assert len(said) == 6 and note.startswith("depth, chance: 1 other setting is not shown, having no more runs; ")
    assert "--where dataset=NAME,model=NAME" in note
    shown = {(tmp_path / "out" / "depth.svg").read_text().count(name) for name in ("shapes (val)", "birds (val)")}
    for dataset, name in (("embedded:shapes", "shapes (val)"), ("folder:/birds", "birds (val)")):
        assert run(*words, "--where", f"dataset={dataset}") == (said, [])
        assert name in (tmp_path / "out" / "depth.svg").read_text()
        assert all(word in (tmp_path / "out" / "accuracy.svg").read_text() for word in ("shapes, tiny", "birds, tiny"))
    assert shown == {0, 1}
    with pytest.raises(BadInput, match="there is no run with a method called 'topkk'; did you mean topk"):
        run("depth", *words[3:], "--where", "method=topkk")


def test_a_contact_sheet_is_written_in_every_format_and_words_stay_letters(
    tmp_path: Path, make_run: Callable[..., xr.Dataset]
) -> None:
    source, sheet = Source(opened=[make_run("topk"), make_run("tome")]), entries(["contact-sheet"])
    done = list(draw_all(sheet, source, Request(tmp_path, "pdf,svg,png")))
    assert [(path.suffix, note) for path, note in done if path] == [(f".{k}", "") for k in ("pdf", "svg", "png", "txt")]
    svg = next(path for path, _ in done if path and path.suffix == ".svg").read_text()
    assert ">Top-K</text>" in svg and ">merged, in the mean colour of their group</text>" in svg and "fused" not in svg
    drawn = [base64.b64decode("".join(part.split())) for part in re.findall(r'"data:image/png;base64,([^"]*)"', svg)]
    cells = [np.asarray(cell.get_array()) for cell in sheet[0].draw(source).images]
    found = [np.asarray(Image.open(BytesIO(one)).convert("RGB")) for one in drawn]
    assert len(found) == len(cells) == 6
    for one, cell in zip(found, cells, strict=True):  # from the last row of pixels to the first
        off = np.array(cell.shape[:2]) - one.shape[:2]  # matplotlib may round a side down by a pixel
        assert ((off == 0) | (off == 1)).all() and (off.any() or (one[::-1] == cell).all())


def test_few_methods_are_large_unless_more_are_asked_for(tmp_path: Path, make_run: Callable[..., xr.Dataset]) -> None:
    source = Source(opened=[make_run(name) for name in ("topk", "evit", "dynamicvit", "tome", "sit", "l2", "random")])
    *_, (_, note) = draw_all(entries(["examples"]), source, Request(tmp_path, "svg"))
    assert note == "examples: a few methods stand out; with --methods all, all do"
    shown = (tmp_path / "examples.svg").read_text()
    names = ("Top-K", "EViT", "DynamicViT", "ToMe", "SiT", "ℓ2", "Random")
    assert [name for name in names if f">{name}<" not in shown] == ["DynamicViT"]
    list(draw_all(entries(["examples"]), source, Request(tmp_path, "svg", methods="all")))
    assert ">DynamicViT<" in (tmp_path / "examples.svg").read_text()


def test_nothing_at_all_is_an_error_that_names_the_commands(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing can be drawn: .*tokenlens compare.*tokenlens extract"):
        run(*NAMES, "examples", "--results", tmp_path / "a", "--runs", tmp_path / "b", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "message"), [
    (["acuracy"], "no figure called 'acuracy'; did you mean accuracy"),
    (["--format", "gif"], "no format called 'gif'"),
    (["--preset", "icvc"], "no preset called 'icvc'"),
    (["--methods", "many"], "--methods many is no number of methods; give a number from 1 on, or all"),
])  # fmt: skip
def test_a_name_that_does_not_exist_is_told_before_anything_is_drawn(words: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(*words)


def test_a_folder_that_is_a_file_is_told_before_anything_is_drawn(results: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(
        BadInput, match="out is a file, not a folder, so no figures can be written there; give a folder with --out"
    ):
        run("accuracy", "--results", results, "--out", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_the_list_names_every_figure() -> None:
    said, _ = run("--list")
    assert [line.split()[0] for line in said if not line.startswith(" ")] == list(FIGURES)


@pytest.mark.parametrize("allowed", [False, True])
def test_pages_of_others_hear_whether_the_network_may_be_asked(allowed: bool, tmp_path: Path) -> None:
    heard: list[bool] = []

    def pages(runs: object, *, allow_remote: bool) -> Iterator[tuple[str, Figure, tuple[str, ...]]]:
        heard.append(allow_remote)
        yield "page", Figure(), ()

    entry = replace(entries(["contact-sheet"])[0], pages=pages)
    source = Source(tmp_path, tmp_path, opened=[xr.Dataset({"label": ("image", [0])})], allow_remote=allowed)
    list(draw_all([entry], source, Request(tmp_path / "out", "png")))
    assert heard == [allowed]
