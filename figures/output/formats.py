"""Formats and places of figures; the same figure is the same file."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tokenlens.errors import BadInput, UnknownName

from ..theme.style import use

FORMATS = ("pdf", "svg", "png")
_DATELESS: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None}, "svg": {"Date": None, "Creator": None}, "png": {"Software": None}
}  # fmt: skip


def formats(text: str) -> list[str]:
    """Read pdf,svg,png; UnknownName for a format that is none of these."""
    chosen = list(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    for word in chosen:
        if word not in FORMATS:
            raise UnknownName("format", word, FORMATS)
    if not chosen:
        raise BadInput("--format names no format; give some of pdf,svg,png")
    return chosen


def image(figure: Figure, kind: str, preset: str) -> bytes:
    """A figure as the bytes of a pdf, svg or png file, in a preset's letters."""
    made = BytesIO()
    with use(preset), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a data set's name may be in any script
        FigureCanvasAgg(figure)  # no window, no global state
        # cells of pixels, as of a contact sheet, are written one by one, in the figure's own resolution
        as_it_is: dict[str, Any] = {"dpi": figure.dpi} if figure.images else {}
        figure.savefig(made, format=kind, metadata=_DATELESS[kind], **as_it_is)
    return made.getvalue()
