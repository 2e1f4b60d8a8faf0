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
| soft_<block> | image, token_<block>, source_<block> | float16 | the soft map of a soft merger (optional) |

Coordinates: `image` (stable string ids, never row numbers), `stage` and `layer` (block indices), `patch` (row-major)
with its `row` and `column`. Attributes: the run's identity (`tokenlens.records.run`), `run` its name, `metrics`, the
`place` where its images were, how they were loaded, and how far the run is (`images` planned, `written`, `complete`).
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
}

SHOWN = tuple(name for name in DIMS if name != "feature")  # what pictures are made of; features are large


def dims_of(name: str, dimensions: int) -> tuple[str, ...]:
    """The names of a variable's dimensions; the first is always the image, and a label may have no other."""
    if name.startswith("soft_"):
        block = name.removeprefix("soft_")
        return ("image", f"token_{block}", f"source_{block}")
    return ("image", *DIMS[name])[:dimensions]


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
