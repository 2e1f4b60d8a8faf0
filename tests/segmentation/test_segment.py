"""What every pixel shows: the head reads whole tokens well, reduced ones no better, and sets are read as they lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import tokenlens
from tokenlens.commands.segment import segment
from tokenlens.errors import BadInput
from tokenlens.extraction.pretrained import open_host
from tokenlens.records.store import open_run, open_runs
from tokenlens.segmentation.data import IGNORED, open_segmentation
from tokenlens.segmentation.head import Head, shares
from tokenlens.segmentation.segment import Segmentation, overlap, summary


def test_a_head_reads_tokens_and_a_run_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenlens.segmentation.head.STEPS", 200)
    words = ["--method", "none,random", "--keep-rate", "0.25", "--limit", "4", "--train-limit", "12", "--out", tmp_path]
    said = [CliRunner().invoke(segment, [str(word) for word in words], catch_exceptions=False).output for _ in range(2)]
    assert said[0].count("mIoU") == 2 and said[1].count("already there") == 2
    runs = {run.attrs["method"]: run for run in open_runs(tmp_path)}
    whole, random = (runs[name].attrs["metrics"] for name in ("none", "random"))
    assert whole["mIoU"] > random["mIoU"] and whole["pixel accuracy"] > 70
    assert runs["random"]["tokens_left"].values[:, -1].tolist() == [3] * 4
    assert (runs["none"]["pixels"].values[..., 2].sum(1) == 112 * 112).all()


def test_two_shards_make_the_run_that_one_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenlens.segmentation.head.STEPS", 3)
    settings: dict[str, Any] = {"methods": ("topk",), "keep_rates": [0.5], "limit": 3, "train_limit": 4,
                                "progress": False}  # fmt: skip
    for out, shards in (("one", (None,)), ("two", ("2/2", "1/2"))):
        for shard in shards:
            list(Segmentation(**settings, out=tmp_path / out, batch_size=1, shard=shard).run())
    name = next((tmp_path / "one").glob("scenes*")).name
    one, two = (open_run(tmp_path / out / name) for out in ("one", "two"))
    assert one.equals(two) and one.attrs["metrics"] == two.attrs["metrics"]


def test_tokens_are_spread_to_the_patches_of_their_groups() -> None:
    vit, images = open_host("nano").vit, torch.randn(2, 3, 112, 112)
    model = tokenlens.reduce(vit, "tome", 0.5).eval()
    with torch.no_grad():
        spread, trace = model.spread(images)
        whole, _ = tokenlens.reduce(vit, "none").eval().spread(images)
        assert torch.equal(whole, vit.forward_features(images)[:, 1:])
    group = trace.group[:, -1].long()
    same = group[:, :, None] == group[:, None]
    assert torch.equal((spread[:, :, None] == spread[:, None]).all(-1), same)
    dropped, trace = tokenlens.reduce(vit, "topk", 0.5).eval().spread(images)
    assert torch.equal((dropped == 0).all(-1), ~trace.kept[:, -1])


def test_maps_are_counted_pixel_by_pixel() -> None:
    labels = np.array([[0, 0, 1, IGNORED], [0, 0, 1, 1]], np.uint8)
    assert shares(labels, 2, (1, 2)).tolist() == [[1, 0], [0, 0.75]]
    counted = overlap(np.array([[0, 1, 1, 0], [0, 0, 1, 0]], np.uint8), labels, 2)
    assert counted.tolist() == [[3, 4, 4], [2, 3, 3]]
    run: Any = {"pixels": np.stack([counted, counted])}
    assert summary(run) == pytest.approx({"mIoU": 100 * (3 / 5 + 2 / 4) / 2, "pixel accuracy": 100 * 5 / 7})
    linear = torch.nn.Linear(2, 2)
    torch.nn.init.eye_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    head = Head(torch.zeros(2), torch.ones(2), linear)
    assert head(torch.eye(2), (1, 2), (2, 4)).tolist() == [[0, 0, 1, 1]] * 2


def _write(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def test_ade20k_and_pascal_voc_are_read_as_they_lie(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 150], [2, 255, 1]], np.uint8)
    for part in ("training", "validation"):
        _write(tmp_path / f"ade/images/{part}/ADE_{part}_1.jpg", Image.new("RGB", (3, 2)))
        _write(
            tmp_path / f"ade/annotations/{part}/ADE_{part}_1.png", Image.fromarray(np.where(labels == 255, 3, labels))
        )
    ade = open_segmentation(f"ade20k:{tmp_path / 'ade'}")
    assert ade.ids == ["ADE_validation_1"] and len(ade.classes) == 150 and ade.image(0).size == (3, 2)
    assert ade.map(0).tolist() == [[IGNORED, 0, 149], [1, 2, 0]]
    palette = Image.fromarray(np.minimum(labels, 20) + (labels == 255) * np.uint8(235)).convert("P")
    palette.putpalette([value % 256 for value in range(768)])
    for name in ("2007_1", "2007_2"):
        _write(tmp_path / f"voc/JPEGImages/{name}.jpg", Image.new("RGB", (3, 2)))
        _write(tmp_path / f"voc/SegmentationClass/{name}.png", palette)
        _write(tmp_path / "voc/ImageSets/Segmentation/x.png", palette)
        (tmp_path / f"voc/ImageSets/Segmentation/{'train' if name[-1] == '1' else 'val'}.txt").write_text(f"{name}\n")
    voc = open_segmentation(f"voc:{tmp_path / 'voc'}")
    assert voc.ids == ["2007_2"] and voc.classes[20] == "tvmonitor"
    assert voc.map(0).tolist() == [[0, 1, 20], [2, IGNORED, 1]]
    _write(tmp_path / "voc/SegmentationClass/2007_2.png", palette.resize((2, 2)))
    with pytest.raises(BadInput, match="is 2 x 2 and its image 3 x 2"):
        voc.map(0)
    _write(tmp_path / "voc/SegmentationClass/2007_2.png", Image.new("L", (3, 2), 90))
    with pytest.raises(BadInput, match="has the class 90"):
        voc.map(0)
    _write(tmp_path / "voc/SegmentationClass/2007_2.png", Image.new("RGB", (3, 2)))
    with pytest.raises(BadInput, match="is no map of classes"):
        voc.map(0)
    (tmp_path / "voc/SegmentationClass/2007_2.png").unlink()
    for spec, words in (
        (f"voc:{tmp_path / 'voc'}", "there is no .*2007_2.png"),
        ("embedded:birds", "what its pixels"),
        (f"voc:{tmp_path}", "there is no .*val.txt"),
        (f"ade20k:{tmp_path}", "there are no .jpg"),
    ):
        with pytest.raises(BadInput, match=words):
            open_segmentation(spec)
    for spec in (f"ade20k:{tmp_path / 'ade'}", "embedded:scenes"):
        with pytest.raises(BadInput, match="limit must be at least 1 image, not 0"):
            open_segmentation(spec, limit=0)
