"""Pictures of the four embedded sets, a row each: shapes, birds, scenes and tags.

A white line surrounds the patches that the objects lie on, as far as the set has objects. In the rows with objects, the
right half shows the left half's pictures again at a photographer's bias of 1: the objects in the centre, and the rest
as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokenlens.data.embedded.open import SETS, EmbeddedSet, open_embedded

from ..theme.style import canvas, new_figure, use

if TYPE_CHECKING:
    import pandas as pd

    from ..theme.style import Canvas, Into

EACH, STEP = 5, 7  # pictures of a set, each in two places, and how far apart they are, so that classes differ
HEIGHT = 3.0  # inches
ZOOM = 3  # of a pixel, so that lines are thinner than one
GAPS = ((0, 0), (0, 12), (0, 0))  # between pictures, in zoomed pixels


def draw(source: object = None, *, figure: Into = None, preset: str = "iccv", first: int = 20) -> Canvas:
    """Draw pictures of the split val from `first` on; they are made here, and so the source is not asked."""
    with use(preset):
        made = canvas(figure, preset, "page", HEIGHT)
        for ax, name in zip(made.subplots(len(SETS), 1), SETS, strict=True):
            strip = np.concatenate([np.pad(cell, GAPS, constant_values=255) for cell in _row(name, first)], axis=1)
            ax.imshow(strip, interpolation="antialiased")
            ax.set_ylabel(name)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        for left, text in enumerate(("objects anywhere", "the same pictures at a bias of 1")):
            made.axes[0].text(0.25 + 0.5 * left, 1.05, text, transform=made.axes[0].transAxes, ha="center")
    return made


def numbers(source: object = None) -> pd.DataFrame:
    """What is in the sets: dataset, classes, multi_label, and the mean share of patches on objects of 100 pictures."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for name, made_by in SETS.items():
        data = open_embedded(name, "val", 100)
        masks = [mask for mask in map(data.mask, range(len(data))) if mask is not None]
        rows.append({
            "dataset": data.name, "classes": len(made_by.classes), "multi_label": data.multi_label,
            "on_object": float(np.mean(masks)) if masks else float("nan"),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _row(name: str, first: int) -> list[NDArray[np.uint8]]:
    """The cells of one set: (336, 336, 3) uint8 each."""
    if not SETS[name].objects:
        data = open_embedded(name)
        return [_cell(data, first + STEP * i) for i in range(2 * EACH)]
    placed = [open_embedded(where) for where in (name, f"{name}@bias=1")]
    return [_cell(data, first + STEP * i) for data in placed for i in range(EACH)]


def _cell(data: EmbeddedSet, index: int) -> NDArray[np.uint8]:
    """One picture, with a line around the patches of its objects."""
    pixels: NDArray[np.uint8] = np.asarray(data.image(index)).repeat(ZOOM, 0).repeat(ZOOM, 1)
    mask = data.mask(index)
    if mask is not None:
        side = len(pixels) // len(mask)
        inside = np.pad(mask.repeat(side, 0).repeat(side, 1), 1)
        edge = inside[1:-1, 1:-1] & ~(inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:])
        pixels[edge] = 255
    return pixels


def main() -> None:
    """Write the picture to the file that is named."""
    import sys

    made = new_figure("iccv", "page", HEIGHT)
    draw(figure=made)
    with use("iccv"):
        made.savefig(sys.argv[1], dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    main()
