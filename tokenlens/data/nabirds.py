"""NABirds: images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, hierarchy.txt and the folder images.

Only the leaves of the hierarchy have images (555 of 1,011 nodes); their ids are numbered in ascending order. The
published code numbers them in the order of a Python set, which CPython keeps ascending for integers this small, so that
its checkpoints agree. `val` and `test` are the same part: the study validates on it. Image ids are those of images.txt;
images are in the order of class and id.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tokenlens.data.files import FileSet, root_of
from tokenlens.data.lines import read_words, to_number
from tokenlens.data.registry import register
from tokenlens.data.selection import absent, chosen, unreadable
from tokenlens.errors import BadInput, UnknownName

TRAINING = {"train": 1, "val": 0, "test": 0}  # as train_test_split.txt has it
AN_ID = "0000139e-21dc-4d0c-bfe1-4cae3c85c829"


@dataclass(frozen=True, eq=False)
class NABirds(FileSet):
    """NABirds as an image set, with the taxonomy of its classes."""

    class_ids: tuple[int, ...] = field(default=(), repr=False)
    """the id in classes.txt of each class"""
    parents: dict[int, int] = field(default_factory=dict, repr=False)
    """the id of the class above, by class id; the root has none"""


@register("nabirds", "nabirds:PATH", ids="those of images.txt")
def open_nabirds(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> NABirds:
    """Open NABirds, unpacked: `where` holds images.txt and the folder images.

    Raises:
        BadInput: a file is missing or malformed, with its path and line; images that are not there.
    """
    if split not in TRAINING:
        raise UnknownName("split of nabirds", split, TRAINING)
    root = root_of(where, "nabirds")
    paths = _by_image(root / "images.txt", "0817/0000139e21dc4d0cbfe14cae3c85c829.jpg", "which images there are")
    labels = _numbers(root / "image_class_labels.txt", "817", "of which class each image is", paths)
    parts = _numbers(root / "train_test_split.txt", "0", "which images are for training", paths)
    class_ids = sorted(set(labels.values()))
    names = _by_class(root / "classes.txt", "817 American Black Duck", "what the classes are called")
    unnamed = [class_id for class_id in class_ids if class_id not in names]
    if unnamed:
        raise BadInput(f"{root / 'classes.txt'} has no class {unnamed[0]}, which images are of: fetch the file again")
    above = _by_class(root / "hierarchy.txt", "817 23", "which class each class belongs to")
    ids = sorted((name for name in paths if parts[name] == TRAINING[split]), key=lambda name: (labels[name], name))
    if not ids:
        raise BadInput(f"{root / 'train_test_split.txt'} gives the split {split} no image: fetch the file again")
    number = {class_id: index for index, class_id in enumerate(class_ids)}
    found = NABirds(
        f"nabirds:{root}",
        split,
        tuple(names[class_id][1] for class_id in class_ids),
        tuple(ids),
        tuple(str(root / "images" / paths[name][1]) for name in ids),
        np.array([number[labels[name]] for name in ids], np.int32),
        class_ids=tuple(class_ids),
        parents={child: to_number(root / "hierarchy.txt", line, word, "23") for child, (line, word) in above.items()},
    )
    return chosen(found, root, limit, skip_bad, unreadable if skip_bad else absent)


def _by_image(path: Path, like: str, what: str) -> dict[str, tuple[int, str]]:
    """A file of pairs: by image id, the line and the second word. An id that comes twice is refused."""
    found: dict[str, tuple[int, str]] = {}
    for line, (name, word) in read_words(path, 2, f"{AN_ID} {like}", what):
        if name in found:
            raise BadInput(f"line {line} of {path} names {name} again, after line {found[name][0]}: leave one of them")
        found[name] = (line, word)
    return found


def _numbers(path: Path, like: str, what: str, paths: dict[str, tuple[int, str]]) -> dict[str, int]:
    """The same of whole numbers, one for each image of images.txt."""
    found = _by_image(path, like, what)
    missing = [name for name in paths if name not in found]
    if missing:
        raise BadInput(
            f"{path} has no line for {missing[0]}, which is on line {paths[missing[0]][0]} of images.txt: "
            "fetch both files again"
        )
    return {name: to_number(path, line, word, like) for name, (line, word) in found.items()}


def _by_class(path: Path, like: str, what: str) -> dict[int, tuple[int, str]]:
    """A file of pairs: by class id, the line and what follows the id."""
    return {to_number(path, line, word, like): (line, rest) for line, (word, rest) in read_words(path, 2, like, what)}
