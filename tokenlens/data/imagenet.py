"""ImageNet as ILSVRC hands it out: train/<WordNet id>/*.JPEG, and val/ alike, or flat beside a file that tells classes.

Kaggle's ILSVRC/Data/CLS-LOC is found too, and any train/ and val/ with class folders of other names. The classes are
the sorted folders of train/, else those of the split, else, for a flat split alone, ImageNet's 1,000. Flat images have
their classes from one of the files that `ilsvrc.py` lists; those of test/ have none, -1. Ids are ILSVRC's own image
names, whatever the layout, and relative paths where files are called otherwise; images are in the order of class and
id, so that a limit chooses the same ones in every layout.
"""

import re
from pathlib import Path

import numpy as np

from tokenlens.data.files import FileSet, root_of
from tokenlens.data.folder import class_folders, class_of, image_files, split_folder, text
from tokenlens.data.ilsvrc import flat_labels
from tokenlens.data.registry import register
from tokenlens.data.selection import chosen, unreadable
from tokenlens.errors import BadInput

KAGGLE = "ILSVRC/Data/CLS-LOC"
OWN_NAME = re.compile(r"n\d{8}_\d+|ILSVRC2012_(val|test)_\d{8}")


@register("imagenet", "imagenet:PATH", ids="ILSVRC's image names, or paths below the folder")
def open_imagenet(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> FileSet:
    """Open ImageNet, unpacked: `where` holds the folders train and val.

    Nothing is decoded, unless with `skip_bad`: a bad image is met when it is asked for.

    Raises:
        BadInput: no such folder, no images, or nothing that tells their classes.
    """
    root = root_of(where, "imagenet")
    base = root / KAGGLE if (root / KAGGLE).is_dir() else root
    top, said = split_folder(base, split)
    files, missed = image_files(top)
    folders = [class_of(top, file) for file in files]
    known = base / "train" if (base / "train").is_dir() else top
    classes = class_folders(known) or _thousand()
    if any(folders):
        number = {name: index for index, name in enumerate(classes)}
        strange = [file for file, name in zip(files, folders, strict=True) if name not in number]
        if strange:
            raise BadInput(
                f"{strange[0]} is in none of the {len(classes)} class folders that {known} has: "
                "move it into one of them, or take it away"
            )
        labels = [number[name] for name in folders]
    elif split == "test":
        labels = [-1] * len(files)
    else:
        labels = flat_labels((top, base, root), [file.stem for file in files], classes)
    ids = [_id(root, file) for file in files]
    order = sorted(range(len(files)), key=lambda index: (labels[index], ids[index]))
    found = FileSet(
        f"imagenet:{root}",
        split,
        classes,
        tuple(ids[index] for index in order),
        tuple(str(files[index]) for index in order),
        np.array([labels[index] for index in order], np.int32),
        notes=tuple(note for note in (said, missed) if note),
    )
    return chosen(found, root, limit, skip_bad, unreadable if skip_bad else None)


def _thousand() -> tuple[str, ...]:
    from timm.data import ImageNetInfo  # it has the WordNet ids in their order

    return tuple(ImageNetInfo().label_names())


def _id(root: Path, file: Path) -> str:
    return file.stem if OWN_NAME.fullmatch(file.stem) else text(file.relative_to(root).as_posix())
