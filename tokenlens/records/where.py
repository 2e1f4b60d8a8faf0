"""Which runs a user means: `--where method=topk|tome,keep_rate=0.5`, the same in every command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, UnknownName

if TYPE_CHECKING:
    import xarray as xr


def parse_where(texts: Iterable[str]) -> dict[str, list[str]]:
    """Read KEY=VALUE,... into {key: [values]}; values of a key are separated by |, or the key is given again."""
    found: dict[str, list[str]] = {}
    for item in (part for text in texts for part in text.split(",") if part.strip()):
        key, equals, value = (x.strip() for x in item.partition("="))
        if not (key and equals and value):
            raise BadInput(f"--where {item!r} is no condition; write KEY=VALUE, such as method=topk,keep_rate=0.5")
        found.setdefault(key, []).extend(v.strip() for v in value.split("|"))
    return found


def select(runs: Sequence[xr.Dataset], where: Mapping[str, Sequence[str]]) -> list[xr.Dataset]:
    """Keep runs whose attributes have one of the values named: {"method": ["topk", "tome"], "keep_rate": ["0.5"]}.

    Numbers are compared as numbers, words without regard to case. UnknownName where no run has the attribute.
    """
    known = sorted({str(name) for run in runs for name in run.attrs})
    for name in where:
        if runs and name not in known:
            raise UnknownName("run attribute", name, known)
    return [run for run in runs if all(any(_same(run.attrs.get(k), v) for v in vs) for k, vs in where.items())]


def _same(value: Any, wanted: str) -> bool:
    try:
        return abs(float(value) - float(wanted)) < 1e-9
    except (TypeError, ValueError):
        return str(value).lower() == str(wanted).lower()
