"""Which runs `--where` chooses, of a folder or of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokenlens.errors import BadInput, UnknownName
from tokenlens.records.where import parse_where, select

if TYPE_CHECKING:
    import pandas as pd


def matching(runs: Sequence[Any], where: Sequence[str]) -> list[Any]:
    """Those of the runs, or of what has `attrs` as they have, that fit all of KEY=VALUE,...

    UnknownName offers the nearest value where none fits because no run has the value; BadInput where none fits.
    """
    conditions = parse_where(where)
    kept = select(runs, conditions)
    if runs and not kept:
        for key, values in conditions.items():
            if not select(runs, {key: values}):
                raise UnknownName(f"run with a {key}", "|".join(values), {str(run.attrs.get(key)) for run in runs})
        raise BadInput(f"none of the {len(runs)} runs has {' and '.join(where)}: loosen the condition")
    return kept


def matching_rows(runs: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    """The rows of the `runs` table that fit, as `matching`."""
    if not where:
        return runs
    rows = [_Row(place, row) for place, row in enumerate(runs.to_dict("records"))]
    return runs.iloc[[row.place for row in matching(rows, where)]]


class _Row:
    """A row of the table as a run: what it is, and where it stands."""

    def __init__(self, place: int, attrs: Any) -> None:
        self.place, self.attrs = place, attrs
