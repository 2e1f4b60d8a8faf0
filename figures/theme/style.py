"""The paper that figures are drawn for: widths, letters, legends and gaps, without pyplot or any global state.

How each method looks is in `palette`, what axes say in `panels`; both are found here as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from typing import Any, Literal, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from tokenlens.errors import UnknownName

from .palette import (
    FAINT,
    FEW,
    MEASURES,
    among,
    by_size,
    color,
    faint,
    few,
    in_order,
    ink,
    label,
    linestyle,
    marker,
    metric_label,
    metric_reading,
    order_key,
    place,
    rate_color,
    size_key,
    zorder,
)
from .panels import HIGHER, LOWER, annotate_gap, directed, fix_tick_sizes, label_rows, logarithmic, say_left_out

__all__ = [
    "Canvas", "FEW", "HIGHER", "Into", "LOWER", "MEASURES", "PRESETS", "Preset", "among", "annotate_gap", "by_size",
    "canvas", "color", "directed", "faint", "few", "fix_tick_sizes", "handles", "in_order", "ink", "label",
    "label_rows", "legend_of", "legend_room", "linestyle", "logarithmic", "marker", "metric_label", "metric_reading",
    "new_figure", "order_key", "place", "preset", "rate_color", "say_left_out", "shortened", "size_key", "use",
    "wrapped", "zorder",
]  # fmt: skip

Canvas: TypeAlias = Figure | SubFigure
Width: TypeAlias = Literal["column", "page"]
Into: TypeAlias = Figure | SubFigure | Axes | None


class Drawing(Figure):
    """A figure that a notebook shows by itself, with or without pyplot, and once."""

    def _repr_png_(self) -> bytes:
        made = BytesIO()
        self.savefig(made, dpi=self.dpi)
        return made.getvalue()


@dataclass(frozen=True)
class Preset:
    """Widths of a column and of the page and the height of a page in inches, and the size of letters in points."""

    column: float
    page: float
    height: float
    size: float
    fonts: tuple[str, ...]


SHOWN = 160  # dots an inch on a screen: a column of a paper is then readable in a notebook
LONGEST = 28  # letters of a name in a legend
TIMES, PLAIN = ("STIXGeneral", "DejaVu Serif"), ("DejaVu Sans",)  # both come with matplotlib
_CVPR = Preset(3.28, 6.875, 8.875, 8, TIMES)
_LNCS = Preset(4.8, 4.8, 7.6, 8, TIMES)
PRESETS = {
    "iccv": _CVPR, "cvpr": _CVPR, "eccv": _LNCS, "lncs": _LNCS, "neurips": Preset(5.5, 5.5, 9, 8.5, TIMES),
    "slide": Preset(6, 12.3, 6.2, 15, PLAIN), "screen": Preset(5.5, 9.6, 12, 9.5, PLAIN),
}  # fmt: skip


def handles(methods: Iterable[str], lines: bool = True) -> list[Line2D]:
    """What a legend shows: the colour, marker, line (if `lines`) and name of each method, in their order.

    All that are faint are one entry, the last.
    """
    shown = in_order(methods)
    made = [
        Line2D([], [], color=color(m), marker=marker(m), linestyle=linestyle(m) if lines else "none",
               label=shortened(label(m), LONGEST))
        for m in shown if not faint(m)
    ]  # fmt: skip
    if behind := sum(map(faint, shown)):
        made.append(Line2D([], [], color=FAINT, linestyle="-" if lines else "none", marker="" if lines else "o",
                           label=f"{behind} other{'s' * (behind > 1)}"))  # fmt: skip
    return made


def shortened(name: str, letters: int) -> str:
    """A name in so many letters at most, without its middle: variants differ at their ends."""
    tail = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[: letters - 1 - tail]}…{name[len(name) - tail :]}"


def wrapped(name: str, letters: int) -> str:
    """A name in one line, or in two where it is longer than so many letters."""
    letters = max(letters, 12)  # our own names need no more
    if len(name) <= letters:
        return name
    at = max((i + 1 for i, letter in enumerate(name[:letters]) if letter in "-_ /"), default=letters)
    return f"{name[:at]}\n{shortened(name[at:], letters)}"


def legend_room(methods: Iterable[str], name: str, also: int = 0) -> float:
    """Inches that a legend as wide as the page takes beyond two lines, at letters of 8 points; see `legend_of`."""
    chosen = preset(name)
    names = [str(one.get_label()) for one in handles(methods)]
    lines = ceil((len(names) + also) / _across(names, chosen.page * 72, 0.85 * chosen.size, chosen.fonts is PLAIN))
    return 0.15 * max(lines - 2, 0)


def _across(names: Iterable[str], width: float, size: float, plain: bool) -> int:
    """How many entries of a legend stand side by side in so many points, at letters of so many points."""
    return max(int(width / (size * (4.6 + (0.6 if plain else 0.5) * max(map(len, names), default=0)))), 1)


def legend_of(
    canvas: Canvas, methods: Iterable[str], lines: bool = True, also: Iterable[Line2D] = (), above: bool = False
) -> None:
    """The methods, and what is there `also`, below or `above` all else: as many in a line as the canvas is wide."""
    shown = [*handles(methods, lines), *also]
    rc = matplotlib.rcParams
    names = [str(one.get_label()) for one in shown]
    wide = _across(names, canvas.bbox.width / canvas.figure.dpi * 72, rc["legend.fontsize"],
                   rc["font.family"][0] == PLAIN[0])  # fmt: skip
    where: Literal["outside upper center", "outside lower center"]
    where = "outside upper center" if above else "outside lower center"
    canvas.legend(handles=shown, loc=where, ncols=min(wide, len(shown)), columnspacing=1.2,
                  handletextpad=None if lines else 0)  # fmt: skip


def preset(name: str) -> Preset:
    """The preset of a name; UnknownName offers the nearest."""
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    return PRESETS[name]


@contextmanager
def use(name: str) -> Iterator[Preset]:
    """Draw and save in a preset's letters: text stays text in PDF and SVG, and the same figure is the same file."""
    chosen = preset(name)
    rc: dict[Any, Any] = {
        "font.family": list(chosen.fonts), "mathtext.fontset": "stix" if chosen.fonts is TIMES else "dejavusans",
        "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "tokenlens", "axes.unicode_minus": True,
        "text.usetex": False, "text.parse_math": False,  # the names of methods and data sets are the users'
        "axes.grid": False, "grid.color": "0.88", "axes.axisbelow": True, "axes.spines.top": False,
        "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 2.6,
        "figure.dpi": 100, "savefig.dpi": 300,
        "image.composite_image": False,  # images that are put together are resampled on the way to PDF and SVG
    }  # fmt: skip
    with matplotlib.rc_context(rc | _sizes(chosen.size)):
        yield chosen


def _sizes(size: float) -> dict[Any, Any]:
    """Letters of so many points, and lines that suit them."""
    full = ("font.size", "axes.titlesize", "axes.labelsize", "figure.titlesize")
    small = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    thin = ("axes.linewidth", "xtick.major.width", "ytick.major.width", "grid.linewidth", "hatch.linewidth")
    lines = {
        "lines.linewidth": 0.1 * size,
        "lines.markersize": 0.45 * size,
        "lines.markeredgewidth": 0.12 * size,
        "axes.titlepad": 0.5 * size,
    }
    return dict.fromkeys(full, size) | dict.fromkeys(small, 0.85 * size) | dict.fromkeys(thin, 0.07 * size) | lines


def new_figure(name: str, width: Width = "column", height: float = 2.4) -> Figure:
    """A figure of a preset's column or page width, `height` inches at letters of 8 points, without pyplot.

    Larger letters take more height; no figure is higher than the page. What is drawn into it belongs under `use`.
    """
    chosen = preset(name)
    with use(name):
        tall = min(height * chosen.size / 8, chosen.height)
        return Drawing(figsize=(getattr(chosen, width), tall), dpi=SHOWN, layout="constrained", facecolor="white")


def canvas(into: Into, name: str, width: Width = "column", height: float = 2.4) -> Canvas:
    """Where to draw, under `use`: a new figure, the figure passed in, or a subfigure in the place of the axes.

    A new figure that would be higher than the page has smaller letters, and all else with them.
    """
    if into is None:
        chosen = preset(name)
        matplotlib.rcParams.update(_sizes(min(chosen.size, 8 * chosen.height / height)))  # until `use` ends
        return new_figure(name, width, height)
    whole = into.figure
    assert whole is not None
    while isinstance(whole, SubFigure):
        whole = whole.figure
    if whole.get_layout_engine() is None:
        whole.set_layout_engine("constrained")  # else legends and labels would lie on each other
    if not isinstance(into, Axes):
        return into
    spot = into.get_subplotspec()
    if spot is None:
        raise ValueError("axes that were placed by hand cannot make room; pass axes of fig.subplots, or a figure")
    above = into.figure
    into.remove()
    return above.add_subfigure(spot)
