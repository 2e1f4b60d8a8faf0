"""From which runs a contact sheet is drawn, and the images as the model saw them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tokenlens.errors import BadInput
from tokenlens.figures.catalogue import Source
from tokenlens.figures.plots.contact_sheet import contact_sheets, draw
from tokenlens.figures.select.runs import GREY, as_seen, choose_images, choose_runs, fitted, read_panel, read_pictures

pytestmark = pytest.mark.usefixtures("among_methods")


def run(method: str, rate: Any = 0.5, ids: str = "abcde", stages: tuple[int, ...] = (3, 6), **attrs: Any) -> xr.Dataset:
    rng = np.random.default_rng(len(method))
    kept = rng.random((len(ids), len(stages), 6)) < 0.5
    known = {
        "run": f"{method}-{rate}-{attrs.get('seed', 0)}", "dataset": "folder:/photos", "split": "val", "model": "tiny",
        "method": method, "family": "pruning", "keep_rate": rate, "grid": [2, 3], "input_size": [32, 48],
        "crop_pct": 0.9, "written": len(ids), "complete": True, "seed": 0,
    }  # fmt: skip
    dims = ("image", "stage", "patch")
    return xr.Dataset(
        {"kept": (dims, kept), "group": (dims, np.where(kept, 0, -1).astype(np.int16))},
        {"image": list(ids), "stage": list(stages), "patch": np.arange(6)},
        {**known, **attrs},
    )


def methods(sheets: list[Any]) -> list[list[str]]:
    return [[run.attrs["method"] for run in sheet.runs] for sheet in sheets]


def test_columns_come_in_the_order_of_the_studies() -> None:
    names = ["random", "mine", "linf", "atc-single", "atc", "tome", "evit", "topk"]
    order = [["topk", "evit", "tome", "atc", "atc-single", "linf", "random", "mine"]]
    assert methods(choose_runs([run(name) for name in names])) == order


def test_the_keep_rate_is_the_usual_one_or_the_most_frequent_or_the_one_asked_for() -> None:
    runs = [run("topk", 0.5), run("tome", 0.25), run("evit", 0.25), run("tome", [0.5, 0.3])]
    assert methods(choose_runs(runs)) == [["topk"]]
    assert methods(choose_runs(runs[1:])) == [["evit", "tome"]]
    assert methods(choose_runs(runs, keep_rate=0.25)) == [["evit", "tome"]]
    with pytest.raises(BadInput, match=r"no run has the keep rate 0\.7; the runs have 0\.25, 0\.5, 0\.5, 0\.3"):
        choose_runs(runs, keep_rate=0.7)


def test_of_several_runs_of_a_method_the_complete_one_is_shown() -> None:
    runs = [run("topk", complete=False), run("topk", seed=2), run("topk", seed=1), run("none", family="none")]
    (sheet,) = choose_runs(runs)
    assert [r.attrs["seed"] for r in sheet.runs] == [1] and sheet.left_out == ("topk-0.5-2", "topk-0.5-0")


def test_each_model_and_data_set_has_its_sheet() -> None:
    runs = [run("topk"), run("topk", model="base"), run("evit", dataset="embedded:shapes"), run("topk", split="train")]
    sheets = choose_runs(runs)
    assert [(s.dataset, s.split, s.model) for s in sheets] == [
        ("embedded:shapes", "val", "tiny"), ("folder:/photos", "train", "tiny"),
        ("folder:/photos", "val", "base"), ("folder:/photos", "val", "tiny"),
    ]  # fmt: skip
    assert sheets[0].name == "contact-sheet-embedded-shapes-tiny"


def test_conditions_on_runs() -> None:
    runs = [run("topk"), run("tome"), run("evit")]
    for conditions in (["method=topk", "method=evit", "keep_rate=0.5"], ["method=topk|evit,keep_rate=0.50"]):
        assert methods(choose_runs(runs, conditions)) == [["topk", "evit"]]
    for condition, message in {
        "method": "write KEY=VALUE",
        "colour=red": "no run attribute called 'colour'",
        "method=ats": "there is no run with a method called 'ats'; known: evit, tome, topk",
    }.items():
        with pytest.raises(BadInput, match=message):
            choose_runs(runs, [condition])


def test_no_runs_and_no_such_stage_are_refused() -> None:
    with pytest.raises(BadInput, match="there are no runs"):
        choose_runs([])
    with pytest.raises(BadInput, match="no run has a stage at block 9; the blocks are 3, 6"):
        choose_runs([run("topk")], stage=9)


def test_images_are_those_that_all_runs_have() -> None:
    runs = [run("topk", ids="abcdef", written=5), run("tome", ids="fedcb")]
    assert choose_images(runs, 99) == ["b", "c", "d", "e"] and choose_images(runs, 2) == ["b", "d"]
    with pytest.raises(BadInput, match="no image in common"):
        choose_images([runs[0], run("evit", ids="xyz")], 2)


def test_a_panel_is_read_by_image_id_and_block() -> None:
    source = run("topk")
    column = read_panel(source, ["d", "b"], None)
    assert (column.kept == source["kept"].values[[3, 1], 1]).all() and column.title == "Top-K\nkeep 0.5"
    assert (read_panel(source, ["d"], 3).group == source["group"].values[[3], 0]).all()


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("size", [(224, 224), (32, 48)])
@pytest.mark.parametrize("shape", [(301, 233), (100, 257), (224, 224)])
def test_images_are_as_timms_evaluation_shows_them(size: tuple[int, int], shape: tuple[int, int], squash: bool) -> None:
    transforms = pytest.importorskip("timm.data.transforms_factory")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    timm = transforms.transforms_imagenet_eval(
        size, crop_pct=0.9, crop_mode="squash" if squash else None, interpolation="bicubic", normalize=False
    )
    assert (as_seen(image, size, 0.9, squash) == np.moveaxis(np.asarray(timm(image)), 0, 2)).all()


def photos(folder: Path) -> str:
    for i, name in enumerate("abcde"):
        Image.new("RGB", (60, 50), (40 * i, 90, 90)).save(folder / f"{name}.png")
    return f"folder:{folder}"


def test_pictures_of_several_labels_are_squashed_and_not_cropped(tmp_path: Path) -> None:
    Image.fromarray(np.repeat(np.uint8([[255, 0, 0, 255]]), 20, 0).repeat(20, 1)).convert("RGB").save(
        tmp_path / "a.png"
    )  # bright at both ends, which a centre crop cuts off
    cropped, whole = (
        read_pictures(run("topk", dataset=f"folder:{tmp_path}", crop_pct=1.0, squash=squash), ["a.png"])[0]
        for squash in (False, True)
    )
    assert cropped[:, [0, -1]].max() < 30 and whole[:, [0, -1]].min() > 225


def test_each_split_has_its_sheet(tmp_path: Path) -> None:
    ids = [f"{name}.png" for name in "abcde"]
    where = photos(tmp_path)
    runs = [run(m, dataset=where, split=s).assign_coords(image=ids) for m in ("topk", "tome") for s in ("val", "test")]
    made = list(contact_sheets(runs, images=3))
    stem = f"contact-sheet-folder-{tmp_path.name}-tiny"
    assert [name for name, _, _ in made] == [stem, f"{stem}-2"]
    assert all(len(sheet.images) == 3 * 3 for _, sheet, _ in made)


def test_in_a_notebook_a_sheet_without_runs_is_an_annotated_gap() -> None:
    made = draw(Source(opened=[run("none", family="none")]))
    assert ["there are no runs of a reduction method" in text.get_text() for text in made.axes[0].texts] == [True]


def test_images_that_are_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"1 of 2 images of topk-0\.5-0 are no longer in folder:.* \(z\.png, \.\.\.\)"):
        read_pictures(run("topk", dataset=photos(tmp_path)), ["a.png", "z.png"])


def test_a_detectors_image_lies_in_the_upper_left_of_grey() -> None:
    """At the size that the detector gives it."""
    from tokenlens.detection.mask_rcnn import DetectorConfig
    from tokenlens.detection.preparing import seen_size

    image = Image.new("RGB", (30, 44), (200, 10, 10))
    height, width = seen_size((44, 30), DetectorConfig(short=64, long=96))
    seen = fitted(image, (96, 96), (64, 96))
    assert (seen[:height, :width] == (200, 10, 10)).all()
    assert (seen[height:] == GREY).all() and (seen[:, width:] == GREY).all()
