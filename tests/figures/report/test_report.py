"""The report without a browser: what is in the file, that no name becomes markup, sizes, and what is refused."""

import base64
import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from tokenlens.analysis.metrics import overlap
from tokenlens.commands.report import report
from tokenlens.errors import BadInput
from tokenlens.figures.report import figures as report_figures
from tokenlens.figures.report import images as report_images
from tokenlens.figures.report import page as report_page
from tokenlens.figures.report import write as report_module
from tokenlens.figures.report.data import picture_sets
from tokenlens.figures.report.images import uri
from tokenlens.figures.report.opening import most_apart, opening
from tokenlens.figures.report.page import SCRIPTS, static, table_data
from tokenlens.figures.report.patterns import OUTSIDE, describe_run, labels, masks, patterns
from tokenlens.figures.report.write import write_report
from tokenlens.figures.select.classes import in_words

FIGURES = Path(report_page.__file__).parent


class Page(HTMLParser):
    """Elements with their attributes, the text, and the packed data of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data: dict[str, str] = {}
        self._data: str | None = None
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        name = dict(attrs).get("id") or ""
        self._data = name.removeprefix("data-") if tag == "script" and name.startswith("data-") else None
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden, self._data = False, None

    def handle_data(self, data: str) -> None:
        if self._data:
            self.data[self._data] = data
        elif not self._hidden:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.elements)


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


ENTRIES = report_figures.entries


@pytest.fixture(autouse=True)
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One figure only, which wants a table that is not there."""
    monkeypatch.setattr(report_figures, "entries", lambda: ENTRIES(["depth"]))


@pytest.fixture(scope="module")
def written(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("out") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_figures, "entries", lambda: ENTRIES(["tokens_left", "depth"]))
        write_report(study.runs, study.results, out)
    return Page(out.read_text(encoding="utf-8"))


def test_patterns_on_the_page_are_those_of_the_store(written: Page, study: Any) -> None:
    index = json.loads(unpacked(written.data["index"]))
    (pictures,) = index["sets"]
    assert {run["name"] for run in index["runs"]} == set(study.names.values())
    for number, run in enumerate(index["runs"]):
        held = study.held[next(method for method, name in study.names.items() if name == run["name"])]
        codes = np.frombuffer(unpacked(written.data[f"patterns-{number}"]), "<u2").reshape(-1, 3, 16).astype(int)
        count = len(held["kept"])
        assert len(codes) == len(pictures["ids"])
        assert run["missing"] == list(range(count, len(codes))) and not codes[count:].any()
        assert (codes[:count] % 2 == held["kept"]).all() and (codes[:count] // 2 - 1 == held["group"]).all()
        assert run["left"][:count] == held["tokens_left"].tolist()


def test_what_is_known_of_each_image(written: Page, study: Any) -> None:
    index = json.loads(unpacked(written.data["index"]))
    (pictures,) = index["sets"]
    assert pictures["labels"] == [[label] for label in study.held["topk"]["label"]]
    run = next(run for run in index["runs"] if run["name"] == study.names["evit"])
    held = study.held["evit"]
    assert run["right"] == (held["prediction"] == held["label"]).tolist()
    share = np.exp(held["score"].astype(float))
    own = (share / share.sum(1, keepdims=True))[np.arange(len(share)), held["label"]]
    assert np.allclose(run["error"], 1 - own, atol=1e-4)


def test_the_images_are_there_as_the_model_saw_them(written: Page) -> None:
    (chunk,) = (json.loads(unpacked(text)) for name, text in written.data.items() if name.startswith("images-"))
    sizes = [Image.open(BytesIO(base64.b64decode(one.partition(",")[2]))).size for one in chunk]
    assert sizes == [(32, 32)] * 12


def test_no_name_becomes_markup(written: Page) -> None:
    for tag, attrs in written.elements:
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        assert tag != "img" or str(attrs["src"]).startswith("data:image/")
    assert written.count("script") == len(SCRIPTS) + len(written.data) and written.count("b") == 0
    assert "<img src=x onerror=alert(1)> & so on" in written.text
    assert "with </script>\"'<b>." in written.text


def test_it_opens_on_methods_of_three_kinds_and_where_they_differ_most(written: Page, study: Any) -> None:
    (pictures,) = json.loads(unpacked(written.data["index"]))["sets"]
    assert pictures["start"] == [study.names[method] for method in ("topk", "l2", "tome")]
    both = [study.held[method]["kept"][:8, -1] for method in ("topk", "l2")]  # so many images has the one that grows
    assert pictures["image"] == pictures["ids"][int(overlap.iou(*both).argmin())]


def test_what_keeps_the_same_patches_is_not_shown_twice(study: Any) -> None:
    kept = np.zeros((4, 1, 4), bool)
    kept[..., :2] = True
    runs = [
        made_run(name, label=None).assign(kept=(("image", "stage", "patch"), np.roll(kept, shift, axis=-1)))
        for name, shift in (("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 2))
    ]  # fmt: skip
    assert [run.attrs["run"] for run in opening(runs)] == ["a", "c", "e"]
    assert most_apart([runs[0], runs[1]], list("dcba")) == "d"


def test_objects_are_those_of_the_first_run_that_knows(written: Page, study: Any) -> None:
    (pictures,) = json.loads(unpacked(written.data["index"]))["sets"]
    found = np.frombuffer(unpacked(written.data["masks-0"]), np.uint8).reshape(-1, 16)
    assert pictures["masks"] == [4, 4] and (found == study.held["topk"]["object"]).all()
    assert masks([made_run("topk")], list("abcd")) is None


def test_classes_of_imagenet_are_called_by_their_words() -> None:
    assert in_words(["n01440764", "cat", "n00000000"]) == ("tench", "cat", "n00000000")
    assert in_words(["n02012849", "n03126707"]) == ("crane (n02012849)", "crane (n03126707)")
    run = made_run("topk").assign(prediction=("image", np.array([1, 0, -1, 1], np.int32)))
    assert describe_run(run, "t", 0, list("abcd"))["said"] == {}
    known = run.assign_attrs(num_classes=1000)
    assert describe_run(known, "t", 0, list("abcd"))["said"] == {"0": "tench", "1": "goldfish"}


def test_findings_figures_and_their_tables_are_there(written: Page, study: Any) -> None:
    assert "1. Top-K is strong" in written.text and "[0.600, 0.800]" in written.text
    assert written.text.index("What the ground truth adds") < written.text.index("6. It hits the object")
    figures = [attrs for tag, attrs in written.elements if tag == "img"]
    assert len(figures) == 1 and str(figures[0]["alt"]).startswith("Tokens left")
    numbers = json.loads(unpacked(written.data["table-tokens_left"]))
    assert len(numbers["rows"]) and len(numbers["rows"][0]) == len(numbers["columns"])
    assert re.search(r"depth: .* table.*tokenlens compare", written.text)
    runs = json.loads(unpacked(written.data["table-runs"]))
    assert [row[runs["columns"].index("run")] for row in runs["rows"]] == [
        study.names[method] for method in ("topk", "evit", "tome", "atc-average", "l2")
    ]


def test_the_policy_lets_in_the_page_s_own_scripts_and_nothing_else(written: Page) -> None:
    (policy,) = (attrs["content"] for tag, attrs in written.elements if attrs.get("http-equiv"))
    assert policy and policy.startswith("default-src 'none'; img-src data:") and "unsafe" not in policy
    for name in SCRIPTS:
        assert report_page._hash(static(name)) in policy


def test_a_class_of_any_name_is_only_text(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "</script><script>alert(1)</script>"

    class Images:
        classes = (evil, "cat")

    monkeypatch.setattr(report_images, "open_images", lambda run, allow_remote: Images())
    write_report(study.runs, study.results, tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert json.loads(unpacked(Page(html).data["index"]))["sets"][0]["classes"] == [evil, "cat"]
    assert "<script>alert" not in html


def test_a_frame_on_the_page_is_plain_json() -> None:
    frame = pd.DataFrame({
        "text": ["a", None], "number": [1 / 3, np.nan], "whole": [1, 2], "yes": [True, False], "far": [np.inf, -np.inf],
        "kind": pd.Categorical(["x", "y"]),
    })  # fmt: skip
    assert table_data(frame) == {
        "columns": list(frame.columns),
        "rows": [["a", 0.333333, 1, "yes", "inf", "x"], [None, None, 2, "no", "-inf", "y"]],
    }


def test_a_folder_holds_the_same_pieces_and_is_replaced_whole(study: Any, written: Page, tmp_path: Path) -> None:
    for _ in range(2):
        done = write_report(study.runs, study.results, tmp_path / "report", split=True)
    assert done.path == tmp_path / "report" / "index.html"
    (data,) = (tmp_path / "report").glob("data*")  # that of the page before has gone
    assert f'data-folder="{data.name}"' in done.path.read_text()
    pieces = {path.stem: path.read_text() for path in data.iterdir()}
    assert set(pieces) == set(written.data) - {"table-tokens_left"}
    for name, text in pieces.items():
        call = re.fullmatch(r'put\("([\w-]+)",("[A-Za-z0-9+/=]+")\);\n', text)
        assert call and call[1] == name and unpacked(json.loads(call[2])) == unpacked(written.data[name])
    assert [path.name for path in tmp_path.iterdir()] == ["report"]  # nothing is left beside it


def test_a_folder_that_is_no_report_is_not_replaced(study: Any, tmp_path: Path) -> None:
    (tmp_path / "site" / "data").mkdir(parents=True)
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(BadInput, match="site holds more than a report, so it is not replaced"):
        write_report(study.runs, study.results, tmp_path / "site", split=True)
    assert (tmp_path / "site" / "index.html").read_text() == "mine"
    report = write_report(study.runs, study.results, tmp_path / "report", split=True).path.parent
    (report / "notes.txt").write_text("mine")  # beside a report
    with pytest.raises(BadInput, match="report holds more than a report, so it is not replaced"):
        write_report(study.runs, study.results, report, split=True)
    with pytest.raises(BadInput, match=r"site is a folder, and only a plain file .* with --out, or give --split"):
        write_report(study.runs, study.results, tmp_path / "site")


@pytest.mark.parametrize("split", [False, True])
def test_a_full_disk_leaves_the_old_report(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
) -> None:
    out = tmp_path / "report"
    page = write_report(study.runs, study.results, out, split).path
    before = page.read_text(encoding="utf-8")

    def full(self: Path, target: Path) -> Any:  # what is new cannot be moved to its place
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BadInput, match="the disk is full while writing"):
        write_report(study.runs, study.results, out, split)
    assert page.read_text(encoding="utf-8") == before and [path.name for path in tmp_path.iterdir()] == ["report"]


def test_what_a_killed_report_left_in_its_folder_goes(study: Any, tmp_path: Path) -> None:
    report = tmp_path / "report"
    for left in ("data-0123456789ab", f".data.{'0' * 16}.partial"):
        (report / left).mkdir(parents=True)
        (report / left / "index.js").write_text("put(")
    for _ in range(2):
        write_report(study.runs, study.results, report, split=True)
        data, *others = sorted(path.name for path in report.iterdir() if path.name != ".lock")
        assert re.fullmatch("data-[0-9a-f]{12}", data) and others == ["index.html"]
        shutil.copytree(report / data, report / "data")  # of the first edition
    with pytest.raises(BadInput, match="page is a link, and only a plain file is ever replaced"):
        (tmp_path / "page").symlink_to("nowhere")
        write_report(study.runs, study.results, tmp_path / "page")


def test_a_place_that_cannot_be_written_is_said(study: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for split in (False, True):
        with pytest.raises(BadInput, match=r"file.* (cannot be written|is a file)"):
            write_report(study.runs, study.results, tmp_path / "file" / "report", split)


def test_what_is_missing_is_said_with_the_command_that_makes_it(study: Any, tmp_path: Path) -> None:
    done = write_report(study.runs, tmp_path / "none", tmp_path / "r.html")
    (note,) = done.notes
    assert re.search(r"there are no tables in .*none, without which .* `tokenlens compare`", note)
    assert "tokenlens compare --findings" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    done = write_report(tmp_path / "gone", study.results, tmp_path / "r.html")
    (note,) = done.notes
    assert re.search(r"there is no folder of runs .*gone.* `tokenlens extract`", note)
    assert "There are no runs to look at." in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    with pytest.raises(BadInput, match=r"neither runs in .*gone nor tables in .*none: make runs with"):
        write_report(tmp_path / "gone", tmp_path / "none", tmp_path / "never.html")
    assert not (tmp_path / "never.html").exists()


@pytest.mark.parametrize("option", ["runs", "results"])
def test_a_folder_that_was_named_has_to_be_there(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("a good one")
    words = {"runs": study.runs, "results": study.results} | {option: tmp_path / "typo"}
    line = [str(word) for name, folder in words.items() for word in (f"--{name}", folder)]
    with pytest.raises(BadInput, match=rf"there is no folder .*typo; say with --{option} where"):
        CliRunner().invoke(report, line, catch_exceptions=False, standalone_mode=False)
    assert (tmp_path / "report.html").read_text() == "a good one"
    line = [word for word in line if word not in (f"--{option}", str(tmp_path / "typo"))]  # a default may be absent
    assert CliRunner().invoke(report, line, catch_exceptions=False, standalone_mode=False).exit_code == 0
    assert (tmp_path / "report.html").read_text() != "a good one"


def test_images_that_are_gone_leave_their_patterns(make_study: Callable[[Path], Any], tmp_path: Path) -> None:
    own = make_study(tmp_path)
    shutil.rmtree(tmp_path / "photos")
    done = write_report(own.runs, own.results, tmp_path / "r.html")
    assert len(done.notes) == 1 and "images cannot be shown: " in done.notes[0].lower() and "photos" in done.notes[0]
    assert (
        json.loads(unpacked(Page((tmp_path / "r.html").read_text(encoding="utf-8")).data["images-0-0"])) == [None] * 12
    )


def test_a_run_that_cannot_be_read_is_named_and_left_out(make_study: Callable[[Path], Any], tmp_path: Path) -> None:
    own = make_study(tmp_path)
    (own.runs / own.names["tome"] / "zarr.json").write_text("{")
    done = write_report(own.runs, own.results, tmp_path / "r.html")
    assert any(own.names["tome"] in note and "cannot be read" in note for note in done.notes)


def test_conditions_and_the_number_of_images(study: Any, tmp_path: Path) -> None:
    write_report(study.runs, study.results, tmp_path / "r.html", images=5, where=["method=topk|tome"])
    index = json.loads(unpacked(Page((tmp_path / "r.html").read_text(encoding="utf-8")).data["index"]))
    assert [run["title"] for run in index["runs"]] == ["Top-K 0.5", "ToMe 0.5"]
    assert len(index["sets"][0]["ids"]) == 5 and index["sets"][0]["start"] == [run["name"] for run in index["runs"]]
    with pytest.raises(BadInput, match="there is no run with a method called 'topkk'; did you mean topk"):
        write_report(study.runs, study.results, tmp_path / "r.html", where=["method=topkk"])


def test_large_images_are_shown_small_and_in_proportion() -> None:
    made = uri(np.zeros((300, 600, 3), np.uint8))
    assert Image.open(BytesIO(base64.b64decode(made.partition(",")[2]))).size == (256, 128)


def test_a_figure_is_svg_unless_that_is_large_or_it_is_made_of_pixels() -> None:
    points = np.random.default_rng(0).random((2, 5000))
    light, heavy, pixels = Figure(), Figure(), Figure(figsize=(2, 1), dpi=100)
    light.subplots().plot([0, 1])
    heavy.subplots().scatter(*points)
    pixels.figimage(np.zeros((100, 200, 3), np.uint8))
    drawn = [report_figures._drawn(figure) for figure in (light, heavy, pixels)]
    kinds = [shown.partition(";")[0] for shown, _ in drawn]
    assert kinds == ["data:image/svg+xml", "data:image/png", "data:image/png"]
    assert [b"</svg>" in svg for _, svg in drawn] == [False, True, True]  # to download, where none is shown
    picture = base64.b64decode(drawn[2][0].partition(",")[2])
    assert Image.open(BytesIO(picture)).size == (200, 100)
    assert report_figures._drawn(light) == drawn[0]  # the same figure, the same file


def made_run(name: str, ids: str = "abcd", label: Any = None, **attrs: Any) -> xr.Dataset:
    known = {
        "run": name, "dataset": "embedded:shapes", "split": "val", "model": "tiny", "method": name, "family": "pruning",
        "keep_rate": 0.5, "grid": [2, 2], "input_size": [32, 32], "crop_pct": 1.0, "complete": True, "seed": 0,
    }  # fmt: skip
    none = np.zeros((len(ids), 1, 4), np.int16)
    held: dict[str, Any] = {
        "kept": (("image", "stage", "patch"), none > 0), "group": (("image", "stage", "patch"), none),
        "tokens_left": (("image", "stage"), none[..., 0]),
    }  # fmt: skip
    if label is not None:
        held["label"] = (("image", "class")[: np.ndim(label)], label)
    return xr.Dataset(held, {"image": list(ids), "stage": [3]}, {**known, **attrs})


@pytest.mark.usefixtures("among_methods")
def test_runs_are_told_apart_by_what_they_differ_in() -> None:
    runs = [
        made_run("topk"), made_run("topk", run="twin", seed=1), made_run("tome", keep_rate=None, keep=[9, 4]),
        made_run("none", family="none"), made_run("evit", dataset="folder:/x/birds"),
    ]  # fmt: skip
    shapes, birds = picture_sets(runs, 9)
    assert (birds.title, birds.titles, shapes.title) == ("birds, val", ["EViT 0.5"], "shapes, val")
    assert shapes.titles == ["Un-reduced", "Top-K 0.5, seed 0", "Top-K 0.5, seed 1", "ToMe 9/4"]
    (both,) = picture_sets([made_run("topk"), made_run("topk", model="base", run="other")], 9)
    assert both.titles == ["Top-K 0.5, base", "Top-K 0.5, tiny"]


def test_a_run_that_grows_does_not_take_images_from_the_others() -> None:
    (one,) = picture_sets([made_run("topk"), made_run("evit", ids="ab", complete=False)], 9)
    assert one.ids == ["a", "b", "c", "d"]
    (one,) = picture_sets([made_run("topk"), made_run("evit", ids="bcde")], 2)
    assert one.ids == ["b", "c"]


def test_an_image_of_several_classes_has_them_all_and_is_neither_right_nor_wrong() -> None:
    run = made_run("topk", label=np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], bool))
    assert labels([run], list("abcd")) == [[0, 2], [], [1], [0, 1, 2]]
    described = describe_run(run, "t", 0, list("abcd"))
    assert described["right"] == [None] * 4 and described["error"] == [None] * 4


def test_five_hundred_images_and_twelve_runs_stay_below_40_mb() -> None:
    """Noise, which packs worst of all: 500 images of 112 x 112, twelve runs of three stages of 196 patches."""
    rng = np.random.default_rng(0)
    image = uri(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8))
    codes = rng.integers(0, 196, (50, 3, 196), dtype=np.uint16).astype("<u2")
    patterns = len(report_page.pack(codes.tobytes())) * 10
    images = len(report_page.pack([image] * 1)) * 500
    assert images + 12 * patterns < 30_000_000


def test_a_report_that_is_too_large_to_send_says_what_would_help(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "LARGE", 1000)
    (note,) = write_report(study.runs, study.results, tmp_path / "r.html").notes
    assert "give fewer --images, or --split" in note
    assert not write_report(study.runs, study.results, tmp_path / "r", split=True).notes


def test_the_command_prints_where_and_how_much(study: Any, tmp_path: Path) -> None:
    words = ["--runs", str(study.runs), "--results", str(study.results), "--where", "method=topk"]
    done = CliRunner().invoke(report, [*words, "--out", str(tmp_path / "r.html")], catch_exceptions=False)
    assert done.exit_code == 0 and re.fullmatch(
        rf"{re.escape(str(tmp_path))}/r.html \(\d+\.\d MB\)", done.stdout.strip()
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_strict_and_parse(name: str) -> None:
    source = static(name)
    assert source.startswith("'use strict';\n") and "innerHTML" not in source and "eval(" not in source
    node = shutil.which("node")
    if node:
        subprocess.run([node, "--check", str(FIGURES / name)], check=True, capture_output=True)


def palette(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of relative luminances."""

    def luminance(colour: str) -> float:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_contrast_as_aa_asks(scheme: str) -> None:
    light, dark = static("page.css").split("@media (prefers-color-scheme: dark)")
    colours = palette(light if scheme == "light" else dark.split("* {")[0])
    for text in ("text", "muted", "link", "good", "bad", "open"):
        for ground in ("page", "card"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["on-text"], colours["on"]) >= 4.5
    for edge in ("line", "on"):  # borders of controls, and the ring of the focus
        assert contrast(colours[edge], colours["page"]) >= 3, edge
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_runs_with_steps_show_the_pictures_that_they_drew(drawn: Any, tmp_path: Path) -> None:
    page = Page(write_report(drawn.runs, tmp_path, tmp_path / "r.html").path.read_text(encoding="utf-8"))
    (told,) = json.loads(unpacked(page.data["index"]))["runs"]
    assert (told["steps"], told["branches"], told["left"]) == ([0, 1, 2], ["unconditional", "conditional"], [[8]])
    codes = np.frombuffer(unpacked(page.data["patterns-0"]), "<u2")
    assert codes.tolist() == (2 * (drawn.group.ravel() + 1)).tolist()
    (picture,) = json.loads(unpacked(page.data["pictures-0"]))
    assert picture.startswith("data:image/webp") and "images-0-0" not in page.data
    drawn.picture.rename(tmp_path / "elsewhere.png")
    assert any("there is no picture" in note for note in write_report(drawn.runs, tmp_path, tmp_path / "r.html").notes)


def test_boxes_are_shares_of_the_picture_and_places_outside_an_image_have_a_code(make_run: Callable[..., Any]) -> None:
    valid = np.ones((2, 49), bool)
    valid[1, 40:] = False
    run = make_run("topk").assign(valid=(("image", "patch"), valid))
    ids = ["absent", *run["image"].values.tolist()]
    where = [0.1786, 0.2679, 0.4464, 0.5357]  # of 112 pixels
    boxes = describe_run(run, "t", 0, ids)["boxes"]
    assert boxes[0] is None and [one[:4] for image in boxes[1:] for one in image] == [where, where]
    assert [image[0][4:] for image in boxes[1:]] == [
        [pytest.approx(0.9, abs=1e-3), 1],
        [pytest.approx(0.8, abs=1e-3), 0],
    ]
    codes = np.frombuffer(patterns(run, ids), "<u2").reshape(3, -1, 49)
    assert ((codes[1:] == OUTSIDE) == ~valid[:, None]).all() and not codes[0].any()
