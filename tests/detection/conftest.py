"""A small detector in files, and COCO's layout."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tokenlens.detection.interaction import AdapterConfig
from tokenlens.detection.mask_rcnn import DetectorConfig, MaskRCNN

SMALL = DetectorConfig(
    AdapterConfig(24, 1, 3, 2.0, pretrained=(4, 4), stem=8, deform_heads=6, spans=((0, 0), (1, 1), (2, 2))),
    channels=8, hidden=16, classes=2, proposals=20, sampled=16, long=96, short=64,
)  # fmt: skip
Change = Callable[[Callable[[dict[str, Any]], Any]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """COCO's layout: two images, one of them without objects, a crowd."""
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    for number, size in ((3, (40, 30)), (7, (30, 44))):
        Image.new("RGB", size, (40 * number % 256, 90, 120)).save(tmp_path / f"val2017/{number}.jpg")
    images = [{"id": 7, "file_name": "7.jpg", "height": 44, "width": 30},
              {"id": 3, "file_name": "3.jpg", "height": 30, "width": 40}]  # fmt: skip
    box = {"image_id": 3, "category_id": 5, "bbox": [4, 5, 20, 10], "area": 200, "iscrowd": 0}
    annotations = [{**box, "segmentation": [[4, 5, 24, 5, 24, 15, 4, 15]]},
                   {**box, "iscrowd": 1, "segmentation": {"size": [30, 40], "counts": [0, 300, 900]}}]  # fmt: skip
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 9, "name": "b"}, {"id": 5, "name": "a"}],
    }
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def changed(folder: Path) -> Change:
    """Changes what the folder's file of instances says, in place."""

    def change(how: Callable[[dict[str, Any]], Any]) -> Path:
        path = folder / "annotations/instances_val2017.json"
        content = json.loads(path.read_text())
        how(content)
        path.write_text(json.dumps(content))
        return folder

    return change


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of mmcv's form, with what published ones hold beside the detector."""
    torch.manual_seed(1)
    state = MaskRCNN(SMALL).state_dict()
    unused = {"backbone.cls_token": torch.zeros(1, 1, 24), "backbone.norm.weight": torch.ones(24)}
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    meta = {"epoch": 4, "CLASSES": ("a", "b"), "time": np.float64(3.5)}
    torch.save({"meta": meta, "state_dict": {**state, **unused}, "optimizer": {"lr": 1e-5}}, path)
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `finetune` writes it: of images of 96 x 64 at most, for single linkage at 0.3 in block 1."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    reduction = {"method": "atc", "keep_rate": 0.3, "blocks": [1], "options": {"linkage": "single"}}
    said = {"format": 1, "detector": asdict(SMALL), "reduction": reduction}
    save_file(MaskRCNN(SMALL).state_dict(), path, {"tokenlens": json.dumps(said)})
    return path
