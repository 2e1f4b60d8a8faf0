"""`tokenlens fid`: what it says of pictures whose quality is known, and clean-fid's features."""

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tokenlens.data import open_data
from tokenlens.errors import BadInput, UnknownName
from tokenlens.records import tables
from tokenlens.synthesis import judged
from tokenlens.synthesis.drawn import ABOUT, TIMINGS, about_of, row_of, save, write_about, write_rows
from tokenlens.synthesis.judged import INCEPTION, Quality, inception, pictures_of, resized


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of the set itself, and as many that are noise, as `synthesize` leaves them."""
    out, data = tmp_path_factory.mktemp("images"), open_data("embedded:shapes", "val", 20)
    for name in ("same", "noise"):
        (out / name).mkdir()
        rows = []
        for number in range(20):
            noise = np.random.default_rng(number).integers(0, 255, (112, 112, 3), dtype=np.uint8)
            image = data.image(number) if name == "same" else Image.fromarray(noise)
            file = f"{number % 10}_{number // 10}.png"
            save(image, out / name / file)
            rows.append(row_of(out / name, picture=file, prompt="", seed=number, seconds=2, deciding=1, flagged=0))
        write_rows(out / name, rows)
        write_about(out / name, {"prompts": "shapes", "method": name, "ratio": 0.5, "seconds": 2.0, "pictures": 20})
    return out


def test_good_pictures_are_told_from_bad_ones(drawn: Path, tmp_path: Path) -> None:
    lines = list(Quality("embedded:shapes", [str(drawn)], limit=20, device="cpu", out=tmp_path).run())
    rows = tables.read(tmp_path, "quality").set_index("method")
    same, noise = rows.loc["same"], rows.loc["noise"]
    assert same["fid"] == pytest.approx(0, abs=1e-3) and noise["fid"] > 1
    assert (same["precision"], same["recall"]) == (1, 1)
    assert same["recognised"] >= 0.9 > 0.5 > noise["recognised"]
    assert (same["ratio"], same["seconds"], same["n_drawn"], same["features"]) == (0.5, 2.0, 20, "nano")
    assert len(lines) == 2 and "recognised" in lines[0] and "0.00, precision 1.000" in lines[1]


@pytest.mark.parametrize("file", ["3_1.png", TIMINGS, ABOUT])
def test_a_changed_bit_is_never_judged(drawn: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(drawn / "same", tmp_path / "same")
    content = bytearray((folder / file).read_bytes())
    for place in range(100, len(content), len(content) // 7):
        (folder / file).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(BadInput, match=file):
            about_of(folder)
    (folder / file).write_bytes(content)
    (folder / "0_0.png").unlink()  # one that its owner has taken away is no damage
    assert about_of(folder)["pictures"] == 20
    image = (folder / "0_1.png").rename(folder / "0_2.png")
    with pytest.raises(BadInput, match=r"0_2.png is in no row"):
        about_of(folder)
    image.unlink()
    (folder / ABOUT).unlink()  # not all are drawn yet, or it has gone
    with pytest.raises(BadInput, match=r"same has no about.json, .* again that draws them"):
        list(Quality("embedded:shapes", [str(tmp_path)], out=tmp_path / "results").run())


def test_pictures_are_files_that_no_program_reads(drawn: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(drawn / "same", tmp_path / "same", ignore=shutil.ignore_patterns(ABOUT, TIMINGS))
    os.mkfifo(folder / "pipe.png")  # would be waited for
    assert len(list(pictures_of(str(folder), None, None))) == 20
    image = Image.open(folder / "0_0.png")
    image.save(folder / "0_0.png", format="EPS")  # which Pillow hands to Ghostscript
    with pytest.raises(BadInput, match=r"0_0.png cannot be read as a picture"):
        list(pictures_of(str(folder), None, None))


class Layers(nn.Module):
    """As many features as Inception has, of pictures of its size."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d((16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.mix(x))  # type: ignore[no-any-return]


class Stub(nn.Module):
    """Of which clean-fid takes the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


def test_features_are_clean_fids(drawn: Path, tmp_path: Path) -> None:
    cleanfid = pytest.importorskip("cleanfid.fid", reason="clean-fid is not installed")
    torch.manual_seed(0)
    torch.jit.script(Stub()).save(tmp_path / INCEPTION)
    look = inception(tmp_path / INCEPTION, torch.device("cpu"))
    images = [image for _, image in pictures_of(str(drawn / "same"), None, 3)]
    pixels = torch.from_numpy(np.stack([resized(image) for image in images])).permute(0, 3, 1, 2)
    ours, _ = look(pixels.contiguous())
    files = sorted(str(path) for path in (drawn / "same").glob("*.png"))[:3]
    theirs = cleanfid.get_files_features(
        files, lambda x: look(x)[0], num_workers=0, device=torch.device("cpu"), verbose=False
    )
    assert np.abs(ours.numpy() - theirs).max() < 1e-5


def test_the_first_of_each_class(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a/3.png", "a/4.jpg", "a/5.txt", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name, format="PNG")
    assert [name for name, _ in pictures_of(str(tmp_path), 1, None)] == ["c.png", "3.png", "1.png"]
    assert [name for name, _ in pictures_of(str(tmp_path), None, 2)] == ["c.png", "3.png"]


def test_offline_it_says_where_the_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(judged.torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(judged.torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(BadInput, match=r"cannot be fetched .*no network.*fetch https://.* --weights"):
        inception(None, torch.device("cpu"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"features": "vgg"}, "no kind of features called 'vgg'"),
        ({"drawn": ["nowhere"]}, "there is no folder of pictures nowhere"),
        ({"real": "nowhere", "features": "nano"}, "there is no folder of pictures nowhere"),
        ({"features": "inception", "weights": Path("here.pt")}, "is not called inception"),
        ({"features": "inception", "weights": Path(INCEPTION)}, "there is no file inception"),
        ({"limit": 1}, "holds 1 pictures"),
    ],
)
def test_what_cannot_be_is_refused(words: dict[str, Any], sentence: str, drawn: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "real": "embedded:shapes",
        "drawn": [str(drawn)],
        "device": "cpu",
        "out": tmp_path,
        **words,
    }
    with pytest.raises((BadInput, UnknownName), match=sentence):
        list(Quality(**{**asked, **words}).run())


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"broken\.png cannot be read as a picture"):
        list(pictures_of(str(tmp_path), None, None))
