"""Digests of plain JSON, by which a changed bit in a description is told as one in a chunk is by its checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["digest_of", "intact", "sealed"]

DIGEST = "digest"


def digest_of(values: Any) -> str:
    """Sixteen hexadecimal digits of what can be JSON; the order of keys does not count."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, with the digest of all of them as one more."""
    rest = {name: value for name, value in values.items() if name != DIGEST}
    return {**rest, DIGEST: digest_of(rest)}


def intact(values: Mapping[str, Any]) -> bool:
    """Whether the values are those that were sealed."""
    return DIGEST in values and sealed(values)[DIGEST] == values[DIGEST]
