"""COCO's 80 categories as a multi-label set: annotations/instances_{train,val}2014.json (or 2017), images beside them.

As in the study: a label is true where the image has any annotation of the category, crowds too; categories are in
ascending id (which skips ten of 90); images without annotations are left out (40,137 of 40,504 stay in val2014). The
study's size groups by area in pixels, below 32 x 32 small, below 96 x 96 medium, else large, are kept in `sizes`; an
annotation without an area has that of its box. Where
both years lie in the folder, 2014 is read; the split val2017 says otherwise. Image ids are COCO's, which the two years
share; images are in ascending id, where the published code has the order of first annotation.
"""

import json
import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tokenlens.data.files import FileSet, root_of
from tokenlens.data.registry import register
from tokenlens.data.selection import absent, chosen, unreadable
from tokenlens.errors import BadInput, check_no_pipe

SIZES = ("small", "medium", "large")
AREAS = (32 * 32, 96 * 96)  # pixels; where medium and large begin
EXACT = 2**53  # up to here float64 tells whole numbers apart
# outlines are most of the file and tell nothing here: without them it is read in a third of the time
OUTLINE, NO_OUTLINE = re.compile(rb'"segmentation"\s*:\s*\[[\d\s.,eE+\-\[\]]*\]'), b'"segmentation":0'


@dataclass(frozen=True, eq=False)
class Coco(FileSet):
    """COCO as an image set."""

    sizes: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 3, 0), bool), repr=False)
    """(images, 3, classes): the image has a small, medium or large object of the class; `labels` is any of them"""

    arrays: ClassVar[tuple[str, ...]] = ("labels", "sizes")


@register("coco", "coco:PATH", labels="several", splits=("train", "val"), ids="COCO's image ids")
def open_coco(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> Coco:
    """Open COCO, unpacked: `where` holds the folders annotations and val2014, train2014 (or of 2017).

    Raises:
        BadInput: no such file, or one that is malformed, with its path and what is wrong; images that are not there.
    """
    root = root_of(where, "coco")
    parts = (f"{split}2014", f"{split}2017", split)
    path = next((at for part in parts if (at := root / f"annotations/instances_{part}.json").exists()), None)
    if path is None:
        raise BadInput(
            f"there is no {root / f'annotations/instances_{parts[0]}.json'}, nor one of 2017: "
            f"give the folder that holds COCO's annotations, or choose another split than {split}"
        )
    part = path.stem.removeprefix("instances_")
    folder = next((at for at in (root / part, root / "images" / part) if at.is_dir()), root / part)
    content = _read(path)
    names = _names(path, content, "categories", "name")
    images = _names(path, content, "images", "file_name")
    sizes = _sizes(path, content["annotations"], list(images), list(names))
    seen: NDArray[np.bool_] = np.any(sizes, axis=(1, 2))  # no annotation, no label: the study leaves these out
    images = {number: name for (number, name), yes in zip(images.items(), seen, strict=True) if yes}
    found = Coco(
        f"coco:{root}",
        split,
        tuple(names.values()),
        tuple(str(number) for number in images),
        tuple(str(folder / name) for name in images.values()),
        np.asarray(sizes[seen].any(1)),
        sizes=sizes[seen],
    )
    return chosen(found, root, limit, skip_bad, unreadable if skip_bad else absent)


def _read(path: Path) -> dict[str, Any]:
    """The file, with annotations as tuples (image, category, area): an object each would take gigabytes."""
    check_no_pipe(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = json.loads(OUTLINE.sub(NO_OUTLINE, content), object_hook=_slim)  # type: ignore[call-overload]
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 are refused with it, and an empty file by mmap
        raise BadInput(f"{path} is not JSON ({error}): fetch the file again") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    for name in ("images", "categories", "annotations"):
        if not isinstance(found, dict) or not isinstance(found.get(name), list) or not found[name]:
            raise BadInput(f"{path} has no {name}, so it is not one of COCO's instances files: fetch it again")
    return found  # type: ignore[no-any-return]


def _slim(entry: dict[str, Any]) -> Any:
    if "file_name" not in entry and ("image_id" in entry or "category_id" in entry):
        return entry.get("image_id"), entry.get("category_id"), _area(entry)
    return entry


def _area(entry: dict[str, Any]) -> Any:
    """An annotation's area in pixels; where a labelling program left it out, that of its box, and of neither 0."""
    if entry.get("area") is not None:
        return entry["area"]
    match entry.get("bbox"):
        case [_, _, int() | float() as width, int() | float() as height]:
            return width * height
    return 0


def _names(path: Path, content: dict[str, Any], table: str, key: str) -> dict[int, str]:
    """The names in a table by id, in ascending order."""
    found: dict[int, str] = {}
    for place, entry in enumerate(content[table]):
        number, name = (entry.get("id"), entry.get(key)) if isinstance(entry, dict) else (None, None)
        if not isinstance(number, int) or abs(number) >= EXACT or not isinstance(name, str):
            raise BadInput(f"entry {place} of {table} in {path} has no {key} or no usable id: fetch the file again")
        if number in found:
            raise BadInput(f"{path} has the id {number} twice in {table}, at last in entry {place}: leave one of them")
        found[number] = name
    return dict(sorted(found.items()))


def _sizes(path: Path, annotations: list[Any], images: list[int], categories: list[int]) -> NDArray[np.bool_]:
    """(images, 3, classes) bool: which categories each image has an annotation of, by its area."""
    found = np.zeros((len(images), len(SIZES), len(categories)), bool)
    try:
        table = np.array(annotations, np.float64).reshape(-1, 3)  # None, where a key is missing, turns into NaN
        whole = np.isfinite(table).all(1)
    except (ValueError, TypeError, OverflowError):  # an entry of another kind
        table, whole = np.zeros((0, 3)), np.array([_is_whole(entry) for entry in annotations])
    if not whole.all():
        place = int(np.argmin(whole))
        raise BadInput(
            f"entry {place} of annotations in {path} has no image_id, category_id or area that is a number: "
            "fetch the file again"
        )
    at = []
    for values, known, what in ((table[:, 0], images, "images"), (table[:, 1], categories, "categories")):
        ids = np.asarray(known, np.float64)
        place_in = np.searchsorted(ids, values).clip(max=len(ids) - 1)
        strange = np.flatnonzero(ids[place_in] != values)
        if len(strange):
            raise BadInput(
                f"entry {strange[0]} of annotations in {path} names the id {values[strange[0]]:.0f}, "
                f"which is not among its {what}: fetch the file again"
            )
        at.append(place_in)
    found[at[0], np.searchsorted(AREAS, table[:, 2], side="right"), at[1]] = True
    return found


def _is_whole(entry: Any) -> bool:
    return isinstance(entry, tuple) and all(isinstance(value, int | float) and abs(value) < EXACT for value in entry)
