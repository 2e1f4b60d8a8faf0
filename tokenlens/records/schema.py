"""The schema of a run, in memory and on disk, whatever the method.

| variable | dims | dtype | meaning |
|---|---|---|---|
| kept | image, stage, patch | bool | this patch still stands for itself after the stage |
| group | image, stage, patch | int16 | the token this patch is in, by first occurrence; -1: dropped, -2: waiting |
| tokens_left | image, stage | int16 | patch tokens after the stage |
| label | image | int32 | the class; -1: unknown |
| label, of a multi-label set | image, class | bool | the image is of the class |
| prediction | image | int32 | the predicted class; -1: unknown, and in multi-label sets |
| rank | image | int32 | how many classes scored above the label's; -1: unknown, and in multi-label sets |
| score | image, class | float32 | logits, of models with at most 100 classes, and in multi-label sets |
| object | image, patch | bool | the patch is on the object, where the data set knows |
| feature | image, layer, channel | float32, float16 | the class token after stages and the last block (optional) |
| valid | image, patch | bool | which places of the grid this image has, its upper left (ragged grids; absent: all) |
| attention | image, stage, patch | float16 | what the class token paid to it before the stage (optional); NaN: gone |
| whole | image | float32 | probability of the class that the un-reduced model predicts (`swap --curves`) |
| insertion, deletion | image, stage | float32 | the same, where it is shown what is kept alone, or the rest alone |
| box | image, detection, corner | float32 | detections: x1, y1, x2, y2 in pixels, best first |
| box_score, box_class | image, detection | float32, int16 | how sure, and the class; -1: there are fewer |
| box_scale | image, corner | float32 | by which boxes are larger in what the model saw than in the image |
| box_mask | image, detection, mask_row, mask_column | uint8 | how surely each place of the box shows it, of 255 |
| pixels | image, class, counted | int32 | of each class: found where it is, found, there (segmentation) |
| soft_<block> | image, token_<block>, source_<block> | float16 | the soft map of a soft merger (optional) |

In memory a run also holds the first images themselves, `picture` (pictured, pixel_row, pixel_column, colour) uint8,
with their ids as the coordinate `pictured`.

In a run of `tokenlens synthesize` kept, group and tokens_left have step and branch between image and stage: the call of
the denoiser, and which half of its batch.

Coordinates: `image` (stable string ids, never row numbers), `stage` and `layer` (block indices), `patch` (row-major)
with its `row` and `column`, `step` (calls of the denoiser, from 0) and `branch` ("unconditional", "conditional").
Attributes: the run's identity (`tokenlens.records.run`), `run` its name, `metrics`, the `place` where its images were,
how they were loaded, and how far the run is (`images` planned, `written`, `complete`).
On disk also its `arrays`, of which every chunk is a file that ends with its checksum (CRC-32C); a `digest` of all
attributes and of the arrays' metadata; and `resumed`, where it went on with other versions than it began with.

Schema 1 had neither checksums nor digest; runs of it are read, and go on, as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

SCHEMA = 2
READABLE = (1, 2)
DIMS = {
    "kept": ("stage", "patch"),
    "group": ("stage", "patch"),
    "tokens_left": ("stage",),
    "label": ("class",),
    "prediction": (),
    "rank": (),
    "score": ("class",),
    "object": ("patch",),
    "feature": ("layer", "channel"),
    "valid": ("patch",),
    "attention": ("stage", "patch"),
    "insertion": ("stage",),
    "deletion": ("stage",),
    "whole": (),
    "box": ("detection", "corner"),
    "box_score": ("detection",),
    "box_class": ("detection",),
    "box_scale": ("corner",),
    "box_mask": ("detection", "mask_row", "mask_column"),
    "pixels": ("class", "counted"),
}
COORDINATES = ("image", "stage", "patch", "row", "column", "layer", "step", "branch")
PICTURE = ("pictured", "pixel_row", "pixel_column", "colour")
OF_STEPS = ("step", "branch")  # what a pattern has besides, in synthesis
LARGE = ("feature", "attention", "box_mask")
SHOWN = tuple(name for name in DIMS if name not in LARGE)  # what pictures are made of


def dims_of(name: str, dimensions: int) -> tuple[str, ...]:
    """The names of a variable's dimensions; the first is always the image, and a label may have no other."""
    if name.startswith("soft_"):
        block = name.removeprefix("soft_")
        return ("image", f"token_{block}", f"source_{block}")
    dims = DIMS[name]
    return ("image", *(OF_STEPS if dimensions > 1 + len(dims) else ()), *dims)[:dimensions]


def coordinates(
    blocks: Sequence[int],
    grid: Sequence[int],
    layers: Sequence[int] = (),
    steps: Sequence[int] = (),
    branches: Sequence[str] = (),
) -> dict[str, Any]:
    """The coordinates of a run: stage, patch with its row and column, layers of features, steps and branches."""
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
    if steps:
        found["step"] = ("step", np.asarray(steps, np.int32))
        found["branch"] = ("branch", np.asarray(branches, np.dtypes.StringDType()))
    return found


def malformed(attributes: Mapping[str, Any]) -> str | None:
    """The first attribute of a run that is not of the kind that its readers take it for; None where all are."""
    for name, fits in _KINDS.items():
        value = attributes.get(name)
        if value is not None and not fits(value):
            return name
    return None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(fits(one) for one in value)


def _map_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(fits(one) for one in value.values())


def _word(value: Any) -> bool:
    return isinstance(value, str)


_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("run", "dataset", "split", "model", "capacity", "method", "family"), _word),
    **dict.fromkeys(("blocks", "keep", "grid"), _list_of(_whole)),
    "keep_rate": _number,
    "keep_rates": _list_of(lambda one: one is None or _number(one)),
    "seed": _whole,
    "options": lambda value: isinstance(value, Mapping),
    "metrics": _map_of(_number),
    "gflops": _number,
}
