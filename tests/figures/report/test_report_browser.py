"""The report in a real browser: what is lit, keys, links, order, filters, tables, a phone's width, and no network."""

import base64
import csv
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from playwright.sync_api import sync_playwright

from tokenlens.analysis.metrics import overlap, partition
from tokenlens.figures.report import figures as report_figures
from tokenlens.figures.report.write import write_report
from tokenlens.records.layout import Layout

NUMBERS = pd.DataFrame({
    "name": ["b, \"quoted\"", "a\nline", "<script>alert(1)</script>", "=1+1"],
    "value": [2.0, np.nan, -1.5, 10.123456],
})  # fmt: skip
FIGURE = SimpleNamespace(
    name="made-up", title="made up <i>", caption="Nothing <b>bold</b>.", numbers=lambda source: NUMBERS,
    draw=lambda source, **_: Figure(figsize=(4, 2)),
)  # fmt: skip
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        said = "there is no chromium to look at the report with: install the package chromium"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def places(study: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report in one file, and in a folder."""
    out = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_figures, "entries", lambda: [FIGURE])
        return {
            "file": write_report(study.runs, study.results, out / "r.html").path,
            "folder": write_report(study.runs, study.results, out / "split", split=True).path,
        }


class Tab:
    """A page, what it asked for and what it complained of."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(f"dialog {dialog.message}"), dialog.dismiss()))

    def go(self, fragment: str = "") -> "Tab":
        self.page.goto("about:blank")
        self.page.goto(f"{self.path.as_uri()}{fragment}")
        self.settled()
        return self

    def settled(self) -> None:
        """Wait until what was asked for last is drawn."""
        self.until("$('viewer').dataset.turn === String(viewer.turn)")

    def until(self, condition: str) -> None:
        """Wait for an expression to hold, frame by frame: the page's policy lets nobody else evaluate strings."""
        frames = "for (let i = 0; i < 900; i += 1) { if (%s) return true; await new Promise(requestAnimationFrame); }"
        assert self.page.evaluate(f"async () => {{ {frames % condition} return false; }}"), condition

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settled()

    def choose(self, what: str, value: str) -> None:
        self.page.select_option(what, value)
        self.settled()

    def show(self, image: int) -> None:
        """Look at an image by its place in the data set."""
        self.page.evaluate(f"update({{image: currentSet().ids[{image}]}})")
        self.settled()

    def shown(self) -> list[str]:
        """The images of the strip, in order (they fit on one)."""
        found: list[str] = self.page.evaluate("viewer.shown.map(({index}) => currentSet().ids[index])")
        titles = self.page.locator("#strip button").evaluate_all("all => all.map(one => one.title.split(',')[0])")
        assert titles == found
        return found

    def lit(self) -> list[set[int]]:
        """The patches that are lit in each pane."""
        words = self.page.locator("#panes canvas[data-lit]").evaluate_all("all => all.map(one => one.dataset.lit)")
        return [{int(word) for word in text.split()} for text in words]


@pytest.fixture(params=["file"])
def tab(browser: Any, places: dict[str, Path], request: Any) -> Iterator[Tab]:
    page = browser.new_page(viewport=DESK)
    one = Tab(page, places[request.param])
    yield one
    page.close()
    assert not one.said


def link(study: Any, *methods: str, **rest: Any) -> str:
    return "#" + urlencode([*(("runs", study.names[method]) for method in methods), *rest.items()])


@pytest.mark.parametrize("tab", ["file", "folder"], indirect=True)
def test_it_loads_without_a_complaint_or_a_request(tab: Tab) -> None:
    tab.go()
    tab.press("Tab")
    folder = tab.path.parent.as_uri()
    beyond = [url for url in tab.asked if not url.startswith(("data:", "blob:", "about:", folder))]
    assert not beyond and tab.page.locator("#failure").is_hidden()
    if tab.path.name == "r.html":
        assert [url for url in tab.asked if url.startswith("file:")] == [tab.path.as_uri()]
    assert len(tab.shown()) == 12 and tab.page.locator("#panes figure").count() == 4
    blank = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size < 9"
    assert not tab.page.locator("#original").evaluate(blank)


def group_of(held: dict[str, np.ndarray], image: int, stage: int, patch: int) -> set[int]:
    """The patches that share a token with one, by the store; of a dropped one, itself."""
    group = held["group"][image, stage]
    return {patch} if group[patch] < 0 else set(np.flatnonzero(group == group[patch]).tolist())


def test_pointing_at_a_patch_lights_its_group_in_every_pane(tab: Tab, study: Any) -> None:
    methods = ("tome", "topk", "evit", "atc-average")
    for image, stage, block, patch in ((0, 0, 3, 5), (1, 1, 6, 15), (7, 2, 9, 0)):
        tab.go(link(study, *methods, block=block))
        tab.show(image)
        canvas = tab.page.locator("#panes [data-run] canvas").first
        box = canvas.bounding_box()
        before = colours(canvas)
        tab.page.mouse.move(
            box["x"] + (patch % 4 + 0.5) / 4 * box["width"], box["y"] + (patch // 4 + 0.5) / 4 * box["height"]
        )
        want = [group_of(study.held[method], image, stage, patch) for method in methods]
        assert tab.lit() == want
        changed = {i for i, (a, b) in enumerate(zip(before, colours(canvas), strict=True)) if a != b}
        assert changed == want[0]  # what is lit is seen to be lit, and nothing else
        said = tab.page.locator("#panes output").first.inner_text()
        assert said.startswith(f"row {patch // 4 + 1}, column {patch % 4 + 1}")
        tab.page.mouse.move(2, 2)
        assert tab.lit() == [set()] * 4 and colours(canvas) == before


def test_the_image_points_too_and_shows_where_objects_are(tab: Tab, study: Any) -> None:
    tab.go(link(study, "topk", "tome", block=3))
    tab.show(2)
    original = tab.page.locator("#original")
    before, box = colours(original), original.bounding_box()
    tab.page.mouse.move(box["x"] + 2.5 / 4 * box["width"], box["y"] + 0.5 / 4 * box["height"])
    assert tab.lit() == [group_of(study.held[method], 2, 0, 2) for method in ("topk", "tome")]
    assert {i for i, (a, b) in enumerate(zip(before, colours(original), strict=True)) if a != b} == {2}
    tab.page.mouse.move(2, 2)
    original.focus()
    tab.press("ArrowRight", "ArrowDown")
    assert original.get_attribute("data-at") == "4" and tab.lit()[1] == group_of(study.held["tome"], 2, 0, 4)
    tab.page.check("#masks")
    tab.settled()
    assert tab.page.evaluate("viewer.mask") == study.held["topk"]["object"][2].tolist()
    tab.page.evaluate("update({image: currentSet().ids[3]})")
    tab.settled()
    assert tab.page.evaluate("viewer.mask") == study.held["topk"]["object"][3].tolist()


def test_of_images_without_labels_nothing_is_called_right_or_wrong(tab: Tab, study: Any) -> None:
    tab.go(link(study, "topk", sort="error"))
    marks = "#strip .wrong, #panes .good, #panes .bad"
    assert tab.page.locator(marks).count() and tab.page.locator("#right").is_visible()
    tab.page.evaluate("""() => {
        viewer.runs.forEach((run) => {
            run.right = run.right.map(() => null);
            run.said = {0: 'tench', 1: 'goldfish'};
        });
        delete currentSet().judged;
        currentSet().labels = currentSet().ids.map(() => []);
        return update({});
    }""")
    tab.settled()
    assert not tab.page.locator(marks).count() and tab.page.locator("#right, #class").filter(visible=True).count() == 0
    assert tab.page.locator("#sort option").count() == 2 and "sort=order" in tab.page.url
    tab.show(0)
    said = ("tench", "goldfish")[study.held["topk"]["prediction"][0]]
    assert tab.page.locator("#panes .verdict").first.inner_text().endswith(f"says {said}")


def test_a_figure_is_enlarged_and_downloads_as_svg(tab: Tab) -> None:
    tab.page.set_viewport_size(PHONE)
    tab.go()
    tab.page.locator(".enlarge").click()
    large = tab.page.locator("#large img")
    assert large.bounding_box()["width"] > 2 * tab.page.locator(".enlarge img").bounding_box()["width"]
    assert tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    tab.page.locator("#large button").click()
    assert tab.page.locator("#large").is_hidden()
    with tab.page.expect_download() as waiting:
        tab.page.locator(".save").click()
    assert waiting.value.suggested_filename == "made-up.svg"
    shown = tab.page.locator(".enlarge img").get_attribute("src").partition(",")[2]
    assert Path(waiting.value.path()).read_bytes() == base64.b64decode(shown)


def colours(canvas: Any) -> list[list[int]]:
    """The colour in the middle of each of the 16 patches."""
    found: list[list[int]] = canvas.evaluate(
        "canvas => Array.from({length: 16}, (_, i) => Array.from(canvas.getContext('2d').getImageData("
        "(i % 4 + 0.5) / 4 * canvas.width, (Math.floor(i / 4) + 0.5) / 4 * canvas.height, 1, 1).data))"
    )
    return found


def test_dropped_fused_and_kept_patches_look_different(tab: Tab, study: Any) -> None:
    tab.go(link(study, "evit", block=6))
    for image in (0, 1):  # of made-up runs, the odd images fuse and the even ones drop
        tab.show(image)
        original = np.array(colours(tab.page.locator("#original")))[:, :3].astype(int)
        drawn = np.array(colours(tab.page.locator("#panes [data-run] canvas")))[:, :3].astype(int)
        kept = study.held["evit"]["kept"][image, 1]
        assert (drawn[kept] == original[kept]).all()
        gone = drawn[~kept] - 0.26 * original[~kept]
        assert (np.ptp(gone, axis=1) > 40).all() if image else (np.ptp(gone, axis=1) < 12).all()


def test_arrow_keys_move_over_the_patches(tab: Tab, study: Any) -> None:
    tab.go(link(study, "tome", "topk", block=3))
    tab.page.locator("#panes [data-run] canvas").first.focus()
    tab.press("ArrowRight")
    assert tab.lit() == [group_of(study.held[method], 0, 0, 0) for method in ("tome", "topk")]
    tab.press("ArrowRight", "ArrowDown", "ArrowDown")
    assert tab.lit() == [group_of(study.held[method], 0, 0, 9) for method in ("tome", "topk")]
    tab.press("Escape")
    assert tab.lit() == [set(), set()]


def test_keys_step_and_the_address_follows_and_leads_back(tab: Tab, study: Any) -> None:
    tab.go(link(study, "topk", "tome", block=6))
    tab.press("n", "n", "n", "p", ".", ",", ",")
    ids = tab.shown()
    assert parse_qs(tab.page.evaluate("location.hash")[1:]) == {
        "runs": [study.names["topk"], study.names["tome"]], "image": [ids[2]], "block": ["3"], "sort": ["order"],
    }  # fmt: skip
    assert tab.page.locator("#stages [aria-pressed=true]").inner_text() == "block 3"
    tab.press(",", ",")  # before the first stage, and no further
    assert tab.page.locator("#stages [aria-pressed=true]").inner_text() == "before"
    address = tab.page.locator("#link").get_attribute("href")
    tab.go(address)
    assert tab.page.locator("#what").inner_text().startswith(ids[2])
    assert tab.page.locator("#strip [aria-current]").get_attribute("title").startswith(ids[2])
    assert [one.input_value() for one in tab.page.locator("#panes select").all()] == [
        study.names["topk"], study.names["tome"],
    ]  # fmt: skip
    tab.page.evaluate(f"location.hash = {link(study, 'evit', block=9)!r}")  # as a link on the page does
    tab.until("viewer.state.block === 9 && viewer.state.runs.length === 1")
    tab.settled()
    assert tab.page.locator("#panes figure").count() == 2


def test_a_link_to_what_is_not_there_shows_what_is(tab: Tab, study: Any) -> None:
    tab.go("#runs=gone&image=gone&block=77&sort=gone&class=9&right=gone")
    assert tab.page.locator("#stages [aria-pressed=true]").inner_text() == "block 9"
    assert len(tab.shown()) == 12 and tab.page.locator("#panes figure").count() == 4


def test_runs_are_chosen_added_and_removed(tab: Tab, study: Any) -> None:
    tab.go(link(study, "topk"))
    tab.page.click("#add")
    tab.settled()
    tab.page.locator("#panes select").nth(1).select_option(study.names["l2"])
    tab.settled()
    assert tab.page.evaluate("viewer.state.runs") == [study.names["topk"], study.names["l2"]]
    tab.show(11)  # of this run 8 images are written
    assert tab.page.locator("#panes .verdict").nth(1).inner_text() == "this run does not hold the image"
    tab.page.locator(".remove").first.click()
    tab.settled()
    assert tab.page.evaluate("viewer.state.runs") == [study.names["l2"]]


@pytest.mark.parametrize(
    ("one", "other", "stage"), [("topk", "evit", 0), ("topk", "l2", 2), ("tome", "atc-average", 1)]
)
def test_images_sort_by_disagreement(tab: Tab, study: Any, one: str, other: str, stage: int) -> None:
    tab.go(link(study, one, other, block=(3, 6, 9)[stage], sort="disagreement"))
    count = min(len(study.held[name]["kept"]) for name in (one, other))
    a, b = (study.held[name] for name in (one, other))
    if one == "tome":
        agree = partition.homogeneity_completeness_vmeasure(
            a["group"][:count, stage], b["group"][:count, stage]
        ).vmeasure
    else:
        agree = overlap.iou(a["kept"][:count, stage], b["kept"][:count, stage])
    got = tab.page.evaluate("currentSet().ids.map((_, i) => disagreement(...panes(), i, viewer.state.block))")
    assert np.allclose(got[:count], 1 - agree, atol=1e-12) and got[count:] == [None] * (12 - count)
    assert np.ptp(agree) > 0.05
    ids = tab.page.evaluate("currentSet().ids")
    order = sorted(range(12), key=lambda i: (-got[i] if i < count else 1, i))
    assert tab.shown() == [ids[i] for i in order]
    label = tab.page.locator("#sort option:checked").inner_text()
    assert ("NMI" if one == "tome" else "IoU") in label
    assert tab.page.locator("#strip button span").first.inner_text().startswith(f"{max(got[:count]):.2f}")


def test_a_pruning_and_a_merging_method_have_no_common_measure(tab: Tab, study: Any) -> None:
    tab.go(link(study, "topk", "tome", sort="disagreement"))
    assert tab.shown() == tab.page.evaluate("currentSet().ids")
    assert "not for these two" in tab.page.locator("#sort option").nth(1).inner_text()


def test_measures_have_the_limits_of_the_analysis(tab: Tab) -> None:
    tab.go()
    assert tab.page.evaluate("[iou([0, 0], [0, 0]), iou([1, 0], [0, 1]), iou([1, 0], [0, 0])]") == [1, 0, 0]
    cases = [([0, 0, 0, 0], [0, 0, 0, 0]), ([0, 1, 2, 3], [0, 0, 0, 0]), ([0, 0, 1, 1], [0, 1, 0, 1]),
             ([-1, 0, 1, 1], [0, -1, 0, 1]), ([-1, -1], [0, 0]), ([0, 0, 1, 1], [5, 5, 2, 2])]  # fmt: skip
    for a, b in cases:
        want = float(partition.homogeneity_completeness_vmeasure(np.array(a), np.array(b)).vmeasure)
        assert tab.page.evaluate(f"vmeasure({a}, {b})") == pytest.approx(want, abs=1e-12), (a, b)


def test_images_sort_by_error_and_are_filtered(tab: Tab, study: Any) -> None:
    methods = ("topk", "tome")
    tab.go(link(study, *methods, sort="error"))
    ids = np.array(tab.page.evaluate("currentSet().ids"))
    share = [np.exp(study.held[m]["score"].astype(float)) for m in methods]
    label = study.held["topk"]["label"]
    own = np.mean([(s / s.sum(1, keepdims=True))[np.arange(12), label] for s in share], axis=0)
    assert tab.shown() == ids[np.argsort(own, kind="stable")].tolist()
    right = np.stack([study.held[m]["rank"] == 0 for m in methods])
    tab.show(5)
    tab.choose("#sort", "order")
    assert tab.page.locator("#what").inner_text().startswith(ids[0])  # a new order is seen from its beginning
    for value, wanted in {"all": right.all(0), "some": ~right.all(0), "none": ~right.any(0)}.items():
        assert 0 < wanted.sum() < 12
        tab.choose("#right", value)
        assert tab.shown() == ids[wanted].tolist()
    tab.choose("#class", "1")
    assert tab.shown() == ids[~right.any(0) & (label == 1)].tolist()
    tab.choose("#right", "")
    assert tab.shown() == ids[label == 1].tolist() and "6" in tab.page.locator("#place").inner_text()


def test_runs_that_saw_other_pictures_are_a_set_of_their_own(
    browser: Any, make_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_study(tmp_path)
    layout = Layout.read(own.runs / own.names["tome"])
    layout.attributes["crop_pct"] = 0.5
    layout.write()
    monkeypatch.setattr(report_figures, "entries", list)
    tab = Tab(browser.new_page(viewport=DESK), write_report(own.runs, own.results, tmp_path / "r.html").path).go()
    assert tab.page.locator("#panes select").first.locator("option").count() == 4
    before = colours(tab.page.locator("#original"))
    tab.choose("#set", "1")
    assert tab.page.evaluate("viewer.state.runs") == [own.names["tome"]]
    assert tab.page.locator("#panes select option").count() == 1 and not tab.said
    assert colours(tab.page.locator("#original")) != before
    tab.page.close()


def test_a_finger_lights_a_group_that_stays_lit(browser: Any, places: dict[str, Path], study: Any) -> None:
    tab = Tab(browser.new_page(viewport=PHONE, has_touch=True), places["file"]).go(link(study, "tome", block=6))
    canvas = tab.page.locator("#panes [data-run] canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.tap(position={"x": 2.5 / 4 * box["width"], "y": 1.5 / 4 * box["height"]})
    assert tab.lit() == [group_of(study.held["tome"], 0, 1, 6)] and not tab.said
    tab.page.close()


def rows(tab: Tab, name: str) -> list[list[str]]:
    if not tab.page.locator(f"details[open] [data-table={name}]").count():
        tab.page.locator("details", has=tab.page.locator(f"[data-table={name}]")).locator("summary").click()
    body = tab.page.locator(f"[data-table={name}] tbody tr")
    body.first.wait_for()
    found: list[list[str]] = body.evaluate_all("all => all.map(row => [...row.cells].map(cell => cell.textContent))")
    return found


def test_tables_sort_both_ways_and_missing_numbers_stay_last(tab: Tab) -> None:
    tab.go()
    tab.page.locator(".figure summary").click()
    heads = tab.page.locator("[data-table=made-up] th button")
    heads.nth(1).click()
    assert [row[1] for row in rows(tab, "made-up")] == ["10.12", "2", "−1.5", "–"]
    assert tab.page.locator("[data-table=made-up] th").nth(1).get_attribute("aria-sort") == "descending"
    heads.nth(1).click()
    assert [row[1] for row in rows(tab, "made-up")] == ["−1.5", "2", "10.12", "–"]
    heads.nth(0).click()
    assert [row[0] for row in rows(tab, "made-up")] == sorted(NUMBERS["name"])
    rows(tab, "runs")  # unfolded
    overview = tab.page.locator("[data-table=runs] th button")
    names = overview.all_inner_texts()
    overview.nth(names.index("top1 %")).click()
    shown = [float(row[names.index("top1 %")].replace("–", "nan")) for row in rows(tab, "runs")]
    assert shown[:-1] == sorted(shown[:-1], reverse=True) and np.isnan(shown[-1])


def test_a_table_downloads_as_csv(tab: Tab) -> None:
    tab.go()
    tab.page.locator(".figure summary").click()
    with tab.page.expect_download() as waiting:
        tab.page.locator("[data-table=made-up] button", has_text="Download CSV").click()
    assert waiting.value.suggested_filename == "made-up.csv"
    content = Path(waiting.value.path()).read_bytes().decode()
    got = list(csv.reader(io.StringIO(content, newline="")))
    assert got[0] == ["name", "value"] and [row[0] for row in got[1:]] == NUMBERS["name"].tolist()
    frame = pd.read_csv(io.StringIO(content))
    np.testing.assert_allclose(frame["value"], NUMBERS["value"], rtol=1e-5)


def test_names_are_text_wherever_they_are_shown(tab: Tab, study: Any) -> None:
    tab.go(link(study, "l2", "topk"))
    tab.page.locator(".figure summary").click()
    assert rows(tab, "made-up")[2][0] == "<script>alert(1)</script>"
    assert study.names["l2"] in [row[-1] for row in rows(tab, "runs")]
    assert tab.page.locator("#panes select").first.input_value() == study.names["l2"]
    assert "<img src=x onerror=alert(1)>" in tab.page.locator("#class").inner_text()
    assert "<img src=x onerror=alert(1)>" in tab.page.locator("#what").inner_text()
    assert "<b>bold</b>" in tab.page.locator(".figure").inner_text()
    assert not tab.page.locator("img[src=x], .figure i, .figure b").count()


@pytest.mark.parametrize("tab", ["file", "folder"], indirect=True)
def test_no_horizontal_scroll_on_a_phone(tab: Tab) -> None:
    tab.page.set_viewport_size(PHONE)
    tab.go()
    for fold in tab.page.locator("summary").all():
        fold.click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    lefts = tab.page.locator("#panes figure").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")
    assert len(set(lefts)) == 1  # one column
    wide = "one => !one.closest('.scroll, #strip') && one.getBoundingClientRect().right > innerWidth + 1"
    found = f"all => all.filter({wide}).map(one => one.outerHTML.slice(0, 80))"
    assert tab.page.locator("body *:visible").evaluate_all(found) == []


def test_everything_is_reached_by_keyboard_named_and_seen_in_focus(tab: Tab) -> None:
    tab.go()
    reached = set()
    for _ in range(60):
        tab.page.keyboard.press("Tab")
        look = "one => [one.id || one.className || one.tagName, getComputedStyle(one).outlineStyle]"
        name, ring = tab.page.evaluate(f"({look})(document.activeElement)")
        assert ring != "none" or name == "BODY", name
        reached.add(name)
    assert {"class", "right", "sort", "previous", "next", "add", "link", "SUMMARY", "original", "CANVAS"} <= reached
    named = "one => one.textContent.trim() || one.getAttribute('aria-label') || one.alt || one.labels?.length"
    nameless = f"all => all.filter(one => !({named})(one)).map(one => one.outerHTML)"
    assert tab.page.locator("button, a, select, canvas, img").evaluate_all(nameless) == []


def test_a_slider_goes_through_the_steps_of_a_picture_that_was_drawn(browser: Any, drawn: Any, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_figures, "entries", lambda: [FIGURE])
        tab = Tab(browser.new_page(viewport=DESK), write_report(drawn.runs, tmp_path, tmp_path / "r.html").path)
    tab.go()
    shown = "[...document.querySelector('#panes figure:nth-child(2) canvas').dataset.lit.split(' ')].map(Number)"
    tab.page.locator("#panes canvas").nth(1).focus()
    tab.press("ArrowRight")  # the first patch
    for step, branch in ((2, 1), (1, 1), (1, 0)):
        tab.page.evaluate(f"$('step').value = {step}; $('step').dispatchEvent(new Event('input'))")
        tab.settled()
        tab.choose("#branch", ("unconditional", "conditional")[branch])
        group = drawn.group[0, step, branch, 0]
        assert set(tab.page.evaluate(shown)) == set(np.flatnonzero(group == group[0]).tolist())
        assert f"step={step}" in tab.page.url
    tab.page.locator("#viewer").focus()
    tab.press("<")
    assert tab.page.locator("#step-said").inner_text() == "0 of 2"
    assert not tab.said
    tab.page.close()
