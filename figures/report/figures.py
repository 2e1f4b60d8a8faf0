"""The report's figures: every registered one that the runs and tables allow, its caption and its numbers."""

from __future__ import annotations

import warnings
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tokenlens.errors import BadInput

from ..catalogue import Entry, entries
from ..source import Source
from ..theme.style import use
from .page import text

PRESET = "screen"
LARGEST = 400_000  # bytes of SVG; a larger figure is put in as PNG
DPI = 130


@dataclass(frozen=True)
class Shown:
    """A figure on the page: its markup, and the table behind it; `lack` says why there is none instead."""

    name: str
    markup: str = ""
    numbers: pd.DataFrame | None = None
    lack: str = ""


def figures(source: Source) -> Iterator[Shown]:
    """Draw one figure after the other; what cannot be drawn says in a sentence what is missing."""
    for entry in entries():
        try:
            numbers = entry.numbers(source)
            yield Shown(entry.name, _markup(entry, _uri(entry.draw(source, preset=PRESET, strict=True))), numbers)
        except BadInput as error:
            yield Shown(entry.name, lack=str(error))


def _uri(figure: Any) -> str:
    """A figure as a data URI: SVG with its letters as shapes, which every browser has; PNG where that is too large."""
    FigureCanvasAgg(figure)
    of_pixels = bool(figure.images)  # a contact sheet is drawn pixel by pixel, in its own resolution
    drawn = b"" if of_pixels else _saved(figure, "svg", 100)
    if drawn and len(drawn) <= LARGEST:
        return f"data:image/svg+xml;base64,{b64encode(drawn).decode()}"
    return f"data:image/png;base64,{b64encode(_saved(figure, 'png', 'figure' if of_pixels else DPI)).decode()}"


def _saved(figure: Any, kind: str, dpi: Any) -> bytes:
    made = BytesIO()
    with use(PRESET), matplotlib.rc_context({"svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a data set's name may be in any script
        figure.savefig(made, format=kind, dpi=dpi, metadata={"svg": {"Date": None}, "png": {"Software": None}}[kind])
    return made.getvalue()


def _markup(entry: Entry, uri: str) -> str:
    title = entry.title[0].upper() + entry.title[1:]
    return (
        f'<figure class="figure" id="figure-{entry.name}"><figcaption><h3>{escape(title)}</h3></figcaption>'
        f'<img alt="{escape(title)}" src="{uri}">'
        f"<figcaption>{text(entry.caption)}</figcaption>"
        f'<details><summary>The numbers</summary><div data-table="{entry.name}"></div></details></figure>'
    )
