"""Which images of a set are taken: evenly spaced ones, without those that cannot be had.

A limit takes images evenly spaced over a set's order, so that classes keep their proportions and all of equal size show
up as soon as there are as many images as classes. What cannot be read is an error that names it or, with `skip_bad`, is
left out (never replaced by another) and named in the set's `bad`.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tokenlens.data.files import BadImage, FileSet
from tokenlens.errors import BadInput

WORKERS = 2  # Pillow decodes outside the interpreter's lock; a large image takes up to half a gigabyte in each
BAR_FROM = 1000  # files; below, the check is over before a bar would help

Found = TypeVar("Found", bound=FileSet)
Faults = Callable[[FileSet], dict[int, str]]


def chosen(found: Found, where: Path | str, limit: int | None, skip_bad: bool, faults: Faults | None) -> Found:
    """The images of a set that are asked for and can be had.

    Args:
        found: all there are, in their order.
        where: for a message.
        limit: at most so many, evenly spaced; None for all.
        skip_bad: leave out what `faults` finds, instead of refusing.
        faults: `unreadable`, `absent`, or None to check nothing now: a bad image is then met when it is asked for.

    Raises:
        BadInput: two images have one id; what `faults` finds; or that nothing is left.
    """
    _check_ids(found)
    if limit is not None and limit < len(found):
        found = replace(found.subset(spread(len(found), limit)), whole=found)
    reasons = faults(found) if faults else {}
    if not reasons:
        return found
    bad = [(found.ids[index], reason) for index, reason in reasons.items()]
    if not skip_bad or len(bad) == len(found):
        raise BadInput(_complaint(where, bad, len(found)))
    good = np.setdiff1d(np.arange(len(found)), list(reasons))
    return replace(found.subset(good), bad=bad, whole=found.whole or found)


def spread(count: int, limit: int | None) -> NDArray[np.intp]:
    """Rows of at most `limit` of `count` images, evenly spaced."""
    taken = count if limit is None else min(limit, count)
    return np.arange(taken) * count // max(taken, 1)


def _check_ids(found: FileSet) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(found.ids):
        if first.setdefault(name, index) != index:
            one, other = found.files[first[name]], found.files[index]
            raise BadInput(f"{one} and {other} are both called {name}: rename one, or take it away")


def unreadable(found: FileSet) -> dict[int, str]:
    """Decode every image once; what cannot be read, by index, and why."""
    from tqdm import tqdm

    pool = ThreadPoolExecutor(WORKERS)
    try:
        reasons = tqdm(
            pool.map(lambda index: _fault(found, index), range(len(found))),
            "checking images",
            len(found),
            disable=len(found) <= BAR_FROM,
            leave=False,
        )
        return {index: reason for index, reason in enumerate(reasons) if reason is not None}
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the rest


def absent(found: FileSet) -> dict[int, str]:
    """The images whose file is not there, by index: a look into each folder, however many images."""

    @cache
    def names(folder: str) -> frozenset[str]:
        if not Path(folder).is_dir():
            return frozenset()
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)

    places = [os.path.split(file) for file in found.files]
    return {
        index: f"there is no file {found.files[index]}"
        for index, (folder, name) in enumerate(places)
        if name not in names(folder)
    }


def _fault(found: FileSet, index: int) -> str | None:
    try:
        found.image(index)
    except BadImage as error:
        return error.reason
    return None


def _complaint(where: Path | str, bad: list[tuple[str, str]], count: int) -> str:
    named = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    fact = f"{len(bad)} of {count} images in {where} cannot be read ({named}{more})"
    if len(bad) == count:
        return f"{fact}, which leaves none: mend them or give another folder"
    return f"{fact}: mend or remove them, or pass --skip-bad to leave them out"
