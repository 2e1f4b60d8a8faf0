"""NUS-WIDE in the variant of Alibaba-MIIL/ASL, a multi-label set: nus_wid_data.csv and the images that it names.

Its columns are `filepath`, relative to the folder, `label`, a Python list of names, and `split_name`, train or val;
images without a label are not in it. The classes (81) are all names of the file, sorted, as in the study. Image ids are
the file paths, and images are in their order.
"""

import ast
from functools import cache
from pathlib import Path

import numpy as np

from tokenlens.data.files import FileSet, root_of
from tokenlens.data.lines import bad_line, read_columns
from tokenlens.data.registry import register
from tokenlens.data.selection import absent, chosen, unreadable
from tokenlens.errors import BadInput, UnknownName

FILE = "nus_wid_data.csv"  # so it is called
LIKE = "['clouds', 'sky']"


@register("nuswide", "nuswide:PATH", labels="several", splits=("train", "val"), ids="the file paths of its table")
def open_nuswide(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> FileSet:
    """Open NUS-WIDE: `where` holds nus_wid_data.csv and the images.

    Raises:
        BadInput: the file is missing or malformed, with its path and line; images that are not there.
    """
    root = root_of(where, "nuswide")
    path = root / FILE
    rows = read_columns(path, ("filepath", "label", "split_name"), "which images there are")
    first: dict[str, int] = {}
    for line, (file, _, _) in rows:
        if file in first:
            raise BadInput(f"line {line} of {path} names {file} again, after line {first[file]}: leave one of them")
        first[file] = line
    tags = {file: _tags(path, line, text) for line, (file, text, _) in rows}
    classes = sorted({tag for found in tags.values() for tag in found})
    files = sorted(file for _, (file, _, part) in rows if part == split)
    if not files:
        raise UnknownName(f"split of {path}", split, {part for _, (_, _, part) in rows})
    number = {name: index for index, name in enumerate(classes)}
    labels = np.zeros((len(files), len(classes)), bool)
    for row, file in enumerate(files):
        labels[row, [number[tag] for tag in tags[file]]] = True
    found = FileSet(
        f"nuswide:{root}", split, tuple(classes), tuple(files), tuple(str(root / file) for file in files), labels
    )
    return chosen(found, root, limit, skip_bad, unreadable if skip_bad else absent)


def _tags(path: Path, line: int, text: str) -> tuple[str, ...]:
    found = _literal(text)
    if found is None:
        raise bad_line(path, line, text, LIKE)
    return found


@cache  # many images share their labels
def _literal(text: str) -> tuple[str, ...] | None:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return tuple(found) if isinstance(found, list) and all(isinstance(name, str) for name in found) else None
