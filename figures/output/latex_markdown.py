"""The numbers behind a figure as text: a table for LaTeX with the rules of booktabs, and one for Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..theme.style import label, metric_label, place

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Layout:
    """How the rows of a figure's numbers become a table to read: one column for each value of `across`."""

    rows: tuple[str, ...]
    across: str
    value: str


_NUMBER = re.compile(r"[-−]?\d[\d.]*( \[.*\])?$|–$")  # a number, with its interval or without
LONG = 45  # rows of a table that goes over several pages
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "ℓ": r"$\ell$", "∞": r"$\infty$", "ρ": r"$\rho$",
    "τ": r"$\tau$", "–": "--", "×": r"$\times$",
}  # fmt: skip


def spread(frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Put what is tidy side by side: cells are values as text, with [low, high] where a frame has them."""
    names = [_cell(layout.across, value) for value in frame[layout.across]]
    words = [_cell(layout.value, value) for value in frame[layout.value]]
    if {"low", "high"} <= set(frame.columns):
        ends = zip(words, frame["low"], frame["high"], strict=True)
        words = [f"{w} [{_cell('', low)}, {_cell('', high)}]" if low == low else w for w, low, high in ends]
    tidy = frame[list(layout.rows)].assign(across=names, cell=words)
    wide = tidy.pivot(index=list(layout.rows), columns="across", values="cell")
    order = [_cell(layout.across, value) for value in sorted(frame[layout.across].unique())]
    places = tidy.drop_duplicates(list(layout.rows)).set_index(list(layout.rows)).index  # rows as in the frame
    return wide.reindex(index=places, columns=order).reset_index()


def latex(frame: pd.DataFrame, caption: str, name: str) -> str:
    r"""A table for \usepackage{booktabs}; a long one is a longtable. `name` goes into its \label."""
    numeric = [_numeric(frame[column]) for column in frame.columns]
    heads = " & ".join(_tex(_head(column)) for column in frame.columns) + r" \\"
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in _cells(frame)]
    shape = "".join("r" if n else "l" for n in numeric)
    title = rf"\caption{{{_tex(caption)}}}\label{{tab:{name}}}"
    if len(rows) > LONG:
        top = [rf"\begin{{longtable}}{{{shape}}}", title + r" \\", r"\toprule", heads, r"\midrule", r"\endfirsthead",
               r"\toprule", heads, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]  # fmt: skip
        return "\n".join([r"% needs \usepackage{booktabs,longtable}", *top, *rows, r"\end{longtable}", ""])
    top = [r"\begin{table}", r"\centering", title, rf"\begin{{tabular}}{{{shape}}}", r"\toprule", heads, r"\midrule"]
    return "\n".join(
        [r"% needs \usepackage{booktabs}", *top, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    )


def markdown(frame: pd.DataFrame, caption: str) -> str:
    """A table for Markdown, its caption before it."""
    rule = ["---:" if _numeric(frame[column]) else "---" for column in frame.columns]
    rows = [
        [_head(column) for column in frame.columns],
        rule,
        *([_bars(cell) for cell in row] for row in _cells(frame)),
    ]
    return "\n".join([" ".join(caption.split()), "", *(f"| {' | '.join(row)} |" for row in rows), ""])


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
    return str(column).replace("_", " ")


def _numeric(column: pd.Series[Any]) -> bool:
    return bool(column.dtype.kind in "fiu") or all(_NUMBER.match(str(value)) for value in column.dropna())


def _tex(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
    return re.sub(r"(?<![\w.])[-−](?=\d)", "$-$", escaped)


def _bars(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
