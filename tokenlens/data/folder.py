"""Any folder of images, with or without class subfolders.

Where the folder has a subfolder named after the split (`val`, also `valid`, `val2017`, `dev` and the like), only that
one is read. The subfolders are the classes, numbered in natural order as by timm (10 after 9); images that lie beside
them, and those of a flat folder, have the label -1. Hidden names and what file systems leave behind are skipped, links
are followed, and a link back to a folder above it is not.

Every chosen image is decoded once when the set is opened, so that nothing fails hours into a run.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tokenlens.data.files import BadImage, FileSet, root_of
from tokenlens.data.names import EXTENSIONS, SPLITS, is_left_over, natural_order, split_of, unread
from tokenlens.data.registry import register
from tokenlens.data.selection import chosen, unreadable
from tokenlens.errors import BadInput

__all__ = ["BadImage", "class_folders", "class_of", "image_files", "listing", "open_folder", "split_folder", "text"]


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
    top, said = split_folder(root, split)
    files, missed = image_files(top)
    names = sorted((file.relative_to(root).as_posix(), file) for file in files)
    classes = class_folders(top) if any(class_of(top, file) for _, file in names) else ()
    number = {name: i for i, name in enumerate(classes)}
    found = FileSet(
        f"folder:{root}",
        split,
        classes,
        tuple(text(name) for name, _ in names),
        tuple(str(file) for _, file in names),
        np.array([number.get(class_of(top, file), -1) for _, file in names], np.int32),
        notes=tuple(note for note in (said, missed) if note),
    )
    return chosen(found, root, limit, skip_bad, unreadable if check else None)


def split_folder(root: Path, split: str) -> tuple[Path, str]:
    """The subfolder of a split, or the folder itself where it has none for any split; and what to tell of it, or "".

    The plain names go first, whatever lies beside them. Names in other words, such as Training or val2017, are those of
    splits where the folder has nothing else, or those of two splits: `train` alone may be a class beside `bus`.
    """
    for name in SPLITS.get(split, (split,)):
        if (root / name).is_dir():
            return root / name, ""
    names = [entry.name for entry in listing(root) if _is_folder(entry) and not is_left_over(entry.name)]
    said = {name: found for name in names if (found := split_of(name))}
    if not said or (len(said) < len(names) and len(set(said.values())) < 2):
        return root, ""
    mine = [name for name, found in said.items() if found == split]
    if len(mine) == 1:
        return root / mine[0], f"{root / mine[0]} is read as the split {split}"
    if mine:
        raise BadInput(f"{root} has several folders for the split {split}, {', '.join(mine)}: keep one of them there")
    # otherwise `train` and `test` would be taken for two classes
    others = sorted(set(said.values()))
    raise BadInput(f"{root} has the splits {', '.join(others)} and not {split}: choose the split {others[-1]}")


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name. Raises BadInput where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(f"{folder} cannot be listed ({error.strerror}): check its permissions") from None


def image_files(top: Path) -> tuple[list[Path], str]:
    """Every image file below a folder, and what to tell of others. Raises BadInput where there is none."""
    every = list(_walk(top, ()))
    found = [file for file in every if file.suffix.lower() in EXTENSIONS]
    note = unread(file.name for file in every)
    if not found:
        raise BadInput(
            f"{top} holds no images{f' ({note})' if note else ''}: files that end in "
            f"{' '.join(sorted(EXTENSIONS))} are read"
        )
    return found, note


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Yield every file below; dangling links count as files, so that they are named and not lost."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in listing(folder):
        if is_left_over(entry.name):
            continue
        if _is_folder(entry):
            yield from _walk(folder / entry.name, (*above, real))
        elif entry.is_symlink() or entry.is_file():
            yield folder / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def class_of(top: Path, file: Path) -> str:
    """The class folder that a file is in, as text; "" where it lies beside them."""
    parts = file.relative_to(top).parts
    return text(parts[0]) if len(parts) > 1 else ""


def class_folders(top: Path) -> tuple[str, ...]:
    """All subfolders in natural order, as text, the empty ones too, so that numbers agree between splits."""
    names = (text(entry.name) for entry in listing(top) if _is_folder(entry) and not is_left_over(entry.name))
    return tuple(sorted(names, key=natural_order))


def text(name: str) -> str:
    """A file's name as text: it may hold bytes that no store can write."""
    return name.encode("utf-8", "backslashreplace").decode()
