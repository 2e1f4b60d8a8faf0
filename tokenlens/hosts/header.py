"""What a checkpoint of `tokenlens finetune` says of itself: JSON under `tokenlens` in its safetensors header.

Anybody can write such a header, so each of its words is checked before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..errors import BadInput

FORMAT = 1
DAMAGED = "{} is damaged or no checkpoint; download or save it again"
OF_REDUCTION = ("method", "keep_rate", "blocks")  # without which there is none


def finetuned(source: str | None) -> dict[str, Any] | None:
    """What a checkpoint of `tokenlens finetune` says of itself, read off its header; None for anything else.

    Raises:
        BadInput: the file is damaged, or the header's entry is not as we write it or of a later version.
    """
    path = Path(source or "")
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {}).get("tokenlens", "null"))
    except (SafetensorError, ValueError, RecursionError, OSError) as error:
        raise BadInput(DAMAGED.format(source)) from error
    if said is None:
        return None
    if not isinstance(said, dict) or not _is_whole(said.get("format")):
        raise BadInput(f"the header of {source} has an entry tokenlens that is not ours; save its tensors without it")
    if said["format"] > FORMAT:
        raise BadInput(f"{source} was written by a later tokenlens; update with: pip install -U tokenlens-vit")
    _check(said, KINDS, source)
    if "reduction" in said:
        _check(said["reduction"], REDUCTION, source, OF_REDUCTION)
    _check(said.get("input", {}), INPUT, source)
    return said


def _check(
    said: dict[str, Any], kinds: dict[str, Callable[[Any], bool]], source: str | None, needed: tuple[str, ...] = ()
) -> None:
    for name, fits in kinds.items():
        if (name in said or name in needed) and not fits(said.get(name)):
            value = repr(said.get(name))
            shown = value if len(value) <= 40 else f"{value[:40]}..."
            raise BadInput(
                f"the header of {source} says that {name} is {shown}, which no tokenlens writes; "
                "save its tensors without the entry tokenlens"
            )


def _is_whole(value: Any) -> bool:
    return type(value) is int and value > 0  # True is an int for isinstance


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _list_of(fits: Callable[[Any], bool], count: int | None = None) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and count in (None, len(value)) and all(map(fits, value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_rate(value: Any) -> bool:
    return value is None or _is_number(value) or _list_of(_is_number)(value)


KINDS: dict[str, Callable[[Any], bool]] = {
    "model": _is_text,
    "heads": _is_whole,
    "data": _is_text,
    "classes": _list_of(lambda value: isinstance(value, str)),
    "reduction": _is_mapping,
    "input": _is_mapping,
}
REDUCTION: dict[str, Callable[[Any], bool]] = {
    "method": _is_text,
    "keep_rate": _is_rate,
    "blocks": _list_of(lambda value: type(value) is int and value >= 0),
    "options": lambda value: isinstance(value, dict) and all(map(_is_text, value)),
}
INPUT: dict[str, Callable[[Any], bool]] = {
    "input_size": _list_of(_is_whole, 3),
    "mean": _list_of(_is_number, 3),
    "std": _list_of(_is_number, 3),
    "interpolation": _is_text,
    "crop_pct": lambda value: _is_number(value) and value > 0,
    "crop_mode": _is_text,
}
