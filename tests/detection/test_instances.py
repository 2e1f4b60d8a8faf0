"""What files of instances say is taken where COCO's would say it, and refused before pycocotools sees it elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tokenlens.commands.detect import detect
from tokenlens.detection.data import open_detection
from tokenlens.detection.objects import pixels_of
from tokenlens.errors import BadInput
from tokenlens.records.store import open_run

from .conftest import Change

coco = pytest.importorskip("pycocotools.mask", reason="the extra detection is not installed")
RUNS = {"size": [30, 40], "counts": [0, 300, 900]}


def first(table: str, **said: Any) -> Callable[[dict[str, Any]], Any]:
    """Says something else in the first entry of a table."""
    return lambda content: content[table][0].update(said)


NO_MASK = "entry 0 of annotations in .* has a segmentation that is no mask of an image of 40 x 30"
WRONG: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (first("annotations", image_id="3"), "has '3' as its image_id"),
    (first("images", id=True), "has True as its id"),
    (first("annotations", bbox=[1, 2, float("nan"), 4]), "as its bbox"),
    (first("annotations", bbox=[1, 2, -3, 4]), "as its bbox"),
    (first("annotations", bbox=[10**400, 2, 3, 4]), "as its bbox"),
    (first("annotations", area=float("nan")), "has nan as its area"),
    (first("annotations", iscrowd="no"), "has 'no' as its iscrowd"),
    (first("annotations", category_id=6), "has the category_id 6, which the file does not describe"),
    (first("annotations", image_id=99), "has the image_id 99, which the file does not describe"),
    (first("annotations", segmentation="x"), NO_MASK),
    (first("annotations", segmentation=[[1, 2, 3, 4]]), NO_MASK),
    (first("annotations", segmentation=[[1, 2, float("nan"), 4, 5, 6]]), NO_MASK),
    (first("annotations", segmentation={**RUNS, "counts": [0, 10**9]}), NO_MASK),
    (first("annotations", segmentation={**RUNS, "counts": "zzzz"}), NO_MASK),
    (first("annotations", segmentation={**RUNS, "size": [40, 30]}), NO_MASK),
    (first("categories", id=5), "has the id 5 twice in categories"),
    (first("images", id=3), "has the id 3 twice in images"),
    (first("images", file_name="8.jpg"), "there is no image .*8.jpg"),
    (lambda content: content.update(images=[]), "has no images"),
    (lambda content: content.pop("annotations"), "is not one of COCO's instances files"),
]


@pytest.mark.parametrize("how, words", WRONG)
def test_files_that_are_wrong_are_refused(changed: Change, how: Callable[[dict[str, Any]], Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_detection(f"coco:{changed(how)}")


def test_an_image_of_another_size_is_refused(changed: Change) -> None:
    data = open_detection(f"coco:{changed(first('images', width=31))}")
    assert data.image(0).size == (40, 30)
    with pytest.raises(BadInput, match=r"7\.jpg is 30 x 44, and the annotations are of an image of 31 x 44"):
        data.image(1)


def test_masks_mean_the_same_however_they_are_written(changed: Change) -> None:
    """As runs, as runs that are compressed, as polygons; and boxes stand for those that are missing."""
    box = [[4, 5, 24, 5, 24, 15, 4, 15]]
    (packed,) = coco.frPyObjects(box, 30, 40)
    packed = {**packed, "counts": packed["counts"].decode()}
    runs = {"size": [30, 40], "counts": [4 * 30 + 5, *[10, 20] * 19, 10, 495]}
    found = []
    for shape in (box, packed, runs, None):
        folder = changed(first("annotations", segmentation=shape, bbox=[4, 5, 20, 10]))
        found.append(pixels_of(open_detection(f"coco:{folder}").of(0)[0], (30, 40)))
    assert found[0].sum() == 200 and all(one.equal(found[0]) for one in found)


def test_objects_without_mask_area_or_more_make_a_run(changed: Change, tuned: Path) -> None:
    """With boxes of no area; of masks nothing is said."""

    def bare(content: dict[str, Any]) -> None:
        box = {"image_id": 3, "category_id": 5, "bbox": [4, 5, 20, 10]}
        none = {"segmentation": [], "iscrowd": None, "area": None}
        content["annotations"] = [box, {**box, **none}, {**box, "bbox": [4, 5, 0, 10]}]

    folder = changed(bare)
    words = ["--data", f"coco:{folder}", "--weights", tuned, "--out", folder / "runs"]
    told = CliRunner().invoke(detect, [str(word) for word in words], catch_exceptions=False).output
    metrics = open_run(next((folder / "runs").glob("coco*"))).attrs["metrics"]
    assert "lacks masks of some objects" in told and "mask AP" not in metrics
    assert metrics["box AP"] >= 0 and 0 <= metrics["intact s"] <= 100


def test_nothing_to_find_is_no_precision(changed: Change, tuned: Path) -> None:
    folder = changed(lambda content: content.update(annotations=content["annotations"][1:]))
    words = ["--data", f"coco:{folder}", "--weights", str(tuned), "--out", str(folder / "runs")]
    told = CliRunner().invoke(detect, words, catch_exceptions=False).output
    assert "atc at 0.3: tokens left" in told
