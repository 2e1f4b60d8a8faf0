"""The figures by name. Everything that is known of a figure stands in its file; nothing else lists figures.

A figure is a file: its docstring is the caption, `numbers(source)` the table behind it, and `draw(source, figure=None,
preset="iccv")`, under the decorator `figure`, the picture. Where the source lacks what a figure is of, both raise
`Missing` with the command that makes it; `draw` shows that sentence in an annotated gap instead, unless it is strict.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from inspect import cleandoc, signature
from typing import TYPE_CHECKING, Any, TypeAlias

from tokenlens.core.registry import Registry
from tokenlens.errors import BadInput

from .source import Missing, Source, missing_where_bad
from .theme import style
from .theme.palette import FEW, fading

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .output.latex_markdown import Layout
    from .theme.looks import Look
    from .theme.style import Canvas, Into

    Pages: TypeAlias = Callable[..., Iterator[tuple[str, Figure, Sequence[str]]]]

__all__ = ["FIGURES", "PATTERNS", "Entry", "Missing", "Source", "entries", "figure", "missing_where_bad"]

PATTERNS = "patterns"


@dataclass(frozen=True)
class Entry:
    """A registered figure."""

    name: str
    title: str
    """what it shows, in one line"""
    numbers: Callable[..., pd.DataFrame]
    """source -> the numbers that are drawn, one row a thing"""
    draw: Callable[..., Canvas]
    """(source, figure=None, preset="iccv", strict=False, ...) -> the picture"""
    caption: str
    needs: tuple[str, ...] = ()
    """the tables without which there is nothing to draw, by name; "patterns": the runs themselves"""
    fades: bool = False
    """whether all methods are drawn, but only a few in their colours"""
    layout: Layout | None = None
    """how its numbers become a printed table; None where they are one as they are"""
    pages: Pages | None = None
    """(runs, *, allow_remote, ...) -> name, picture and runs without a place, of a figure that fills pages of its own;
    `allow_remote` as in `Source`"""

    def looks(self, source: Source) -> dict[str, Look]:
        """How each method of a source is drawn in this figure."""
        return source.looks(PATTERNS in self.needs)

    @property
    def table_caption(self) -> str:
        """What a reader of its numbers has to know: the layout's own caption, or what `numbers` says that they are."""
        if self.layout is not None:
            return self.layout.caption
        said = cleandoc(self.numbers.__doc__ or "").partition("\n\n")[0]
        return f"{self.title[0].upper()}{self.title[1:]}. {said}".strip()

    @cached_property
    def few(self) -> int | None:
        """How many methods it shows large or in colour if not told; None where it shows all alike."""
        if self.fades:
            return FEW
        told = signature(self.draw).parameters.get("methods")
        return told.default if told is not None else None

    @cached_property
    def of_one_setting(self) -> bool:
        """Whether it shows the runs of one data set and model only, or images of them."""
        return bool({"dataset", "images"} & set(signature(self.draw).parameters))


def _adopt(name: str, loaded: Any) -> None:
    if not isinstance(getattr(loaded, "entry", None), Entry):
        raise BadInput(f"it is no figure; write @figure({name!r}, ...) above the function that draws it")


FIGURES: Registry[Entry] = Registry("figure", "tokenlens.figures.plots", adopt=_adopt)


def figure(
    name: str, title: str, numbers: Callable[..., pd.DataFrame], *, needs: Sequence[str], caption: str = "",
    layout: Layout | None = None, pages: Pages | None = None, fades: bool = False,
) -> Callable[[Callable[..., Canvas]], Callable[..., Canvas]]:  # fmt: skip
    """Decorator: make the function that draws a figure of this name.

    What `draw(source, *, figure, preset, ...)` draws is then drawn in the preset's letters and with each method's look,
    by `draw(source, *, figure=None, preset="iccv", strict=False, ...)`, where a `Comparison`, runs, or a list of both
    is a source too; `figure` may be a Figure, a SubFigure or an Axes. A Missing becomes an annotated gap, or is raised
    where `strict` is passed. So a figure asks for its numbers before it asks for its canvas.

    Args:
        name: what it is called in commands, and the name of its files.
        title: what it shows, in one line.
        numbers: source -> the numbers that are drawn, a frame with one row a thing.
        needs: tables, and "patterns" for the runs themselves, as in `Entry.needs`.
        caption: what a reader has to know; by default the docstring of the file.
        layout: as in `Entry.layout`.
        pages: as in `Entry.pages`.
        fades: as in `Entry.fades`; so many `methods` as passed to `draw` are then in colour, `FEW` by default and all
            of them for None.

    Examples:
        >>> def numbers(source):
        ...     return source.table("runs").groupby("method", as_index=False)["gflops"].mean()
        >>> @figure("cost-of-the-docs", "GFLOPs of each method", numbers, needs=["runs"], caption="Means over runs.")
        ... def draw(source, *, figure, preset):
        ...     rows, canvas = numbers(source), style.canvas(figure, preset)
        ...     canvas.subplots().bar(rows["method"], rows["gflops"])
        ...     return canvas
        >>> FIGURES["cost-of-the-docs"].title
        'GFLOPs of each method'
    """

    def keep(draw: Callable[..., Canvas]) -> Callable[..., Canvas]:
        @wraps(draw)
        def styled(
            what: Any, *, figure: Into = None, preset: str = "iccv", strict: bool = False, **options: Any
        ) -> Canvas:
            source, most = Source.of(what), options.pop("methods", FEW) if fades else None
            looks = entry.looks(source)
            with style.use(preset), style.among(looks):
                try:
                    if fades:
                        looks = fading(looks, entry.numbers(source, **options)["method"], most)
                    with style.among(looks):
                        canvas = draw(source, figure=figure, preset=preset, **options)
                except Missing as lack:
                    if strict:
                        raise
                    canvas = style.canvas(figure, preset, "column", 1.2)
                    style.annotate_gap(canvas.subplots(), str(lack))
                style.fix_tick_sizes(canvas)
                return canvas

        @wraps(numbers)
        def ordered(what: Any, **options: Any) -> pd.DataFrame:
            source = Source.of(what)
            with style.among(entry.looks(source)):
                return source.once((name, *sorted(options.items())), lambda known: numbers(known, **options))

        said = caption or sys.modules[draw.__module__].__doc__ or ""
        entry = Entry(name, title, ordered, styled, cleandoc(said), tuple(needs), fades, layout, pages)
        FIGURES.add(name, entry, draw)
        styled.entry = entry  # type: ignore[attr-defined]
        return styled

    return keep


def entries(names: Iterable[str] = ()) -> list[Entry]:
    """The figures of these names, all of them if there are none; UnknownName offers the nearest."""
    return [FIGURES[name] for name in dict.fromkeys(names) or FIGURES]
