"""Lines through the keep rates of each method, against what is expected of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

EXPECTED: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0, "gid": "expected"}
"""how the line is drawn where what was found is what was expected"""


def curves(ax: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """Draw a line a method through its keep rates, with a bar from `low` to `high` at each.

    Args:
        ax: where to.
        rows: one row a method and keep rate, with `method`, `keep_rate`, `low`, `high` and the two columns drawn.
        x: the column that is expected.
        y: the column that was found.
    """
    for method in style.in_order(rows["method"]):
        line = rows[rows["method"] == method].sort_values("keep_rate")
        bars = np.nan_to_num([line[y] - line["low"], line["high"] - line[y]]).clip(0)
        ax.errorbar(line[x], line[y], bars, color=style.color(method), marker=style.marker(method),
                    linestyle=style.linestyle(method), label=style.label(method), elinewidth=0.5,
                    zorder=style.zorder(method))  # fmt: skip
