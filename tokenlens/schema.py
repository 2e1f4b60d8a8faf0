"""The schema of a run, in memory and on disk, whatever the method.

| variable | dims | dtype | meaning |
|---|---|---|---|
| kept | image, stage, patch | bool | this patch still stands for itself after the stage |
| group | image, stage, patch | int16 | the token this patch's content is in, by first occurrence; -1: dropped |
| tokens_left | image, stage | int16 | patch tokens after the stage |
| label, prediction | image | int32 | the class, and the predicted one; -1: unknown |
| rank | image | int32 | how many classes scored above the label's; -1: unknown |
| score | image, class | float32 | logits, of models with at most 100 classes |
| object | image, patch | bool | the patch is on the object, where the data set knows |
| feature | image, layer, channel | float32 | the class token after the stages' blocks and the last (optional) |
| soft_<block> | image, token_<block>, source_<block> | float16 | the soft map of a soft merger (optional) |

Coordinates: `image` (stable string ids, never row numbers), `stage` and `layer` (block indices), `patch` (row-major)
with its `row` and `column`. Attributes: the run's identity (`tokenlens.run`), `run` its name, `metrics`, how images
were loaded, and how far the run is (`images` planned, `written`, `complete`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

SCHEMA = 1
DIMS = {
    "kept": ("stage", "patch"),
    "group": ("stage", "patch"),
    "tokens_left": ("stage",),
    "label": (),
    "prediction": (),
    "rank": (),
    "score": ("class",),
    "object": ("patch",),
    "feature": ("layer", "channel"),
}


def dims_of(name: str) -> tuple[str, ...]:
    """The dimensions of a variable, without the first, which is always the image."""
    if name.startswith("soft_"):
        block = name.removeprefix("soft_")
        return (f"token_{block}", f"source_{block}")
    return DIMS[name]


def coordinates(blocks: Sequence[int], grid: Sequence[int], layers: Sequence[int] = ()) -> dict[str, Any]:
    """The coordinates that every run has: stage, patch with its row and column, and the layers of its features."""
    rows, columns = grid
    patch = np.arange(rows * columns, dtype=np.int32)
    found: dict[str, Any] = {
        "stage": ("stage", np.asarray(blocks, np.int32)),
        "patch": ("patch", patch),
        "row": ("patch", patch // columns),
        "column": ("patch", patch % columns),
    }
    if layers:
        found["layer"] = ("layer", np.asarray(layers, np.int32))
    return found
