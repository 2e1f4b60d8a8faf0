"""What a user writes between commas and slashes."""

from __future__ import annotations

from typing import Any

from ..errors import BadInput


def words(value: str | None) -> list[str]:
    """Split at commas: several runs in one call."""
    return [word.strip() for word in (value or "").split(",") if word.strip()]


def numbers(value: str, kind: Any, what: str, separator: str = "/") -> list[Any]:
    """Numbers between separators, or BadInput."""
    try:
        return [kind(word) for word in value.split(separator)]
    except ValueError as error:
        raise BadInput(f"{what} {value!r} is not made of numbers; for example {_EXAMPLES[what]}") from error


_EXAMPLES = {"keep rate": "0.5, or 0.7/0.5/0.3 for one a block", "blocks": "3,6,9", "keep": "98/49/24"}
