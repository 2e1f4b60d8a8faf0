"""The same images at two places are one set, and other images under the same names are another."""

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tokenlens.data import dataset_of, open_data
from tokenlens.extraction.jobs import Job
from tokenlens.figures.select.runs import open_images
from tokenlens.records.store import open_runs


def images(root: Path, shift: int = 0) -> Path:
    for number, name in enumerate(("n01440764/a", "n01440764/b", "n01443537/a")):
        path = root / "val" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number + shift, 20), (90 * number, 5, 5)).save(path)
    return root


@pytest.mark.parametrize("kind", ["folder", "imagenet"])
def test_a_copy_is_the_same_set_and_other_images_are_not(tmp_path: Path, kind: str) -> None:
    one = images(tmp_path / "one/birds")
    copy = shutil.copytree(one, tmp_path / "scratch/job7")
    other = images(tmp_path / "two/birds", shift=50)
    names = [dataset_of(open_data(f"{kind}:{root}")) for root in (one, copy, other)]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith(f"{kind}:n01440764-n01443537-") and str(tmp_path) not in names[0]


def test_the_set_is_the_same_whatever_part_of_it_is_taken(tmp_path: Path) -> None:
    root = images(tmp_path)
    whole = dataset_of(open_data(f"folder:{root}"))
    assert dataset_of(open_data(f"folder:{root}", limit=2)) == whole
    (root / "val/n01440764/bad.png").write_bytes(b"none")
    left = [dataset_of(open_data(f"folder:{root}", limit=limit, skip_bad=True)) for limit in (None, 4)]
    assert left[0] == left[1] != whole


def test_a_set_without_files_is_called_as_it_was_opened() -> None:
    assert dataset_of(open_data("embedded:shapes", limit=1)) == "embedded:shapes"


@pytest.mark.parametrize("kind", ["wds", "hf"])
def test_shards_and_folders_of_the_library_are_known_by_what_they_hold(tmp_path: Path, kind: str) -> None:
    specs = []
    for place, shift in (("one", 0), ("two", 0), ("three", 50)):
        root = images(tmp_path / place, shift)
        specs.append(f"hf:{root}")
        if kind == "wds":
            with tarfile.open(root / "x.tar", "w") as archive:
                for path in sorted(root.rglob("*.png")):
                    entry = tarfile.TarInfo(f"{path.parent.name}-{path.name}")
                    entry.size = path.stat().st_size
                    archive.addfile(entry, io.BytesIO(path.read_bytes()))
            specs[-1] = f"wds:{root}/x.tar"
    split = "val" if kind == "wds" else "validation"
    names = [dataset_of(open_data(spec, split)) for spec in specs]
    assert names[0] == names[1] != names[2] and names[0].startswith(f"{kind}:")
    assert dataset_of(open_data(specs[0], split, limit=1)) == names[0]


def test_a_copy_gives_the_same_run_with_its_place_beside_it(tmp_path: Path) -> None:
    one = images(tmp_path / "one")
    copy = shutil.copytree(one, tmp_path / "two")

    def folders(root: Path, method: str) -> list[Path]:
        job = Job(methods=[method], model="nano", weights="random", data=f"folder:{root}", out=tmp_path / "runs")
        return [result.folder for _, result in replace(job, progress=False).results()]

    assert folders(one, "topk") == folders(copy, "topk") != folders(copy, "evit")
    runs = open_runs(tmp_path / "runs")
    assert len(runs) == 2 and len({(run.attrs["dataset"], run.attrs["content"]) for run in runs}) == 1
    assert {run.attrs["place"] for run in runs} == {f"folder:{one}", f"folder:{copy}"}
    assert [open_images(run).ids for run in runs] == [tuple(run["image"].values) for run in runs]
