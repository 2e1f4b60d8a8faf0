"""The figures by name, and what they are drawn from.

A figure is a file here: its docstring is the caption, `numbers(source)` the table behind it, and
`draw(source, figure=None, preset="iccv")` the picture. Where the source lacks what a figure is of, both raise `Missing`
with the command that makes it; under `@drawing`, `draw` shows that sentence in an annotated gap instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from importlib import import_module
from inspect import cleandoc, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenlens.errors import BadInput, UnknownName
from tokenlens.records import tables as table

from .select.where import matching, matching_rows

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from .output.latex_markdown import Layout
    from .theme.style import Canvas, Into


LACKING = {  # what runs lack where `tokenlens compare` made nothing of them
    "comparison": "no two of the runs form a pair, and none is compared with a centre or an object; make runs that "
    "differ in one thing only, as with `tokenlens extract --method topk,tome`, and then `tokenlens compare`",
    "proxy": "nothing is known of similarity and accuracy: it takes an anchor (the best run, Top-K or the un-reduced "
    "model) and three other methods that are compared with it, all with accuracies, at one keep rate; make them with "
    "`tokenlens extract --method topk,evit,dynamicvit,l2` and then `tokenlens compare`",
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
    _read: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, results: str | Path | None = None, runs: str | Path | None = None) -> Source:
        """A source of the tables in one folder and the runs in another; either may be absent."""
        return cls(None if results is None else Path(results), None if runs is None else Path(runs))

    def only(self, where: Sequence[str]) -> Source:
        """The same source with the runs alone, and rows of the `runs` table, that fit all of KEY=VALUE,..."""
        return replace(self, where=tuple(where), _read={}) if where else self

    def table(self, name: str) -> pd.DataFrame:
        """A table of `tokenlens.records.tables`, with at least one row; Missing says which command makes it."""
        if name not in self._read:
            with missing_where_bad():
                found = self._found(name)
                self._read[name] = matching_rows(found, self.where) if name == "runs" else found
        if not len(self._read[name]):
            raise Missing(LACKING.get(name, f"the {name} table is empty; fill it as `tokenlens {_maker(name)}` does"))
        return self._read[name]

    @cached_property
    def runs(self) -> list[xr.Dataset]:
        """The runs that hold images, at least one; Missing says which command makes some."""
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
        with missing_where_bad():
            return matching(held, self.where)

    @cached_property
    def methods(self) -> frozenset[str]:
        """The names of all methods, of the table of runs or else of the runs; empty without either."""
        with suppress(BadInput):
            return frozenset(self.table("runs")["method"])
        with suppress(BadInput):
            return frozenset(str(run.attrs.get("method", "")) for run in self.runs)
        return frozenset()

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


def drawing(draw: Callable[..., Canvas]) -> Callable[..., Canvas]:
    """Draw in the preset's style; a Missing becomes an annotated gap, or is raised where `strict` is passed.

    So a figure asks for its numbers before it asks for its canvas.

    What is drawn by `draw(source, *, figure, preset, ...)` then has the signature
    `draw(source, *, figure=None, preset="iccv", strict=False, ...)`; `figure` may be a Figure, a SubFigure or an Axes.
    """

    @wraps(draw)
    def styled(
        source: Source, *, figure: Into = None, preset: str = "iccv", strict: bool = False, **options: Any
    ) -> Canvas:
        from .theme import style

        with style.use(preset), style.among(source.methods):
            try:
                canvas = draw(source, figure=figure, preset=preset, **options)
            except Missing as lack:
                if strict:
                    raise
                canvas = style.canvas(figure, preset, "column", 1.2)
                style.annotate_gap(canvas.subplots(), str(lack))
            style.settle(canvas)
            return canvas

    return styled


@dataclass(frozen=True)
class Entry:
    """A figure of the catalogue: its name is its file's."""

    name: str
    title: str

    @property
    def module(self) -> Any:
        """The file, imported when something of it is asked for."""
        return import_module(f".plots.{self.name.replace('-', '_')}", __package__)

    @property
    def caption(self) -> str:
        """The file's docstring."""
        return cleandoc(self.module.__doc__ or "")

    @property
    def of_one_setting(self) -> bool:
        """Whether it shows the runs of one data set and model only, or images of them."""
        return bool({"dataset", "images"} & set(signature(self.module.draw).parameters))

    @property
    def layout(self) -> Layout | None:
        """How its numbers become a printed table; None where they are one as they are."""
        return getattr(self.module, "LAYOUT", None)

    def draw(self, source: Source, *, preset: str = "iccv", **options: Any) -> Canvas:
        """The picture; options are those of the figure, and figure= and strict= as in `drawing`."""
        drawn: Canvas = self.module.draw(source, preset=preset, **options)
        return drawn

    def data(self, source: Source) -> pd.DataFrame:
        """The numbers behind the picture, one row a thing that is drawn; Missing where there are none."""
        frame: pd.DataFrame = self.module.numbers(source)
        return frame


CONTACT_SHEET = "contact-sheet"
FIGURES: dict[str, Entry] = {
    name: Entry(name, title)
    for name, title in {
        "accuracy": "accuracy against keep rate, and the average rank of each method",
        "examples": "example images with what each method keeps or merges at every stage",
        "depth": "mean-depth heat maps, methods by keep rates",
        "similarity": "similarity between methods, ordered by hierarchical clustering",
        "axes": "similarity along capacity and along keep rate",
        "datasets": "agreement of a method's patterns across data sets",
        "proxy": "similarity against difference in accuracy, one panel an anchor",
        "correlations": "correlations of similarity and accuracy, as heat maps",
        "chance": "overlap with radial and with random patterns, against chance",
        "tokens_left": "tokens left against tokens asked for, at every stage",
        "tradeoff": "accuracy against throughput and against GFLOPs",
        "object": "share of the object that is kept",
        CONTACT_SHEET: "images by methods at one keep rate",
    }.items()
}


def entries(names: Iterable[str] = ()) -> list[Entry]:
    """The figures of these names, all of them if there are none; UnknownName offers the nearest."""
    chosen = list(dict.fromkeys(names)) or list(FIGURES)
    for name in chosen:
        if name not in FIGURES:
            raise UnknownName("figure", name, FIGURES)
    return [FIGURES[name] for name in chosen]


def _maker(name: str) -> str:
    judged = "compare --findings"
    return {"bench": "bench", "findings": judged, "truth": judged}.get(name, "compare")
