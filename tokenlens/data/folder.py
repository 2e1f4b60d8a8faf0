"""Any folder of images, with or without class subfolders.

Where the folder has a subfolder named after the split (`val`, also `valid` and `validation`), only that one is read.
The subfolders are the classes; images that lie beside them, and those of a flat folder, have the label -1. Names that
start with a dot are skipped, links are followed, and a link back to a folder above it is not.

Every chosen image is decoded once when the set is opened, so that nothing fails hours into a run.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tokenlens.data.files import BadImage, FileSet, root_of
from tokenlens.data.registry import register
from tokenlens.data.selection import chosen, unreadable
from tokenlens.errors import BadInput

__all__ = ["BadImage", "class_folders", "class_of", "image_files", "listing", "open_folder", "split_folder", "text"]

EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .avif".split())
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
NOT_CLASSES = frozenset({"__MACOSX", "@eaDir"})  # what archivers and network drives leave behind


@register("folder", "folder:PATH", ids="paths below the folder")
def open_folder(
    path: str, split: str = "val", limit: int | None = None, skip_bad: bool = False, check: bool = True
) -> FileSet:
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
    root = root_of(path, "folder")
    top = split_folder(root, split)
    names = sorted((file.relative_to(root).as_posix(), file) for file in image_files(top))
    classes = class_folders(top) if any(class_of(top, file) for _, file in names) else ()
    number = {name: i for i, name in enumerate(classes)}
    found = FileSet(
        f"folder:{root}",
        split,
        classes,
        tuple(text(name) for name, _ in names),
        tuple(str(file) for _, file in names),
        np.array([number.get(class_of(top, file), -1) for _, file in names], np.int32),
    )
    return chosen(found, root, limit, skip_bad, unreadable if check else None)


def split_folder(root: Path, split: str) -> Path:
    """The subfolder of a split, or the folder itself where it has none for any split."""
    for name in SPLITS.get(split, (split,)):
        if (root / name).is_dir():
            return root / name
    folders = {entry.name for entry in listing(root) if entry.is_dir() and not _hidden(entry.name)}
    others = sorted(s for s, names in SPLITS.items() if folders & set(names))
    if others and folders <= {name for names in SPLITS.values() for name in names}:
        # otherwise `train` and `test` would be taken for two classes
        raise BadInput(f"{root} has the splits {', '.join(others)} and not {split}: choose the split {others[-1]}")
    return root


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name. Raises BadInput where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(f"{folder} cannot be listed ({error.strerror}): check its permissions") from None


def image_files(top: Path) -> list[Path]:
    """Every image file below a folder. Raises BadInput where there is none."""
    found = list(_walk(top, ()))
    if not found:
        raise BadInput(f"{top} holds no images: files that end in {' '.join(sorted(EXTENSIONS))} are read")
    return found


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in NOT_CLASSES


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Yield every image file below; dangling links count as files, so that they are named and not lost."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in listing(folder):
        if _hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, (*above, real))
        elif Path(entry.name).suffix.lower() in EXTENSIONS and (entry.is_file() or entry.is_symlink()):
            yield folder / entry.name


def class_of(top: Path, file: Path) -> str:
    """The class folder that a file is in; "" where it lies beside them."""
    parts = file.relative_to(top).parts
    return parts[0] if len(parts) > 1 else ""


def class_folders(top: Path) -> tuple[str, ...]:
    """All subfolders by name, the empty ones too, so that numbers agree between splits."""
    return tuple(entry.name for entry in listing(top) if entry.is_dir() and not _hidden(entry.name))


def text(name: str) -> str:
    """A file's name as text: it may hold bytes that no store can write."""
    return name.encode("utf-8", "backslashreplace").decode()
