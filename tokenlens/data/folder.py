"""Any folder of images, with or without class subfolders.

Where the folder has a subfolder named after the split (`val`, also `valid` and `validation`), only that one is read.
The subfolders are the classes; images that lie beside them, and those of a flat folder, have the label -1. Names that
start with a dot are skipped, links are followed, and a link back to a folder above it is not.

`limit` takes images evenly spaced over the sorted list: the classes keep their proportions, and all of equal size
show up as soon as there are as many images as classes.

Every chosen image is decoded once when the set is opened, so that nothing fails hours into a run. One that cannot be
read is an error that names it, or, with `skip_bad`, is left out (never replaced by another) and named in `bad`.
"""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tokenlens.data.picture import read_rgb
from tokenlens.errors import BadInput

EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .avif".split())
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
NOT_CLASSES = frozenset({"__MACOSX", "@eaDir"})  # what archivers and network drives leave behind
WORKERS = 2  # Pillow decodes outside the interpreter's lock; a large image takes up to half a gigabyte in each
BAR_FROM = 1000  # files; below, the check is over before a bar would help


class BadImage(BadInput):
    """One file that cannot be read as an image."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be read as an image ({reason}): mend or remove it, or pass --skip-bad")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        return BadImage, (self.path, self.reason)  # so that it survives the way out of a worker process


@dataclass(frozen=True)
class FolderSet:
    """Images of a folder, in the order of their ids; `bad` holds (id, reason) of those that were left out."""

    name: str
    split: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    files: tuple[str, ...] = field(repr=False)
    labels: tuple[int, ...] = field(repr=False)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image.Image:
        """Return one image: RGB, upright, first frame, transparency on white; raises `BadImage`."""
        with _without_pillows_warnings():
            return _read(self.files[index])

    def label(self, index: int) -> int:
        """Return the index into `classes`, or -1 where the folder does not tell."""
        return self.labels[index]

    def mask(self, index: int) -> None:
        """Return None: a folder knows nothing of objects."""
        return None


def open_folder(
    path: str, split: str = "val", limit: int | None = None, skip_bad: bool = False, check: bool = True
) -> FolderSet:
    """Open a folder of images as an image set.

    Args:
        path: the folder; `~` is expanded.
        split: which of the folder's `train`, `val`, `test` to read, where it has them; otherwise only recorded.
        limit: at most so many images, evenly spaced over the sorted list; None for all.
        skip_bad: leave out the images that cannot be read (they are listed in `bad`) instead of refusing.
        check: decode every chosen image now; without, a bad one is met only when it is asked for.

    Returns:
        The set; its ids are POSIX paths relative to `path`, the split's subfolder included.

    Raises:
        BadInput: no such folder, no images, no such split, or images that cannot be read.
    """
    if not path:
        raise BadInput("the folder's path is empty: write folder:PATH, as in folder:./photos")
    if limit is not None and limit < 1:
        raise BadInput(f"a limit of {limit} leaves no image: ask for 1 or more")
    root = Path(path).expanduser().resolve()
    if not root.exists():
        raise BadInput(f"there is no folder {root}: check the path")
    if not root.is_dir():
        raise BadInput(f"{root} is a file and not a folder of images: give the folder that it lies in")
    top = _split_folder(root, split)
    found = sorted((file.relative_to(root).as_posix(), str(file)) for file in _walk(top, ()))
    if not found:
        raise BadInput(f"{top} holds no images: files that end in {' '.join(sorted(EXTENSIONS))} are read")
    classes = _classes(top, [Path(file) for _, file in found])
    if limit is not None and limit < len(found):
        found = [found[i * len(found) // limit] for i in range(limit)]
    with _without_pillows_warnings():
        good, bad = _check(found) if check else (found, [])
    if bad and (not skip_bad or not good):
        raise BadInput(_complaint(root, bad, len(found)))
    number = {name: i for i, name in enumerate(classes)}
    labels = tuple(number.get(_class_of(top, Path(file)), -1) for _, file in good)
    ids = tuple(_text(name) for name, _ in good)
    return FolderSet(f"folder:{root}", split, classes, ids, tuple(file for _, file in good), labels, bad)


def _split_folder(root: Path, split: str) -> Path:
    for name in SPLITS.get(split, (split,)):
        if (root / name).is_dir():
            return root / name
    folders = {entry.name for entry in _listing(root) if entry.is_dir() and not _hidden(entry.name)}
    others = sorted(s for s, names in SPLITS.items() if folders & set(names))
    if others and folders <= {name for names in SPLITS.values() for name in names}:
        # otherwise `train` and `test` would be taken for two classes
        raise BadInput(f"{root} has the splits {', '.join(others)} and not {split}: pass --split {others[-1]}")
    return root


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(f"{folder} cannot be listed ({error.strerror}): check its permissions") from None


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in NOT_CLASSES


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Yield every image file below; dangling links count as files, so that they are named and not lost."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _listing(folder):
        if _hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, (*above, real))
        elif Path(entry.name).suffix.lower() in EXTENSIONS and (entry.is_file() or entry.is_symlink()):
            yield folder / entry.name


def _class_of(top: Path, file: Path) -> str:
    parts = file.relative_to(top).parts
    return parts[0] if len(parts) > 1 else ""


def _classes(top: Path, files: list[Path]) -> tuple[str, ...]:
    """All subfolders, the empty ones too (so that numbers agree between splits); none if every image lies beside."""
    if not any(_class_of(top, file) for file in files):
        return ()
    return tuple(entry.name for entry in _listing(top) if entry.is_dir() and not _hidden(entry.name))


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()  # file names may hold bytes that no store can write


@contextmanager
def _without_pillows_warnings() -> Iterator[None]:
    """Pillow warns of odd metadata and of merely large images: neither costs a pixel."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _read(file: str) -> Image.Image:
    try:
        return read_rgb(file)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
        raise BadImage(file, _reason(file, error)) from error


def _reason(file: str, error: Exception) -> str:
    if not Path(file).exists():  # a link that leads nowhere, or a file removed since
        return "there is no file behind this name"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if Path(file).stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels to be opened safely; scale it down"
    return " ".join(str(error).split()) or type(error).__name__


def _check(found: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Decode every file once; return the (name, file) that can be read and the (id, reason) that cannot."""
    from tqdm import tqdm

    good, bad = [], []
    pool = ThreadPoolExecutor(WORKERS)
    try:
        reasons = pool.map(_fault, (file for _, file in found))
        for item, reason in tqdm(
            zip(found, reasons, strict=True), "checking images", len(found), disable=len(found) <= BAR_FROM, leave=False
        ):
            if reason is None:
                good.append(item)
            else:
                bad.append((_text(item[0]), reason))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the rest
    return good, bad


def _fault(file: str) -> str | None:
    try:
        _read(file)
    except BadImage as error:
        return error.reason
    return None


def _complaint(root: Path, bad: list[tuple[str, str]], count: int) -> str:
    named = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    fact = f"{len(bad)} of {count} images in {root} cannot be read ({named}{more})"
    if len(bad) == count:
        return f"{fact}, which leaves none: mend them or give another folder"
    return f"{fact}: mend or remove them, or pass --skip-bad to leave them out"
