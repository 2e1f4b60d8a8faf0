"""Detection end to end on the embedded scenes, on COCO's files, and what is refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from tokenlens.data import open_data
from tokenlens.detection.adapter import AdapterHost, ViTAdapter, reduced
from tokenlens.detection.checkpoints import load_detector
from tokenlens.detection.data import open_detection
from tokenlens.detection.detect import Detection
from tokenlens.detection.evaluation import NAMES, average_precision, drawn_precision
from tokenlens.detection.mask_rcnn import DetectorConfig, MaskRCNN, Objects
from tokenlens.detection.objects import intact, owners
from tokenlens.detection.patterns import record
from tokenlens.detection.preparing import batched, grid_of
from tokenlens.detection.reducing import reduced_detector
from tokenlens.errors import BadInput
from tokenlens.records.leases import Leaseholder
from tokenlens.records.store import open_run
from tokenlens.workflows import small_objects

from .conftest import SMALL

pytest.importorskip("pycocotools", reason="the extra detection is not installed")


@pytest.fixture(scope="module")
def adapter() -> ViTAdapter:
    torch.manual_seed(0)
    made = AdapterHost.example().eval()
    assert isinstance(made, ViTAdapter)
    for interaction in made.interactions:
        torch.nn.init.normal_(interaction.injector.gamma, std=0.5)
    return made


@torch.no_grad()
@pytest.mark.parametrize("method", ["atc-average", "tome", "topk", "kmedoids", "l2", "random"])
def test_reducers_stand_in_a_backbone(adapter: ViTAdapter, method: str) -> None:
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    plain = adapter(images)
    maps, trace = reduced(adapter, method, 0.5, (1, 2)).trace(images)
    assert trace.tokens_left[:, -1].max() < 24
    assert [one.shape for one in maps] == [one.shape for one in plain]
    assert not torch.equal(maps[2], plain[2])
    for whole in (reduced(adapter, method, 1.0, (1, 2)), reduced(adapter, "none", 0.5, (1, 2))):
        assert all(torch.equal(*pair) for pair in zip(whole(images), plain, strict=True))


def test_scenes_know_their_objects() -> None:
    data = open_data("embedded:scenes", limit=4)
    for index in range(len(data)):
        classes, masks = data.instances(index)  # type: ignore[attr-defined]
        assert masks.sum(0).max() == 1 and masks.any((1, 2)).all()
        assert set(classes) == set(np.flatnonzero(data.label(index)).tolist())


def test_the_embedded_detector_finds_objects_and_a_run_is_made_once(tmp_path: Path) -> None:
    """And what it finds does not depend on the batch."""
    job = Detection(limit=2, out=tmp_path, progress=False)
    (line,) = job.run()
    (again,) = job.run()
    assert "tokens left 98 49 24" in line and "already there" in again
    run = open_run(next(tmp_path.glob("scenes*")), check=None)
    assert run.attrs["metrics"]["box AP50"] > 40 and "mask AP" in run.attrs["metrics"]
    assert run["valid"].all() and run["object"].any() and (run["box_class"][:, 0] >= 0).all()
    list(Detection(limit=2, batch_size=2, out=tmp_path / "together", progress=False).run())
    together = open_run(next((tmp_path / "together").glob("scenes*")))
    assert together["group"].equals(run["group"]) and np.allclose(together["box"], run["box"], atol=1e-3)


def test_two_shards_make_the_run_that_one_makes(tmp_path: Path) -> None:
    """What another has is left to it; whoever comes last takes what is left, and says what the run amounts to."""
    settings: dict[str, Any] = {"methods": ("tome",), "limit": 2, "progress": False}
    (line,) = Detection(**settings, out=tmp_path / "one").run()
    said: list[str] = []
    parts = [Detection(**settings, out=tmp_path / "two", shard=f"{part}/2", tell=said.append) for part in (1, 2)]
    name = next((tmp_path / "one").glob("scenes*")).name
    with Leaseholder(tmp_path / "two", {"job": [2, "another"], "settings": {}}) as other:
        assert other.take(f"{name}/1") and not list(parts[0].run())
    assert said == [f"tome at 0.5: 1 of 2 images are there, others have the rest -> {tmp_path / 'two' / name}"]
    (last,) = parts[1].run()
    assert last.split(", tokens")[0] == line.split(", tokens")[0]
    whole, shared = (open_run(tmp_path / where / name) for where in ("one", "two"))
    assert shared.equals(whole) and shared.attrs["metrics"] == whole.attrs["metrics"]


def test_images_of_several_grids_make_one_run(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    """Both lie in one grid of places, each in its own part of it."""
    out = tmp_path / "runs"
    where = {"weights": str(checkpoint), "heads": 1, "data": f"coco:{folder}", "out": out}
    (line,) = Detection(("tome",), blocks=(1,), progress=False, **where).run()  # type: ignore[arg-type]
    run = open_run(next(out.glob("coco*")))
    rows, columns = run.attrs["grid"]
    places = run["valid"].values.reshape(2, rows, columns)
    assert [(place.any(1).sum(), place.any(0).sum()) for place in places] == [(50, 68), (74, 50)]
    assert not run["kept"].values[~np.broadcast_to(run["valid"].values[:, None], run["kept"].shape)].any()
    assert (run["group"].values[:, 0] >= 0).sum(1).tolist() == [3400, 3700]
    assert run["tokens_left"].values.max() == 1850 and "tome at 0.5" in line


@pytest.mark.long
def test_a_disk_that_is_really_full(checkpoint: Path, folder: Path, tmp_path: Path, until_it_fits: Any) -> None:
    where = {"weights": str(checkpoint), "heads": 1, "data": f"coco:{folder}"}

    def detect(out: Path) -> None:
        list(Detection(("tome",), blocks=(1,), progress=False, out=out, **where).run())  # type: ignore[arg-type]

    detect(tmp_path / "whole")
    assert until_it_fits(detect, pages=12) > 2
    here, there = (open_run(next(out.glob("coco*"))).load() for out in (tmp_path / "small/out", tmp_path / "whole"))
    assert here.attrs["complete"] and here.equals(there)


def test_what_is_lost_is_learned_again() -> None:
    """The five losses fall on one picture."""
    torch.manual_seed(0)
    model, images = MaskRCNN(SMALL).train(), torch.randn(2, 3, 64, 64)
    mask = torch.zeros(1, 64, 64)
    mask[:, 8:40, 8:40] = 1
    objects = [Objects(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]), mask)] * 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    found = []
    for _ in range(6):
        losses = model.losses(images, objects)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert len(losses) == 5 and found[-1] < found[0]


def test_a_checkpoint_of_another_detector_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=False)
    state = content["state_dict"]
    assert load_detector(str(checkpoint), heads=1).config.backbone.depth == 3
    with pytest.raises(BadInput, match="say --heads"):
        load_detector(str(checkpoint))
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "depth": ({name: value for name, value in state.items() if "blocks.1." not in name}, "is missing in"),
        "other": ({"conv.weight": torch.zeros(1)}, "holds no Mask R-CNN"),
        "nan": ({**state, "backbone.level_embed": torch.full((3, 24), torch.nan)}, "NaN or infinite"),
    }
    for name, (wrong, words) in cases.items():
        torch.save({"state_dict": wrong}, tmp_path / f"{name}.pth")
        with pytest.raises(BadInput, match=words):
            load_detector(str(tmp_path / f"{name}.pth"), heads=1)
    torch.save({"meta": os.system, "state_dict": state}, tmp_path / "code.pth")
    with pytest.raises(BadInput, match="to be run while loading"):
        load_detector(str(tmp_path / "code.pth"))
    with pytest.raises(BadInput, match="names no published detector"):
        load_detector("hf:joakimbh/atc_small-coco17-average")


def test_sets_with_the_same_ids_are_told_apart(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """And one set is the same set at another path, and where only some of it is asked for."""
    here = open_detection(f"coco:{folder}")
    moved = shutil.copytree(folder, tmp_path_factory.mktemp("elsewhere"), dirs_exist_ok=True)
    assert open_detection(f"coco:{moved}", limit=1).dataset == here.dataset
    path = moved / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "other.jpg"
    path.write_text(json.dumps(content))
    (moved / "val2017/7.jpg").rename(moved / "val2017/other.jpg")
    other = open_detection(f"coco:{moved}")
    assert other.ids == here.ids and other.dataset != here.dataset


def test_what_cannot_be_is_refused(adapter: ViTAdapter, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has parameters of its own"):
        reduced(adapter, "sinkhorn")
    with pytest.raises(BadInput, match="counts of one grid"):
        reduced(adapter, "l2", 0.5, (1, 2), contiguous=True)
    with pytest.raises(BadInput, match="multiples of 32"):
        adapter(torch.zeros(1, 3, 60, 64))
    with pytest.raises(BadInput, match="does not know its objects apart"):
        open_detection("embedded:birds", limit=1)
    with pytest.raises(BadInput, match="limit must be at least 1 image, not 0"):
        open_detection("embedded:scenes", limit=0)
    with pytest.raises(BadInput, match="nor one of 2014"):
        open_detection(f"coco:{tmp_path}")


def test_ap_of_a_file_of_results_is_pycocotools_to_the_last_digit(folder: Path, tmp_path: Path) -> None:
    """Read by its own way from a file, with a crowd and an image without objects."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    box = {"image_id": 3, "category_id": 5, "score": 0.7, "bbox": [5.0, 5.0, 18.5, 9.25]}
    found = [box, {**box, "score": 0.9, "bbox": [1.0, 2.0, 20.0, 30.0]}, {**box, "image_id": 7, "score": 0.3}]
    (tmp_path / "results.json").write_text(json.dumps(found))
    path = folder / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = [{**one, "id": place} for place, one in enumerate(content["annotations"], 1)]
    path.write_text(json.dumps(content))
    truth = COCO(str(path))
    session = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "bbox")
    session.evaluate()
    session.accumulate()
    session.summarize()
    own = average_precision(open_detection(f"coco:{folder}").truth, found)
    theirs = [100 * value if value >= 0 else np.nan for value in session.stats]
    assert np.array_equal([own[name] for name in NAMES], theirs, equal_nan=True) and own["AP50"] > 0


def test_precision_of_drawn_images_is_that_of_a_set_of_them() -> None:
    """In their own order it is COCO's; one image again and again is that image alone."""
    images = [{"id": number, "height": 60, "width": 60} for number in (1, 2, 3)]
    box = {"category_id": 1, "iscrowd": 0, "bbox": [5.0, 5.0, 20.0, 20.0], "area": 400.0}
    there = [{**box, "id": number, "image_id": number} for number in (1, 2, 3)]
    there.append({**box, "id": 4, "image_id": 3, "bbox": [30.0, 30.0, 20.0, 25.0], "area": 500.0})
    found = [{**box, "image_id": 1, "score": 0.4}, {**box, "image_id": 2, "bbox": [8.0, 5.0, 20.0, 20.0], "score": 0.9},
             {**box, "image_id": 3, "score": 0.5}]  # fmt: skip
    truth = {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": there}
    drawn = drawn_precision(truth, found, np.array([[0, 1, 2], [1, 1, 1]]), (450.0, 490.0))
    own = average_precision(truth, found, bounds=(450.0, 490.0))
    assert np.array_equal(drawn[0], [own[name] for name in ("AP", "APs", "APm", "APl")], equal_nan=True)
    alone = average_precision({**truth, "images": images[1:2], "annotations": there[1:2]}, found[1:2])
    assert drawn[1, :2] == pytest.approx(alone["AP"]) and np.isnan(drawn[1, 2:]).all() and 0 < alone["AP"] < own["APs"]


@pytest.mark.long
def test_what_is_lost_by_size_is_told_with_intervals(tmp_path: Path) -> None:
    list(Detection(("none", "random"), limit=2, out=tmp_path / "runs", progress=False).run())
    words = [str(tmp_path / "runs"), "--draws", "20", "--out", str(tmp_path / "losses.csv")]
    said = CliRunner().invoke(small_objects.main, words, catch_exceptions=False).output
    rows = pd.read_csv(tmp_path / "losses.csv").set_index("method")
    assert rows.loc["none", "lost all"] == 0 and rows.loc["none", "lost all low"] == 0
    assert rows.loc["random", "lost all"] > 40 and "random at 0.5: lost all" in said


def test_patches_of_an_object_are_intact_where_no_token_mixes_it(folder: Path) -> None:
    data = open_detection(f"coco:{folder}")
    config = DetectorConfig(SMALL.backbone, classes=2, long=40, short=30)  # seen as large as it is
    owner = owners(data, data.ids.index("3"), config, (4, 4)).reshape(4, 4)
    assert (owner[:2, :2] == 0).sum() == 2 and (owner[2:] == -1).all()  # the box of 20 x 10, and not the crowd
    flat, tokens = owner.ravel(), np.arange(16)
    annotation = [{"area": 200.0}, {"area": 900.0, "iscrowd": 1}]
    assert list(intact(flat, annotation, tokens)) == [("s", 1.0)]
    assert list(intact(flat, annotation, np.where(flat == 0, 0, 1))) == [("s", 1.0)]
    assert list(intact(flat, annotation, np.zeros(16, int))) == [("s", 0.0)]
    assert list(intact(flat, annotation, np.full(16, -1))) == [("s", 0.0)]


@pytest.mark.parametrize("size", [(3, 2), (1, 900)])
def test_images_smaller_than_a_patch_are_seen(size: tuple[int, int]) -> None:
    """Stretched as far as both sides allow, and padded; what is found lies inside."""
    torch.manual_seed(0)
    model = reduced_detector(MaskRCNN(SMALL), "tome", 0.5, (1,))
    images, frames = batched([Image.new("RGB", size, (90, 20, 200))], SMALL)
    rows, columns = grid_of(size[::-1], SMALL)
    arrays = record(model, images, frames, (rows, columns), ["tiny"])
    assert arrays["valid"].sum() == rows * columns >= 4
    assert (arrays["box"] <= np.array([*size, *size]) + 1e-3).all() and (arrays["box"] >= 0).all()


def test_a_checkpoint_of_other_classes_is_refused_before_an_image_is_read(checkpoint: Path, tmp_path: Path) -> None:
    job = Detection(weights=str(checkpoint), heads=1, limit=1, out=tmp_path / "runs", progress=False)
    with pytest.raises(BadInput, match="tells 2 classes apart and embedded:scenes has 10; give other weights"):
        list(job.run())
    assert not (tmp_path / "runs").exists()


def test_numbers_that_are_none_are_told_and_not_left_out() -> None:
    """They fail every threshold, and would be nothing to find."""
    torch.manual_seed(0)
    model = reduced_detector(MaskRCNN(SMALL), "tome", 0.5, (1,))
    images, frames = batched([Image.new("RGB", (96, 64))] * 2, SMALL)
    parts = model.state_dict()
    for name in ("neck.fpn_convs.0.conv.bias", "rpn_head.rpn_reg.bias", "roi_head.bbox_head.fc_cls.bias",
                 "roi_head.bbox_head.fc_reg.bias", "roi_head.mask_head.conv_logits.bias"):  # fmt: skip
        whole = parts[name].clone()
        parts[name].fill_(torch.nan)
        with pytest.raises(BadInput, match="are NaN or infinite for image first, so nothing is stored"):
            record(model, images, frames, grid_of((64, 96), SMALL), ["first", "second"])
        parts[name].copy_(whole)
    assert record(model, images, frames, grid_of((64, 96), SMALL), ["first", "second"])["box_score"].any()


def test_weights_say_how_they_were_tuned(tuned: Path, folder: Path) -> None:
    """And what is asked for comes before that; neither is silent."""
    said: list[str] = []
    asked = Detection(weights=str(tuned), tell=said.append)
    found = asked.completed()
    assert (found.methods, found.keep_rates, found.blocks) == (["atc"], [0.3], [1])
    assert list(found.options) == ["linkage=single"]
    other = Detection(("tome",), weights=str(tuned), tell=said.append).completed()
    assert (other.methods, other.keep_rates, list(other.options)) == (("tome",), [0.3], [])
    here = ("so it is reduced here", "what is asked for here goes before that")
    assert said == [f"{tuned} was fine-tuned with atc at 0.3; {what}" for what in here]
    plain = Detection(tell=said.append).completed()
    assert (plain.methods, plain.keep_rates, len(said)) == (["atc-average"], [0.5], 2)
    with pytest.raises(BadInput, match=r"blocks \[3\] are not all in this model"):
        list(Detection(weights=str(tuned), data=f"coco:{folder}", blocks=(3,), tell=said.append).run())
