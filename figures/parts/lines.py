"""One line a method: at the very places that they are of, or side by side at places that are but names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def draw_lines(ax: Axes, frame: pd.DataFrame, by: str, value: str, places: Mapping[Any, float]) -> None:
    """Draw `value` with bars from `low` to `high` for each method of a frame, one row a method and place.

    Places that are numbers, as keep rates are, are where they are: a point beside one would read as another number.
    At places that are names, methods stand side by side.

    Args:
        ax: where to draw.
        frame: columns method, low, high (NaN for no bar), `by` and `value`; a method without a place has a gap there.
        by: the column that says the place.
        value: the column that is drawn.
        places: where along x each value of `by` is; by numbers these are the numbers themselves.
    """
    methods = style.in_order(frame["method"])
    x = np.array(list(places.values()), dtype=np.float64)
    named = any(isinstance(place, str) for place in places)
    step = 0.55 * min(np.diff(np.sort(x)), default=1.0) / max(len(methods), 1) if named else 0.0
    for i, method in enumerate(methods):
        line = frame[frame["method"] == method].set_index(by).reindex(list(places))
        bars = np.nan_to_num(np.abs(line[["low", "high"]].to_numpy().T - line[value].to_numpy()))
        look = {"color": style.color(method), "marker": style.marker(method), "linestyle": style.linestyle(method),
                "zorder": style.zorder(method)}  # fmt: skip
        beside = x + step * (i - (len(methods) - 1) / 2)
        faint = (style.color(method), 1.0 if named else 0.5)  # bars lie over each other
        ax.errorbar(beside, line[value], bars, elinewidth=0.4, ecolor=faint, label=style.label(method), **look)
    ax.set_xticks(x, [f"{place:g}" if isinstance(place, float) else str(place) for place in places])
    ax.grid(axis="y")
