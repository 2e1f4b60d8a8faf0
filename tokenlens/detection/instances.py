"""COCO's files of instances, read and checked: what pycocotools is handed crashes it where it is malformed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BadInput, check_no_pipe

Entry = dict[str, Any]
MOST = 1e5  # pixels that any side or coordinate may have: as pycocotools counts areas
LARGEST = 2**53  # an id beyond it is rounded by some reader


def read_instances(path: Path) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Images and categories by ascending id, and annotations, each with an area and `iscrowd`.

    Args:
        path: of a file as instances_val2017.json; annotations may lack a mask, an area and `iscrowd`.

    Raises:
        BadInput: it cannot be read, is no such file, or has an entry that is not as COCO's are, with its place.
    """
    check_no_pipe(path)
    try:
        content = json.loads(path.read_bytes())
        images, categories, annotations = (list(content[name]) for name in ("images", "categories", "annotations"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{path} is not one of COCO's instances files ({error!r:.100}): fetch it again") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    check = Checker(path)
    check("images", images, {"id": _whole, "file_name": _text, "height": _side, "width": _side})
    check("categories", categories, {"id": _whole, "name": _text})
    check("annotations", annotations, {"image_id": _whole, "category_id": _whole, "bbox": _box, **OPTIONAL})
    sizes = check.unique("images", images)
    known = check.unique("categories", categories)
    for place, one in enumerate(annotations):
        for key, table in (("image_id", sizes), ("category_id", known)):
            if one[key] not in table:
                raise BadInput(f"entry {place} of annotations in {path} has the {key} {one[key]}, which the file does "
                               "not describe: fetch it again")  # fmt: skip
        image = sizes[one["image_id"]]
        if not _drawable(one.get("segmentation"), image["height"], image["width"]):
            raise BadInput(f"entry {place} of annotations in {path} has a segmentation that is no mask of an image of "
                           f"{image['width']} x {image['height']}: fetch the file again")  # fmt: skip
        one["iscrowd"] = one.get("iscrowd") or 0
        if one.get("area") is None:
            one["area"] = one["bbox"][2] * one["bbox"][3]
    return list(sizes.values()), list(known.values()), annotations


class Checker:
    """Refuses entries of a file that are not as they should be."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, table: str, entries: list[Any], kinds: dict[str, Callable[[Any], bool]]) -> None:
        """Refuse the first entry that has something else than `kinds` allows."""
        if not entries and table != "annotations":
            raise BadInput(f"{self.path} has no {table}, so nothing can be found: give another file")
        for place, entry in enumerate(entries):
            for key, fits in kinds.items():
                value = entry.get(key) if isinstance(entry, dict) else entry
                if not isinstance(entry, dict) or not fits(value):
                    raise BadInput(
                        f"entry {place} of {table} in {self.path} has {value!r:.60} as its {key}: fetch the file again"
                    )

    def unique(self, table: str, entries: list[Entry]) -> dict[int, Entry]:
        """By ascending id, each of which may be there once."""
        found: dict[int, Entry] = {}
        for place, entry in enumerate(entries):
            if found.setdefault(entry["id"], entry) is not entry:
                raise BadInput(f"{self.path} has the id {entry['id']} twice in {table}, at last in entry {place}: "
                               "leave one of them")  # fmt: skip
        return dict(sorted(found.items()))


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) < LARGEST  # True is an int for isinstance


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _side(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST


def _place(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MOST  # NaN is not


def _box(value: Any) -> bool:
    """Corner, width and height; without an area it is taken, and counts as COCO counts it."""
    return isinstance(value, list) and len(value) == 4 and all(map(_place, value)) and min(value[2:]) >= 0


def _area(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= MOST**2)


OPTIONAL: dict[str, Callable[[Any], bool]] = {"area": _area, "iscrowd": lambda value: value in (None, 0, 1)}


def _drawable(shape: Any, height: int, width: int) -> bool:
    """Whether it is polygons, or the lengths of runs down the columns of an image, or nothing at all."""
    if isinstance(shape, dict):
        counts = shape.get("counts")
        lengths: Any = _lengths(counts) if isinstance(counts, str) else counts
        right = isinstance(lengths, list) and all(type(one) is int and one >= 0 for one in lengths)
        return right and shape.get("size") == [height, width] and sum(lengths) == height * width
    return not shape or (isinstance(shape, list) and all(map(_polygon, shape)))


def _polygon(points: Any) -> bool:
    """Three corners or more, one coordinate after the other."""
    return isinstance(points, list) and len(points) >= 6 and len(points) % 2 == 0 and all(map(_place, points))


def _lengths(text: str) -> list[int] | None:
    """Of runs as COCO compresses them: five bits a letter, low ones first, from the fourth on less the last but one."""
    found: list[int] = []
    value = shift = 0
    for letter in text.encode():
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if not 0 <= bits < 64 or shift > 35:
            return None
        if not bits & 32:
            value -= (1 << shift) * bool(bits & 16)
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    return None if shift else found
