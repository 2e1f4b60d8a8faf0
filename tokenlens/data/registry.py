"""What a data set is: an opener, registered under the word before the colon of "folder:/my/images", and its facts.

The registry feeds the command line, the docs and the tests. Another package names an entry point in the group
`tokenlens.data`: a module that registers on import, or an opener itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ..core.registry import Registry
from ..errors import BadInput, UnknownName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Label = int | NDArray[np.bool_]

SPLITS = ("train", "val", "test")


class Named(Protocol):
    """Images in a fixed order, each with a name: what tells a set from others, whatever is known of its images."""

    @property
    def name(self) -> str:
        """The words it was opened with, e.g. "embedded:shapes"."""

    @property
    def split(self) -> str:
        """Which part of the set, e.g. "val"."""

    @property
    def ids(self) -> Sequence[str]:
        """Stable image ids, one an image, never row numbers, e.g. "shapes/val/000123"."""

    def __len__(self) -> int:
        """The number of images."""


class ImageSet(Named, Protocol):
    """Named images, with what is known about each."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; () when unknown."""

    @property
    def multi_label(self) -> bool:
        """Whether an image can be of several classes, or of none."""

    def image(self, index: int) -> Image.Image:
        """One image, RGB."""

    def label(self, index: int) -> Label:
        """The class of one image, -1 when unknown; in a multi-label set (classes,) bool, True where the class is."""

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """(rows, columns) bool on the patch grid, True on the object; None when the set has none."""


@dataclass(frozen=True)
class DataSet:
    """A registered kind of data set."""

    name: str
    """the word before the colon"""
    open: Callable[..., Any]
    """(where, split, limit, skip_bad) -> ImageSet; `where` is what stands after the colon"""
    written: str
    """how a user writes one, e.g. "folder:PATH\""""
    splits: tuple[str, ...] = SPLITS
    """the parts that it can be asked for"""
    labels: Literal["one", "several", "one or several"] = "one"
    """how many classes an image has"""
    masks: bool = False
    """whether it knows which patches the objects lie on"""
    ids: str = "as the set itself gives them"
    """what an image's id is made of: the same images at two places have the same ids"""

    @property
    def card(self) -> str:
        """What it is: the first line of its module's docstring."""
        return (inspect.getdoc(inspect.getmodule(self.open)) or "").split("\n")[0]


O = TypeVar("O", bound=Callable[..., Any])  # noqa: E741


def _adopt(name: str, loaded: Any) -> None:
    if name not in DATA_SETS:  # the decorator may have registered it
        register(name, f"{name}:WHERE")(loaded)


DATA_SETS: Registry[DataSet] = Registry("data set", "tokenlens.data", plural="data", adopt=_adopt)


def register(name: str, written: str, **facts: Any) -> Callable[[O], O]:
    """Decorator: make an opener the data set of this name; it stays a plain function.

    Args:
        name: the word before the colon.
        written: how a user writes one.
        **facts: the other fields of `DataSet`: splits, labels, masks, ids.

    Examples:
        >>> @register("noise", "noise:SIZE", ids="numbers of pictures")
        ... def open_noise(where, split="val", limit=None, skip_bad=False):
        ...     ...
        >>> DATA_SETS["noise"].labels
        'one'
    """

    def keep(opener: O) -> O:
        DATA_SETS.add(name, DataSet(name, opener, written, **facts), opener)
        return opener

    return keep


def open_data(spec: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> ImageSet:
    """Open the data set that `spec` names: "kind:where", e.g. "embedded:shapes" or "folder:/my/images".

    Args:
        spec: the name of one of `DATA_SETS`, a colon, and which one or where it is.
        split: which part, e.g. "train" or "val".
        limit: the first images of an embedded set, evenly spaced ones of others; beyond the set it is clipped.
        skip_bad: pass over images that cannot be read; they are all decoded once to know.

    Raises:
        BadInput: the set is not known or cannot be read.

    Examples:
        >>> import tokenlens
        >>> data = tokenlens.open_data("embedded:shapes", limit=3)
        >>> data.ids[2], data.classes[data.label(2)], data.image(2).size
        ('shapes/val/000002', 'dotted triangle', (112, 112))
    """
    kind, _, where = spec.partition(":")
    if kind not in DATA_SETS and Path(spec).expanduser().exists():
        raise BadInput(
            f"{spec} does not say what it is; write folder:{spec} for images, or another kind of `tokenlens data`"
        )
    if kind not in DATA_SETS or not where:
        raise UnknownName("data set", spec, [data_set.written for data_set in DATA_SETS.values()])
    check_limit(limit, spec)
    try:
        found: ImageSet = DATA_SETS[kind].open(where, split, limit, skip_bad)
    except OSError as error:
        place, reason = error.filename or spec, error.strerror or error
        raise BadInput(f"{place} cannot be read ({reason}): check the path and its permissions") from error
    return found


def check_limit(limit: int | None, spec: str) -> None:
    """Refuse to take no image, or fewer, of what `spec` names."""
    if limit is not None and limit < 1:
        raise BadInput(f"limit must be at least 1 image, not {limit}; leave it out to take all of {spec}")
