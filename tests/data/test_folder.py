"""Any folder of images: what is found, how it is read, and what is refused."""

import errno
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tokenlens.data import open_data
from tokenlens.data.folder import BadImage, open_folder
from tokenlens.errors import BadInput

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path: Path, colour: Any = RED, mode: str = "RGB", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 4), colour).save(path, **options)
    return path


def only(folder: Path) -> np.ndarray:
    """Read the one image of a folder as (H, W, 3) uint8."""
    images = open_folder(str(folder))
    assert len(images) == 1
    image = images.image(0)
    assert image.mode == "RGB"
    return np.asarray(image)


def colour_of(folder: Path) -> tuple[int, ...]:
    return tuple(int(c) for c in only(folder)[0, 0])


def png(path: Path, depth: int, kind: int, row: bytes, width: int) -> Path:
    """Write a PNG of one row by hand: Pillow itself cannot write deep colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    for name in ("dog/b.png", "cat/a.PNG", "cat/deep/c.png", "dog/10.png", "dog/9.png"):
        save(tmp_path / name)
    return tmp_path


def test_ids_labels_and_classes_follow_the_sorted_paths(two_classes: Path) -> None:
    images = open_folder(str(two_classes))
    assert images.ids == ("cat/a.PNG", "cat/deep/c.png", "dog/10.png", "dog/9.png", "dog/b.png")
    assert images.classes == ("cat", "dog")
    assert [images.label(i) for i in range(len(images))] == [0, 0, 1, 1, 1]
    assert images.name == f"folder:{two_classes.resolve()}" and images.split == "val"
    assert images.bad == []


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    images = open_folder(str(tmp_path))
    assert (images.ids, images.classes, images.label(0)) == (("a.jpg",), (), -1)


def test_images_beside_the_class_folders_have_no_label(two_classes: Path) -> None:
    save(two_classes / "aside.png")
    images = open_folder(str(two_classes))
    assert images.label(images.ids.index("aside.png")) == -1


def test_an_empty_class_folder_keeps_its_number(two_classes: Path) -> None:
    (two_classes / "cow").mkdir()
    images = open_folder(str(two_classes))
    assert images.classes == ("cat", "cow", "dog") and images.label(images.ids.index("dog/9.png")) == 2


def test_the_split_chooses_the_subfolder_and_stays_in_the_ids(tmp_path: Path) -> None:
    save(tmp_path / "train" / "cat" / "1.png")
    save(tmp_path / "validation" / "cat" / "1.png", GREEN)
    assert open_folder(str(tmp_path), "train").ids == ("train/cat/1.png",)
    assert open_folder(str(tmp_path)).ids == ("validation/cat/1.png",)
    assert open_folder(str(tmp_path)).classes == ("cat",)


def test_a_split_that_is_not_there_is_not_read_as_classes(tmp_path: Path) -> None:
    save(tmp_path / "train" / "1.png")
    with pytest.raises(BadInput, match=r"has the splits train and not val: choose the split train"):
        open_folder(str(tmp_path))


def test_hidden_names_and_left_overs_are_skipped(two_classes: Path) -> None:
    before = open_folder(str(two_classes)).ids
    for name in (".x.png", ".cache/x.png", "__MACOSX/x.png", "dog/.b.png"):
        save(two_classes / name)
    assert open_folder(str(two_classes)).ids == before


def test_links_are_followed_and_loops_are_not(two_classes: Path) -> None:
    (two_classes / "dog" / "loop").symlink_to(two_classes)
    (two_classes / "hound").symlink_to(two_classes / "dog")
    images = open_folder(str(two_classes))
    assert images.classes == ("cat", "dog", "hound")
    assert len(images) == 8 and "hound/9.png" in images.ids


@pytest.mark.parametrize("limit", [2, 3, 5, 99])
def test_a_limit_is_spread_over_all_classes(tmp_path: Path, limit: int) -> None:
    for name in "ab":
        for i in range(4):
            save(tmp_path / name / f"{i}.png")
    images = open_folder(str(tmp_path), limit=limit)
    assert len(images) == min(limit, 8) and set(images.labels) == {0, 1}
    assert images.ids == open_folder(str(tmp_path), limit=limit).ids == tuple(sorted(set(images.ids)))


def test_cmyk_is_converted(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", (0, 255, 255, 0), "CMYK", quality=100)
    assert np.abs(np.subtract(colour_of(tmp_path), RED)).max() <= 3


@pytest.mark.parametrize("brightest", [32896, 65535])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str, brightest: int) -> None:
    ramp = np.array([[0, 257, brightest]], dtype=np.uint16)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    assert only(tmp_path)[0, :, 1].tolist() == [0, 1, brightest // 257]


def test_float_and_long_grey_is_scaled(tmp_path: Path) -> None:
    for name, values in {
        "unit.tif": np.array([[0, 0.2, 1]], dtype=np.float32),
        "byte.tif": np.array([[0, 51, 255]], dtype=np.float32),
        "long.tif": np.array([[0, 200_000, 1_000_000]], dtype=np.int32),
    }.items():
        Image.fromarray(values).save(tmp_path / name)
    images = open_folder(str(tmp_path))
    assert [np.asarray(images.image(i))[0, :, 0].tolist() for i in range(3)] == [[0, 51, 255]] * 3


@pytest.mark.parametrize(
    "values", [np.int16([0, 51, 255]), np.int16([0, 819, 4095]), np.float32([0, 819, 4095]), np.float32([-1, 51, 255])]
)
def test_what_was_stored_deeper_than_it_is_does_not_turn_black(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values[None]).save(tmp_path / "a.tif")
    assert only(tmp_path)[0, :, 1].tolist() == [0, 51, 255]


@pytest.mark.parametrize("values", [np.int16([-1000, 0, 400]), np.float32([-1, 0, 1]), np.float32([-2, -1, -1])])
def test_values_below_zero_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values[None]).save(tmp_path / "a.tif")
    with pytest.raises(BadInput, match=r"a\.tif: its values go down to -\d+, so what is black is not known"):
        open_folder(str(tmp_path))


def test_deep_colour_is_scaled(tmp_path: Path) -> None:
    png(tmp_path / "a.png", 16, 2, struct.pack(">6H", 0x8000, 0, 0xFFFF, 0x0100, 0x4000, 0), 2)
    assert only(tmp_path)[0].tolist() == [[128, 0, 255], [1, 64, 0]]


def test_deep_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    png(tmp_path / "a.png", 16, 4, struct.pack(">4H", 0, 0, 0x8000, 0xFFFF), 2)
    assert only(tmp_path)[0].tolist() == [[255] * 3, [128] * 3]


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    save(tmp_path / "rgba.png", (255, 0, 0, 0), "RGBA")
    save(tmp_path / "la.png", (0, 0), "LA")
    save(tmp_path / "half.webp", (0, 0, 0, 128), "RGBA", lossless=True)
    save(tmp_path / "rgb.png", RED, transparency=RED)
    images = open_folder(str(tmp_path))
    seen = {name: images.image(i).getpixel((0, 0)) for i, name in enumerate(images.ids)}
    assert seen == {"rgba.png": WHITE, "la.png": WHITE, "half.webp": (127, 127, 127), "rgb.png": WHITE}


@pytest.mark.parametrize("transparency", [None, 0, b"\x00\xff"])
def test_palettes(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    options: Any = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "a.png", **options)
    left = RED if transparency is None else WHITE
    assert only(tmp_path)[0].tolist() == [list(left), list(BLUE)]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert only(tmp_path)[0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_the_camera_wrote_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, :8, 0] = upright[:4, :, 1] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    side = upright.swapaxes(0, 1)
    stored = Image.fromarray(  # as the EXIF standard words it: where the first row and column are in the scene
        {
            1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
            5: side, 6: side[::-1], 7: side[::-1, ::-1], 8: side[:, ::-1],
        }[orientation].copy()
    )  # fmt: skip
    options: Any = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    seen = only(tmp_path)
    assert seen.shape == upright.shape and np.abs(seen.astype(int) - upright).max() < 16


def test_a_broken_exif_block_does_not_cost_the_image(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", GREEN, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.abs(np.subtract(colour_of(tmp_path), GREEN)).max() <= 3


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    options: Any = {"lossless": True} if suffix == "webp" else {}
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (6, 4), RED).save(file, save_all=True, append_images=[Image.new("RGB", (6, 4), BLUE)], **options)
    with Image.open(file) as image:
        assert len(list(ImageSequence.Iterator(image))) == 2
    assert colour_of(tmp_path) == RED


def broken(folder: Path) -> dict[str, str]:
    """Write one file of each kind of damage; what its reason must say, by name."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("cut.jpg", "cut.png", "cut.webp", "cut.bmp"):
        noise.save(folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:2000])
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    (folder / "self.png").symlink_to("self.png")
    os.mkfifo(folder / ".pipe")
    (folder / "pipe.png").symlink_to(".pipe")
    Image.new("1", (40_000, 5_000)).save(folder / "vast.png")
    (folder / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    return {
        "cut.bmp": "truncated", "cut.jpg": "truncated", "cut.png": "truncated", "cut.webp": "",
        "empty.jpg": "empty", "text.png": "not an image", "gone.jpg": "no file behind", "vast.png": "too many pixels",
        "script.png": "not an image", "self.png": "no file behind", "pipe.png": "a pipe",
    }  # fmt: skip


def test_every_kind_of_damage_is_named_and_left_out(tmp_path: Path) -> None:
    save(tmp_path / "good.png")
    reasons = broken(tmp_path)
    images = open_folder(str(tmp_path), skip_bad=True)
    assert images.ids == ("good.png",)
    assert {name for name, _ in images.bad} == set(reasons)
    for name, reason in images.bad:
        assert reason and reasons[name] in reason and "\n" not in reason


def test_damage_is_refused_in_one_sentence(tmp_path: Path) -> None:
    save(tmp_path / "good.png")
    broken(tmp_path)
    with pytest.raises(BadInput, match=r"^11 of 12 images in .* \(cut.bmp: .*; cut.jpg: .*; cut.png: .*; and 8 more\)"):
        open_folder(str(tmp_path))
    with pytest.raises(BadInput, match=r"or pass --skip-bad to leave them out$"):
        open_folder(str(tmp_path))


def test_only_what_the_limit_chose_is_checked(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    assert open_folder(str(tmp_path), limit=1).ids == ("a.png",)


def test_without_the_check_a_bad_file_is_met_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    images = open_folder(str(tmp_path), check=False)
    assert images.ids == ("a.png",)
    with pytest.raises(BadImage):
        images.image(0)


def test_nothing_good_left_is_refused_even_when_bad_ones_may_go(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(BadInput, match="which leaves none"):
        open_folder(str(tmp_path), skip_bad=True)


def test_a_file_that_goes_bad_later_is_named(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png")
    images = open_folder(str(tmp_path))
    file.write_bytes(b"")
    with pytest.raises(BadImage, match=r"a\.png cannot be read as an image \(the file is empty\)") as caught:
        images.image(0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason) == (str(file), "the file is empty") and str(again) == str(caught.value)
    assert pickle.loads(pickle.dumps(images)).ids == images.ids


def test_a_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python says it to anybody but root, who may enter all."""
    save(tmp_path / "a.png")

    def closed(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(
        BadInput, match=r"^/.* cannot be read \(Permission denied\): check the path and its permissions$"
    ):
        open_data(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: at / "none", "there is no folder"),
        (lambda at: save(at / "a.png"), "is a file and not a folder"),
        (lambda at: at, "holds no images: files that end in"),
    ],
)
def test_no_folder_a_file_and_no_images_are_refused(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        open_folder(str(make(tmp_path)))


def test_an_empty_path_and_no_images_asked_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="folder:PATH"):
        open_folder("")
    with pytest.raises(BadInput, match="limit must be at least 1 image, not 0"):
        open_data(f"folder:{tmp_path}", limit=0)


def test_a_name_that_is_not_utf8_can_still_be_written_down(tmp_path: Path) -> None:
    save(tmp_path / "a.png").rename(tmp_path / "a\udcff.png")
    images = open_folder(str(tmp_path))
    assert images.ids == ("a\\udcff.png",) and images.image(0).size == (6, 4)
    save(tmp_path / "of\udcff" / "b.png")
    images = open_folder(str(tmp_path))
    assert images.classes == ("of\\udcff",) and sorted(images.labels) == [-1, 0]
    assert images.dataset.startswith("folder:of-udcff-")


def test_reading_a_folder_imports_no_torch() -> None:
    code = "import sys, tokenlens.data.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
