"""The numbers behind a figure as text: a table for LaTeX with the rules of booktabs, and one for Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..select.pairs import is_distance
from ..theme.style import label, metric_label, place

if TYPE_CHECKING:
    import pandas as pd


Best: TypeAlias = Literal["higher", "lower", "metric", "strongest"]
SIGN: dict[Best, int] = {"higher": 1, "lower": -1}


@dataclass(frozen=True)
class Layout:
    """How the rows of a figure's numbers become a table to read: one column for each value of `across`."""

    rows: tuple[str, ...]
    """what stands at the left; the last of them is what is compared"""
    across: str
    value: str
    caption: str
    """of the table, which is not the figure"""
    best: Best | Mapping[str, Best] | None = None
    """which value of a column is set in bold among rows that differ in the last of `rows` alone: the higher, the lower,
    the better one by its metric's direction, or the one farthest from 0; a mapping: higher or lower, by the first of
    `rows`"""


class Printed(NamedTuple):
    """A table to print; `best` (rows, columns) bool is set in bold, the last `under` columns are values of `over`."""

    cells: pd.DataFrame
    best: NDArray[np.bool_]
    over: str = ""
    under: int = 0


_NUMBER = re.compile(r"[-−]?\d[\d.]*( \[.*\])?$|–$")  # a number, with its interval or without
HEADS = {"dataset": "data set", "low": "from", "high": "to"}  # of columns whose names are no words
LONG = 45  # rows of a table that goes over several pages
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "ℓ": r"$\ell$", "∞": r"$\infty$", "ρ": r"$\rho$",
    "τ": r"$\tau$", "–": "--", "×": r"$\times$",
}  # fmt: skip


def plain(frame: pd.DataFrame) -> Printed:
    """The rows as they are, nothing in bold."""
    return Printed(frame, np.zeros(frame.shape, bool))


def spread(frame: pd.DataFrame, layout: Layout) -> Printed:
    """Put what is tidy side by side: cells are values as text, with [low, high] where a frame has them."""
    names = [_cell(layout.across, value) for value in frame[layout.across]]
    words = [_cell(layout.value, value) for value in frame[layout.value]]
    if {"low", "high"} <= set(frame.columns):
        ends = zip(words, frame["low"], frame["high"], strict=True)
        words = [f"{w} [{_cell('', low)}, {_cell('', high)}]" if low == low else w for w, low, high in ends]
    tidy = frame[list(layout.rows)].assign(across=names, cell=words, best=_best(frame, layout))
    order = [_cell(layout.across, value) for value in sorted(frame[layout.across].unique())]
    places = tidy.drop_duplicates(list(layout.rows)).set_index(list(layout.rows)).index  # rows as in the frame
    cells, best = (
        tidy.pivot(index=list(layout.rows), columns="across", values=what).reindex(index=places, columns=order)
        for what in ("cell", "best")
    )
    bold = np.hstack([np.zeros((len(places), len(layout.rows)), bool), best.eq(True).to_numpy()])
    return Printed(cells.reset_index(), bold, _head(layout.across), len(order))


def _best(frame: pd.DataFrame, layout: Layout) -> pd.Series[bool]:
    """Which rows have the best value of those beside which they stand; none where there is no other."""
    if layout.best is None:
        return frame[layout.value].isna() & False
    value = frame[layout.value]
    if layout.best == "strongest":
        value = value.abs()
    elif layout.best == "metric":
        value = value.where(~frame["metric"].map(is_distance), -value)
    elif isinstance(layout.best, Mapping):
        value = value * frame[layout.rows[0]].map({name: SIGN[best] for name, best in layout.best.items()})
    else:
        value = value * SIGN[layout.best]
    beside = value.groupby([frame[name] for name in (*layout.rows[:-1], layout.across)])
    return (value == beside.transform("max")) & (beside.transform("count") > 1)


def latex(table: Printed, caption: str, name: str) -> str:
    r"""A table for \usepackage{booktabs}; a long one is a longtable. `name` goes into its \label."""
    frame = table.cells
    numeric = [_numeric(frame[column]) for column in frame.columns]
    heads = [" & ".join(_tex(_head(column)) for column in frame.columns) + r" \\"]
    if table.over:
        first = len(frame.columns) - table.under
        over = rf"\multicolumn{{{table.under}}}{{c}}{{{_tex(table.over)}}} \\"
        heads = ["& " * first + over, rf"\cmidrule(lr){{{first + 1}-{len(frame.columns)}}}", *heads]
    rows = [
        " & ".join(rf"\textbf{{{_tex(cell)}}}" if bold else _tex(cell) for cell, bold in zip(row, best, strict=True))
        + r" \\"
        for row, best in zip(_cells(frame), table.best, strict=True)
    ]
    shape = "".join("r" if n else "l" for n in numeric)
    title = rf"\caption{{{_tex(caption)}}}\label{{tab:{name}}}"
    if len(rows) > LONG:
        top = [rf"\begin{{longtable}}{{{shape}}}", title + r" \\", r"\toprule", *heads, r"\midrule", r"\endfirsthead",
               r"\toprule", *heads, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]  # fmt: skip
        return "\n".join([r"% needs \usepackage{booktabs,longtable}", *top, *rows, r"\end{longtable}", ""])
    top = [r"\begin{table}", r"\centering", title, rf"\begin{{tabular}}{{{shape}}}", r"\toprule", *heads, r"\midrule"]
    return "\n".join(
        [r"% needs \usepackage{booktabs}", *top, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    )


def markdown(table: Printed, caption: str) -> str:
    """A table for Markdown, its caption before it."""
    frame = table.cells
    first = len(frame.columns) - table.under
    rule = ["---:" if _numeric(frame[column]) else "---" for column in frame.columns]
    heads = [f"{table.over} {column}" if i >= first else _head(column) for i, column in enumerate(frame.columns)]
    rows = [
        [f"**{_bars(cell)}**" if bold else _bars(cell) for cell, bold in zip(row, best, strict=True)]
        for row, best in zip(_cells(frame), table.best, strict=True)
    ]
    return "\n".join([" ".join(caption.split()), "", *(f"| {' | '.join(row)} |" for row in [heads, rule, *rows]), ""])


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    columns = [[_cell(str(name), value) for value in frame[name]] for name in frame.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _cell(column: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:g}" if column == "keep_rate" else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    names: dict[str, Callable[[str], str]] = {"method": label, "dataset": place, "metric": metric_label}
    kind = next((kind for kind in names if column == kind or column.startswith(f"{kind}_")), "")
    return names[kind](str(value)) if kind else str(value)


def _head(column: Any) -> str:
    return HEADS.get(str(column), str(column).replace("_", " "))


def _numeric(column: pd.Series[Any]) -> bool:
    return bool(column.dtype.kind in "fiu") or all(_NUMBER.match(str(value)) for value in column.dropna())


def _tex(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
    return re.sub(r"(?<![\w.])[-−](?=\d)", "$-$", escaped)


def _bars(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
