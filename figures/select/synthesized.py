"""Which runs of `tokenlens synthesize` are shown together, and the pictures that they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tokenlens.errors import BadInput
from tokenlens.records.drawn import drawn_picture

from ..parts.patch_painter import Picture
from ..theme.style import order_key

if TYPE_CHECKING:
    import xarray as xr

SAME = ("dataset", "split", "model", "keep_rate", "seed")


def choose_synthesized(runs: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Runs of one model, ratio and seed: those of most methods, and of these the ones that remove most.

    Of several runs of a method the first by name; in the order of the methods.
    """

    def setting(run: xr.Dataset) -> tuple[str, ...]:
        return tuple(str(run.attrs.get(name, "")) for name in SAME)

    by_name = sorted(runs, key=lambda run: str(run.attrs["run"]))
    one_each = {(setting(run), str(run.attrs["method"])): run for run in reversed(by_name)}
    many = Counter(chosen for chosen, _ in one_each)
    best = min(many, key=lambda chosen: (-many[chosen], float(chosen[SAME.index("keep_rate")]), chosen))
    found = [run for (chosen, _), run in one_each.items() if chosen == best]
    return sorted(found, key=lambda run: order_key(str(run.attrs["method"])))


def read_drawn(run: xr.Dataset, ids: Sequence[str]) -> list[Picture]:
    """The pictures `ids` that a run drew, (H, W, 3) uint8 each.

    Raises:
        BadInput: one is gone, or is no picture.
    """
    found = []
    for name in ids:
        path = drawn_picture(run, name)
        try:
            with Image.open(path, formats=("PNG",)) as image:  # some formats start a program to be read
                found.append(np.asarray(image.convert("RGB")))
        except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
            raise BadInput(f"{path} cannot be read as a picture ({error}); remove it, or draw it anew") from error
    return found
