"""What the names of folders and files say: of which split, in which order, or that they are nobody's images."""

import re
from collections import Counter
from collections.abc import Iterable

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
WORDS = {
    "train": {*SPLITS["train"], "training", "trn"},
    "val": {*SPLITS["val"], "dev", "eval", "evaluation"},
    "test": {*SPLITS["test"], "testing", "tst"},
}
FILLERS = {"set", "images", "imgs", "image", "img", "data", "dataset", "split", "seg", "full", "all"}
EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .avif".split())
UNREAD = frozenset(
    ".heic .heif .jxl .tga .psd .svg .ico .exr .hdr .dcm .dng .cr2 .cr3 .nef .arw .orf .raf .rw2".split()
)
# what archivers, file systems, network drives and Python leave behind
LEFT_OVERS = frozenset(
    {"__macosx", "lost+found", "$recycle.bin", "system volume information", "#recycle", "__pycache__"}
)


def is_left_over(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by a machine: no class and no image."""
    return name.startswith((".", "@")) or name.lower() in LEFT_OVERS


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key to sort by as timm does: numbers by their value, and letters without regard to case."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def split_of(name: str) -> str | None:
    """The split that a folder's name says, in whatever words: Training, val2017, seg_test; None where it says none."""
    words = set(re.findall(r"[a-z]+", name.lower())) - FILLERS
    return next((split for split, known in WORDS.items() if len(words) == 1 and words <= known), None)


def unread(names: Iterable[str]) -> str:
    """What to tell of files that are images of kinds that are not read; "" where there are none."""
    kinds = Counter(ending for name in names if (ending := f".{name.rpartition('.')[2].lower()}") in UNREAD)
    if not kinds:
        return ""
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (
        f"left out {sum(kinds.values())} images of kinds that are not read ({listed}): convert them to have them read"
    )
