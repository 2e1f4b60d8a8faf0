"""Small copies of the data sets, each in the layout that it is handed out in. Every image has a colour of its own."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

Colour = tuple[int, int, int]


def save(path: Path, number: int, size: tuple[int, int] = (9, 6)) -> Path:
    """An image whose pixels all hold `number` in the first channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number, 80, 160)).save(path, **({"quality": 100} if path.suffix != ".png" else {}))
    return path


def number_of(image: Image.Image) -> int:
    """The number that an image was saved with (JPEG keeps it to one or two)."""
    return int(np.asarray(image)[0, 0, 0])


Seen = Callable[[Any], list[int]]


@pytest.fixture
def seen() -> Seen:
    """The numbers of a set's images, in its order."""
    return lambda data: [number_of(data.image(index)) for index in range(len(data))]


WNIDS = ("n01440764", "n01443537", "n02085620")
IMAGENET_VAL = {1: "n02085620", 2: "n01440764", 3: "n01443537", 4: "n01440764"}  # of image number
DEVKIT_IDS = {"n01440764": 3, "n01443537": 1, "n02085620": 2}  # the devkit has an order of its own
LAYOUTS = ("folders", "solution", "val.txt", "val_map.txt", "synsets", "devkit", "kaggle")
Make = Callable[..., Path]


@pytest.fixture(params=LAYOUTS)
def imagenet(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """ILSVRC in each of the layouts that users have."""
    return make_imagenet(tmp_path / "imagenet", request.param)


@pytest.fixture
def imagenet_of() -> Make:
    """ILSVRC in a layout that the test names."""
    return make_imagenet


def make_imagenet(root: Path, layout: str) -> Path:
    """Three classes: two training images of each, four validation images."""
    top = root / "ILSVRC/Data/CLS-LOC" if layout == "kaggle" else root
    for place, wnid in enumerate(WNIDS):
        for number in range(2):
            save(top / "train" / wnid / f"{wnid}_{number}.JPEG", 10 * place + number)
    for number, wnid in IMAGENET_VAL.items():
        save(top / "val" / (wnid if layout == "folders" else "") / f"ILSVRC2012_val_{number:08d}.JPEG", 100 + number)
    truth(root, top, layout)
    return root


def truth(root: Path, top: Path, layout: str) -> None:
    """The file that tells the classes of a flat validation folder."""
    files = {number: f"ILSVRC2012_val_{number:08d}" for number in IMAGENET_VAL}
    devkit = root / "ILSVRC2012_devkit_t12/data"
    if layout in ("solution", "kaggle"):
        rows = [f"{files[n]},{wnid} 85 1 499 272 {wnid} 1 2 3 4" for n, wnid in reversed(IMAGENET_VAL.items())]
        (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(rows))
    elif layout == "val.txt":
        rows = [f"{files[n]}.JPEG {WNIDS.index(wnid)}\n" for n, wnid in IMAGENET_VAL.items()]
        (root / "val.txt").write_text("".join(rows))
    elif layout == "val_map.txt":
        (top / "val_map.txt").write_text("".join(f"{files[n]}.JPEG\t{wnid}\n" for n, wnid in IMAGENET_VAL.items()))
    elif layout == "synsets":
        (root / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(IMAGENET_VAL.values()) + "\n")
    elif layout == "devkit":
        devkit.mkdir(parents=True)
        words = "\n".join(str(DEVKIT_IDS[wnid]) for wnid in IMAGENET_VAL.values())
        (devkit / "ILSVRC2012_validation_ground_truth.txt").write_text(words)
        kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
        table = [(number, wnid, "fish", 0) for wnid, number in DEVKIT_IDS.items()] + [(4, "n00001740", "entity", 3)]
        scipy.io.savemat(devkit / "meta.mat", {"synsets": np.array(table, kinds)})


BIRDS = {  # id: class id, path, training image; classes of 9 and 10 sort otherwise as text
    "e1-a": (10, "0010/e1a.jpg", 1),
    "b7-c": (9, "0009/b7c.jpg", 0),
    "a3-f": (817, "0817/a3f.jpg", 1),
    "c2-d": (10, "0010/c2d.jpg", 0),
    "d9-e": (817, "0817/d9e.jpg", 0),
    "f0-b": (9, "0009/f0b.jpg", 1),
}


@pytest.fixture
def nabirds(tmp_path: Path) -> Path:
    """NABirds: three classes of six nodes, one training and one test image of each."""
    root = tmp_path / "nabirds"
    for number, (_, path, _) in enumerate(BIRDS.values()):
        save(root / "images" / path, 40 * number)
    (root / "images.txt").write_text("".join(f"{name} {path}\n" for name, (_, path, _) in BIRDS.items()))
    (root / "image_class_labels.txt").write_text("".join(f"{name} {c}\n" for name, (c, _, _) in BIRDS.items()))
    (root / "train_test_split.txt").write_text("".join(f"{name} {part}\n" for name, (_, _, part) in BIRDS.items()))
    names = {817: "Bald Eagle (Adult, subadult)", 9: "Wood Duck", 10: "Mallard", 0: "Birds", 1: "Ducks", 2: "Hawks"}
    (root / "classes.txt").write_text("".join(f"{number} {name}\n" for number, name in names.items()))
    (root / "hierarchy.txt").write_text("1 0\n2 0\n9 1\n10 1\n817 2\n")
    return root


Annotation = tuple[int, int, float]  # image, category, area
COCO_CATEGORIES = {18: "dog", 1: "person", 13: "stop sign", 90: "toothbrush"}
COCO_VAL: dict[int, list[Annotation]] = {  # by image; 25 has no annotation
    42: [(42, 18, 1023.9), (42, 18, 1024.0), (42, 1, 9216.0)],
    9: [(9, 90, 9215.9)],
    25: [],
    581929: [(581929, 1, 0.5), (581929, 13, 1e5), (581929, 1, 2e3)],
}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO 2014: four validation images, one of them without annotations, and two for training."""
    root = tmp_path / "coco"
    make_coco(root, "val2014", COCO_VAL)
    make_coco(root, "train2014", {7: [(7, 1, 50.0)], 8: [(8, 18, 5000.0)]})
    return root


@pytest.fixture
def coco_of() -> Callable[..., Path]:
    """COCO with a part that the test describes."""
    return make_coco


def make_coco(root: Path, part: str, images: dict[int, list[Annotation]], categories: Any = COCO_CATEGORIES) -> Path:
    """A part of COCO as it is handed out; returns its annotation file."""
    names = {number: f"COCO_{part}_{number:012d}.jpg" for number in images}
    for place, number in enumerate(images):
        save(root / part / names[number], 30 * place)
    listed = [found for of_image in images.values() for found in of_image]
    content = {
        "info": {"year": 2014},
        "images": [{"license": 3, "file_name": name, "height": 6, "id": number} for number, name in names.items()],
        "licenses": [{"id": 1}],
        "annotations": [annotation(place, *found) for place, found in enumerate(reversed(listed))],
        "categories": [{"supercategory": "x", "id": number, "name": name} for number, name in categories.items()],
    }
    path = root / f"annotations/instances_{part}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def annotation(place: int, image: int, category: int, area: float) -> dict[str, Any]:
    """One annotation; every third is a crowd, which has counts instead of an outline."""
    crowd = place % 3 == 2
    outline = {"counts": [3, 5], "size": [6, 9]} if crowd else [[1.5, 2e-1, 3, 4.25], [0, 0, 1, 1, -2.0, 1]]
    return {
        "segmentation": outline, "area": area, "iscrowd": int(crowd), "image_id": image,
        "bbox": [0.0, 0.0, 1.5, 2.0], "category_id": category, "id": 900 + place,
    }  # fmt: skip


NUSWIDE = """filepath,label,split_name
images/0003_c.jpg,"['sky', 'clouds']",val
images/0001_a.jpg,"['sky']",train
images/0002_b.jpg,"['person', 'clouds', ""boat's""]",val
images/0000_d.jpg,['water'],train
"""


@pytest.fixture
def nuswide(tmp_path: Path) -> Path:
    """NUS-WIDE in the layout of Alibaba-MIIL: two images of each split, five names."""
    root = tmp_path / "nuswide"
    for number, line in enumerate(NUSWIDE.splitlines()[1:]):
        save(root / line.split(",")[0], 50 * number)
    (root / "nus_wid_data.csv").write_text(NUSWIDE)
    return root


Files = Sequence[tuple[str, bytes]]


@pytest.fixture
def shard() -> Callable[[Path, Files], Path]:
    """Writes a tar archive of files in order."""

    def made(path: Path, files: Files, mode: str = "w:") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for name, content in files:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return path

    return made


@pytest.fixture
def encoded() -> Callable[[int], bytes]:
    """The bytes of a PNG that holds a number."""

    def made(number: int) -> bytes:
        content = io.BytesIO()
        Image.new("RGB", (9, 6), (number, 80, 160)).save(content, "PNG")
        return content.getvalue()

    return made
