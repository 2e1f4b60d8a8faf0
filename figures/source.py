"""What figures are drawn from: tables and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenlens.errors import BadInput
from tokenlens.records import tables as table
from tokenlens.records.place import place

from .select.where import matching, matching_rows
from .theme.looks import LOOK, Look, looks

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


TELLING = ("runs", "quality")  # the tables that say how methods are drawn
LACKING = {  # what runs lack where `tokenlens compare` made nothing of them
    "comparison": "no two of the runs form a pair, and none is compared with a centre or an object; make runs that "
    "differ in one thing only, as with `tokenlens extract --method topk,tome`, and then `tokenlens compare`",
    "proxy": "nothing is known of similarity and accuracy: it takes an anchor (the best run, Top-K or the un-reduced "
    "model) and three other methods that are compared with it, all with accuracies, at one keep rate; make them with "
    "`tokenlens extract --method topk,evit,dynamicvit,l2` and then `tokenlens compare`",
    "steps": "no two runs of `tokenlens synthesize` form a pair; make runs of several methods and the same steps, as "
    "with `tokenlens synthesize --method atc-average,tome-sd --per-class 1`, and then `tokenlens compare images/runs`",
    "heatmap": "there are no heat maps: none of the runs that were compared keeps patches, or metrics were chosen "
    "without any of heat maps; make one with `tokenlens extract --method topk` and then `tokenlens compare`",
}


class Missing(BadInput):
    """A source lacks what a figure is of; the message says which command makes it."""


@contextmanager
def missing_where_bad() -> Iterator[None]:
    """What cannot be shown is missing: an image that is gone is no reason to draw no other figure."""
    try:
        yield
    except BadInput as error:
        raise Missing(str(error)) from error


@dataclass(frozen=True)
class Source:
    """What figures are drawn from: tables and runs, from two folders or from memory, read when first asked for."""

    results: Path | None = None
    folder: Path | None = None
    given: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    opened: Sequence[xr.Dataset] | None = None
    where: Sequence[str] = ()
    allow_remote: bool = False
    """fetch images from where the runs say they are"""
    _read: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)
    _made: dict[Any, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, results: str | Path | None = None, runs: str | Path | None = None) -> Source:
        """A source of the tables in one folder and the runs in another; either may be absent."""
        return cls(None if results is None else place(results), None if runs is None else place(runs))

    @classmethod
    def of(cls, what: Any) -> Source:
        """A source of what Python has: a source itself; a `Comparison`, a run, or several of these together."""
        if isinstance(what, Source):
            return what
        import xarray as xr

        parts = [what] if isinstance(what, xr.Dataset) or hasattr(what, "_asdict") else list(what)
        if strange := [one for one in parts if not isinstance(one, xr.Dataset) and not hasattr(one, "_asdict")]:
            raise BadInput(
                f"a figure is of a {type(strange[0]).__name__}; give what tokenlens.compare returns, runs, or both"
            )
        tables = {name: rows for one in parts if hasattr(one, "_asdict") for name, rows in one._asdict().items()}
        return cls(given=tables, opened=[one for one in parts if isinstance(one, xr.Dataset)] or None)

    def only(self, where: Sequence[str]) -> Source:
        """The same source with the runs alone, and rows of the `runs` table, that fit all of KEY=VALUE,..."""
        return replace(self, where=tuple(where), _read={}, _made={}) if where else self

    def table(self, name: str) -> pd.DataFrame:
        """A table of `tokenlens.records.tables`, with at least one row; Missing says which command makes it."""
        if name not in self._read:
            with missing_where_bad():
                found = self._found(name)
                self._read[name] = matching_rows(found, self.where) if name == "runs" else found
        if not len(self._read[name]):
            raise Missing(LACKING.get(name, f"the {name} table is empty; fill it as `tokenlens {_maker(name)}` does"))
        return self._read[name]

    def once(self, key: Any, make: Callable[[Source], pd.DataFrame]) -> pd.DataFrame:
        """What `make` makes of this source, made once for a key; whoever asks gets rows of his own."""
        if key not in self._made:
            self._made[key] = make(self)
        return self._made[key].copy()

    @cached_property
    def runs(self) -> list[xr.Dataset]:
        """The runs that hold images and no steps, at least one; Missing says which command makes some."""
        held = [run for run in self.held if "step" not in run.dims]
        if not held:
            raise Missing(
                f"all runs in {self.folder or 'what was given'} have steps; make others with `tokenlens extract`"
            )
        with missing_where_bad():
            return matching(held, self.where)

    @cached_property
    def synthesized(self) -> list[xr.Dataset]:
        """The runs of `tokenlens synthesize`, which have steps, at least one; Missing says which command makes some."""
        held = [run for run in self.held if "step" in run.dims]
        if not held:
            raise Missing(
                f"there are no runs with steps in {self.folder or 'what was given'}; make some with "
                "`tokenlens synthesize`, and name their folder, images/runs"
            )
        with missing_where_bad():
            return matching(held, self.where)

    @cached_property
    def held(self) -> list[xr.Dataset]:
        """All runs that hold images, at least one; Missing says which command makes some."""
        from tokenlens.records.schema import SHOWN
        from tokenlens.records.store import open_runs

        if self.opened is None and (self.folder is None or not self.folder.is_dir()):
            where = (
                "no folder of runs was given" if self.folder is None else f"there is no folder of runs {self.folder}"
            )
            raise Missing(f"{where}; make runs with `tokenlens extract`, or say with --runs where they are")
        found = self.opened or []
        if self.opened is None and self.folder is not None:
            found = open_runs(self.folder, check=SHOWN)
        held = [run for run in found if run.sizes.get("image")]
        if not held:
            raise Missing(f"there are no runs in {self.folder or 'what was given'}; make some with `tokenlens extract`")
        return held

    def looks(self, of_runs: bool = True) -> dict[str, Look]:
        """How each method is drawn, by the tables that say it and, with `of_runs` or without these, the runs."""
        rows: list[dict[str, Any]] = []
        for name in TELLING:
            with suppress(BadInput):
                known = self.table(name).reindex(columns=["method", *LOOK]).drop_duplicates()
                rows += [dict(row) for _, row in known.iterrows()]
        if of_runs or not rows:
            with suppress(BadInput):
                chosen = matching(self.held, self.where)
                rows += [{name: run.attrs.get(name) for name in ("method", *LOOK)} for run in chosen]
        return looks(row for row in rows if isinstance(row["method"], str))

    def _found(self, name: str) -> pd.DataFrame:
        if name in self.given:
            return table.conform(self.given[name], name)
        if self.results is None:
            raise Missing(f"no {name} table was given; `tokenlens {_maker(name)}` makes one")
        if not self.results.is_dir():
            raise Missing(f"there is no folder of tables {self.results}; `tokenlens {_maker(name)}` writes one")
        if name in LACKING and not table.exists(self.results, name) and table.exists(self.results, "runs"):
            raise Missing(LACKING[name])
        with missing_where_bad():  # absent, damaged or of an older version: it says so itself
            return table.read(self.results, name)


def _maker(name: str) -> str:
    judged = "compare --findings"
    return {"bench": "bench", "quality": "fid", "findings": judged, "truth": judged}.get(name, "compare")
