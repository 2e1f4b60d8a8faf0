"""What axes say: which end is the good one, why nothing is drawn, what was left out, and ticks that can be read."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

HIGHER, LOWER = "higher is better", "lower is better"  # of accuracies and costs; a metric says it itself


def directed(text: str, reading: str, between: str = "\n") -> str:
    """What an axis shows, and which of its ends is the good one: "mAP (%)" and "higher is better"."""
    return f"{text}{between}{reading}" if reading else text


def annotate_gap(ax: Axes, text: str) -> None:
    """Say in the middle of empty axes why nothing is drawn there; a row or column of gaps is better left out."""
    ax.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)  # the ticks may be shared with others
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize="small", color="0.35",
            wrap=True, gid="gap")  # fmt: skip


def logarithmic(ax: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, its ticks plain numbers: powers of ten would be mathtext, which names must not be."""
    ax.set(**{f"{which}scale": "log"})
    axis = getattr(ax, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def say_left_out(canvas: Figure | SubFigure, why: Iterable[str], below: str = "") -> None:
    """Write under the panels what is `below` them, and why others were left out."""
    said = "; ".join(why)
    words = [below, *([fill(f"Left out: {said}.", 110)] if said else [])]
    if text := "\n".join(filter(None, words)):
        canvas.supxlabel(text, fontsize="medium" if below else "small")


def fix_tick_sizes(canvas: Figure | SubFigure) -> None:
    """Fix the size of tick labels, which are made only when the figure is drawn, perhaps not under `use`."""
    size = matplotlib.rcParams["xtick.labelsize"]
    for ax in canvas.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if "labelsize" not in axis.get_tick_params():
                axis.set_tick_params(labelsize=size)


def label_rows(row: Iterable[Axes], text: str) -> None:
    """Write what y is, and its ticks, left of the first axes in a row of shared y that are no gap."""
    for ax in row:
        if not any(written.get_gid() == "gap" for written in ax.texts):
            ax.set_ylabel(text)
            ax.tick_params(labelleft=True)
            return
