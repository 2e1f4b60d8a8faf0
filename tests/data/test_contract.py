"""What holds for every registered data set, ours or another package's: the registry names them, nothing else does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokenlens.data import DATA_SETS, ImageSet, check_apart, content_of, open_data, register
from tokenlens.data.folder import text
from tokenlens.errors import BadInput, UnknownName

from .conftest import save

Make = Callable[[str], Path | None]
KINDS = [pytest.param(kind, marks=pytest.mark.long if kind == "hf" else ()) for kind in DATA_SETS]  # slow


def drawn(kind: str) -> bool:
    """Whether a set is to be had as it is written, without files of one's own."""
    try:
        return len(open_data(DATA_SETS[kind].written, limit=2)) > 0
    except BadInput:
        return False


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Makes a small copy of a set; None where it lies in no folder."""

    def folder(root: Path) -> Path:
        for number, part in enumerate(("train/cat", "train/dog", "val/cat", "val/dog")):
            save(root / part / f"{number}.png", number)
        return root

    def made(kind: str) -> Path | None:
        if drawn(kind):
            return None
        if kind in ("folder", "hf"):
            return folder(tmp_path / "photos")
        if kind == "imagenet":
            return Path(request.getfixturevalue("imagenet_of")(tmp_path / "imagenet", "solution"))
        if kind == "wds":
            shard, encoded = (request.getfixturevalue(name) for name in ("shard", "encoded"))
            for number, part in enumerate(("train", "val")):
                files = [("a.png", encoded(number)), ("a.cls", b"0"), ("b.png", encoded(9)), ("b.cls", b"1")]
                shard(tmp_path / "shards" / f"{part}-0000.tar", files)
            return tmp_path / "shards"
        try:
            return Path(request.getfixturevalue(kind))
        except pytest.FixtureLookupError:
            pytest.skip(f"nobody wrote a small copy of {kind}")

    return made


def spec(kind: str, root: Path | None) -> str:
    if root is None:
        return DATA_SETS[kind].written
    return f"{kind}:{root}/{{split}}-0000.tar" if kind == "wds" else f"{kind}:{root}"


def opened(kind: str, root: Path | None) -> dict[str, ImageSet]:
    return {split: open_data(spec(kind, root), split, 20) for split in DATA_SETS[kind].splits if split != "test"}


@pytest.mark.parametrize("kind", DATA_SETS)
def test_a_set_keeps_what_its_facts_say(kind: str, make: Make) -> None:
    facts, root = DATA_SETS[kind], make(kind)
    assert facts.card and len(facts.card) <= 120 and facts.written.startswith(f"{kind}:") and facts.ids
    for split, data in opened(kind, root).items():
        assert data.split == split and len(data) == len(data.ids) > 0
        assert len(set(data.ids)) == len(data.ids) and not any(
            name.isspace() or text(name) != name for name in data.ids
        )
        assert facts.labels == "one or several" or data.multi_label == (facts.labels == "several")
        assert (data.mask(0) is not None) == facts.masks
        label, image = data.label(0), data.image(0)
        assert image.mode == "RGB" and image.size > (1, 1)
        assert np.shape(label) == ((len(data.classes),) if data.multi_label else ())


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_stable_and_splits_apart(kind: str, make: Make) -> None:
    root = make(kind)
    sets, again = opened(kind, root), opened(kind, root)
    if "train" in sets:
        check_apart(sets["train"], sets["val"])
    for split, data in sets.items():
        assert content_of(data) == content_of(again[split])
        one: Any = open_data(spec(kind, root), split, 1)
        assert set(one.ids) < set(data.ids)  # a limit renames nothing


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_at_two_places_are_one_set(kind: str, make: Make, tmp_path: Path) -> None:
    root = make(kind)
    if root is None:
        pytest.skip(f"{kind} lies nowhere")
    here, there = opened(kind, root), opened(kind, Path(shutil.copytree(root, tmp_path / "elsewhere" / "copy")))
    for split, data in here.items():
        assert data.ids == there[split].ids and content_of(data) == content_of(there[split])
        for index in range(len(data)):
            assert np.array_equal(data.image(index), there[split].image(index))


def test_what_is_not_registered_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no data set called 'folde:/photos'; did you mean folder:PATH"):
        open_data("folde:/photos")
    with pytest.raises(BadInput, match=r"elsewhere\.mine registers a data set 'coco', and .*open_coco has that name"):

        def mine() -> None: ...

        mine.__module__, mine.__qualname__ = "elsewhere", "mine"
        register("coco", "coco:X")(mine)


MINE = '''"""Greys: pictures of one grey each."""
import numpy as np
from PIL import Image


class Greys:
    name, classes, multi_label = "greys:4", ("dark", "light"), False

    def __init__(self, count, split):
        self.split, self.ids = split, [f"{split}/{i}" for i in range(count)]

    def __len__(self):
        return len(self.ids)

    def image(self, index):
        return Image.new("RGB", (32, 32), (index, index, index))

    def label(self, index):
        return index % 2

    def mask(self, index):
        return None


def open_greys(where, split="val", limit=None, skip_bad=False):
    return Greys(min(int(where), limit or 10**9), split)
'''


@pytest.mark.long
def test_a_set_of_another_package_is_like_our_own(tmp_path: Path) -> None:
    info = tmp_path / "greys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tokenlens.data]\ngreys = greys:open_greys\n")
    (tmp_path / "greys.py").write_text(MINE)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from tokenlens.cli import main; main()", *words]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)

    done = typed("extract", "--method", "topk", "--data", "greys:4", "--weights", "random")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs").is_dir()
    assert "did you mean greys:WHERE" in typed("extract", "--data", "grays:4").stderr
