"""The report's images: as the model saw them, small enough for a page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO

import xarray as xr
from PIL import Image

from tokenlens.errors import BadInput

from ..parts.patch_painter import Picture
from ..select.classes import in_words
from ..select.images import rows_holding
from ..select.runs import open_images, read_pictures
from ..select.synthesized import read_drawn
from .data import CHUNK, PictureSet

LARGEST = 256  # pixels of an image's longer side: more does not show under a grid of patches
QUALITY = 80  # of WebP


def chunks(one: PictureSet, allow_remote: bool = False) -> Iterator[list[str | None]]:
    """The set's images as data URIs, a list for each `CHUNK` of them; None where an image is gone.

    Fills in the set's `classes`, and its `note` where images cannot be read: patterns can be looked at without.
    """
    source = one.runs[0]
    try:
        if "picture" not in source:  # in memory, where nobody says what classes are called
            one.classes = in_words(open_images(source, allow_remote).classes)
    except BadInput as error:
        one.note = f"The images cannot be shown: {error}."
    for start in range(0, len(one.ids), CHUNK):
        ids = one.ids[start : start + CHUNK]
        if one.note:
            yield [None] * len(ids)
            continue
        try:
            yield [uri(picture) for picture in read_pictures(source, ids, allow_remote)]
        except BadInput as error:
            one.note = f"Images cannot be shown: {error}."
            yield [None] * len(ids)


def drawn(one: PictureSet, run: xr.Dataset) -> list[str | None]:
    """The pictures that a run drew, as data URIs; None where one is gone, or the run does not hold it."""
    found = list[str | None]()
    for name in one.ids:
        try:
            found.append(uri(read_drawn(run, [name])[0]))
        except BadInput as error:
            found.append(None)
            if rows_holding(run["image"], [name])[0] >= 0:
                one.note = f"Pictures cannot be shown: {error}."
    return found


def uri(picture: Picture) -> str:
    """An image (H, W, 3) uint8 as the data URI of a WebP file."""
    image, made = Image.fromarray(picture), BytesIO()
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    image.save(made, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + b64encode(made.getvalue()).decode()
