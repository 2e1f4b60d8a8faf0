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
    """A figure on the page: its markup, and the table behind it; `lack` says why there is none instead.

    `svg` is the figure to download, where the one on the page is none.
    """

    name: str
    markup: str = ""
    numbers: pd.DataFrame | None = None
    svg: bytes = b""
    lack: str = ""


def figures(source: Source) -> Iterator[Shown]:
    """Draw one figure after the other; what cannot be drawn says in a sentence what is missing."""
    for entry in entries():
        try:
            numbers = entry.numbers(source)
            uri, svg = _drawn(entry.draw(source, preset=PRESET, strict=True))
            yield Shown(entry.name, _markup(entry, uri), numbers, svg)
        except BadInput as error:
            yield Shown(entry.name, lack=str(error))


def _drawn(figure: Any) -> tuple[str, bytes]:
    """A figure as a data URI, and as SVG where that is too large to show, as of many points or pixels.

    SVG has its letters as shapes, which every browser has; what is shown in its place is PNG.
    """
    FigureCanvasAgg(figure)
    of_pixels = bool(figure.images)  # a contact sheet is drawn pixel by pixel, in its own resolution
    svg = _saved(figure, "svg", figure.dpi if of_pixels else 100)
    if len(svg) <= LARGEST and not of_pixels:
        return f"data:image/svg+xml;base64,{b64encode(svg).decode()}", b""
    return f"data:image/png;base64,{b64encode(_saved(figure, 'png', 'figure' if of_pixels else DPI)).decode()}", svg


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
        f'<button type="button" class="enlarge" aria-label="Enlarge: {escape(title)}" title="Enlarge">'
        f'<img alt="{escape(title)}" src="{uri}"></button>'
        f"<figcaption>{text(entry.caption)}</figcaption>"
        f'<p class="tools"><button type="button" class="save" data-figure="{entry.name}">Download SVG</button></p>'
        f'<details><summary>The numbers</summary><div data-table="{entry.name}"></div></details></figure>'
    )
