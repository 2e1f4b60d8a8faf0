"""What stands on the screen: words that help, lines that fit, numbers that are never 0 for want of digits."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tokenlens.analysis.evidence import OPEN, SUPPORTED, declared, lines
from tokenlens.errors import BadInput
from tokenlens.extraction.feed import Extracted
from tokenlens.extraction.jobs import describe
from tokenlens.extraction.pretrained import Pretrained
from tokenlens.extraction.reduced_models import Models
from tokenlens.hosts.checkpoints import Weights
from tokenlens.methods import expanded, methods
from tokenlens.records.run import Run

from .conftest import Call


def test_a_finding_is_one_line_that_fits() -> None:
    for table in ("findings", "truth"):
        for claim in declared(table):
            for verdict, value, n in ((OPEN, float("nan"), 0), (OPEN, 0.25, 12345), (SUPPORTED, -0.1234, 9)):
                row = pd.DataFrame([{"finding": claim.number, "verdict": verdict, "value": value, "n": n}])
                (line,) = lines(row)
                assert len(line) <= 80 and line.startswith(f"{claim.number}  {claim.title} ")
                assert ("there are 0" in line) == (n == 0) and (": -0.123" in line) == (verdict == SUPPORTED)


def said(method: str, left: list[float], speed: float | None) -> str:
    run = Run("embedded:shapes", "val", 8, "", "nano", "", method, 0.25, (3, 6, 9), (49, 12, 3))
    return describe(run, Extracted(Path("runs/x"), {}, left, 1.0, 0.5, speed))


def test_speeds_have_digits_and_what_cannot_be_reached_is_told() -> None:
    for speed, told in ((0.04, "0.04 images/s"), (9.6, "9.6 images/s"), (1234.5, "1234 images/s"), (None, "already")):
        assert f", {told}" in said("topk", [49, 12, 3], speed)
    beyond = "tokens left 98 49 25 (of 49 12 3 asked: a stage of tome removes half at most)"
    assert beyond in said("tome", [98, 49, 25], 1.0) and "asked" not in said("tome", [49, 13, 4], 1.0)
    assert "asked" not in said("ats", [60, 20, 10], 1.0)  # it may do as it likes


def test_families_and_all_are_spelled_out() -> None:
    assert [*expanded(["radial", "topk", "random"])] == ["l1", "l2", "linf", "topk", "random"]
    assert expanded(["topk", "all"])["topk"] and not expanded(["all", "topk"])["tome"]
    every = [*expanded(["all"])]
    assert set(methods()) - set(every) == {"atc-average"}  # which `atc` is, under a second name
    with pytest.raises(BadInput, match="no method called 'fixd'"):
        Models(methods=["fixd"], keep_rates=[0.5]).planned()


def test_what_a_family_lacks_is_left_out_and_told() -> None:
    asked = Models(methods=["soft"], keep_rates=[0.3]).completed()
    with pytest.raises(BadInput, match="comes with sit trained at"):
        asked.built(asked.host(), asked.planned())
    asked = Models(methods=["soft", "topk"], keep_rates=[0.3]).completed()
    with pytest.warns(UserWarning, match="left out: sit, patchmerger, sinkhorn; of sit: the nano ViT comes with sit"):
        assert [name for name, *_ in asked.built(asked.host(), asked.planned())] == ["topk"]


def test_weights_of_another_package_say_their_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    vit = Models(model="nano").host().vit
    theirs = Pretrained(vit, "m", "d", "s", Weights({}, origin="of theirs, under MIT"))
    monkeypatch.setattr("tokenlens.extraction.reduced_models.open_host", lambda *_: theirs)
    assert Models(tell=said.append).host() is theirs and said == ["of theirs, under MIT"]


def test_a_path_as_data_is_offered_its_word(call: Call, here: Path) -> None:
    (here / "photos").mkdir()
    assert "photos does not say what it is; write folder:photos" in call("extract", "--data", "photos").sentence


def test_verdicts_and_measurements_come_as_json(call: Call, here: Path) -> None:
    assert "--json prints the verdicts of --findings; give both" in call("compare", "--json").sentence
    words = ("--metric", "iou", "--resamples", 5, "--out", "judged")
    rows = json.loads(call("compare", "--findings", "--json", *words).out)
    assert [row["finding"] for row in rows] == [1, 2, 3, 4, 5, 9] and rows[0]["value"] is None
    small = ("--batch-size", 2, "--repeats", 1, "--warmup", 1, "--out", "timed")
    timed = json.loads(call("bench", "--method", "topk", "--json", *small).out)
    assert [row["method"] for row in timed] == ["none", "topk"] and timed[1]["images_per_second"] > 0


def test_pictures_are_chosen_by_number_or_name(call: Call, here: Path) -> None:
    wanted = "shapes/val/000001,shapes/val/000003"
    path, _caption = call("figures", "contact-sheet", "--images", wanted, "--format", "png").out.splitlines()
    with Image.open(path) as sheet:
        assert sheet.height < sheet.width  # two rows of an image and two methods, and not four
    lacks = "no image that all these runs hold called 'shapes/val/00001'; did you mean shapes/val/000001"
    assert lacks in call("figures", "contact-sheet", "--images", "shapes/val/00001").sentence
    assert lacks in call("report", "--images", "shapes/val/00001").sentence
    assert "'--images': 0 is not in the range x>=1" in call("report", "--images", 0).sentence
