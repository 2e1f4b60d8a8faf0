"""How deep patches live: the mean depth at which each method drops each patch, by keep rate.

A map is a method at a keep rate: each cell is a patch, its shade the mean over images of the block at which the patch
was dropped, and the number of blocks where it survived. White lines are radial rings: for each stage the disc around
the centre that holds as many patches as the method leaves tokens there, so that a purely radial method would change its
shade exactly at the lines. The maps of a row have one range of shades, which the bar beside them says. Below each map,
the Spearman correlation of the map with the distance from the centre by the ℓ1, ℓ2 and ℓ∞ norm; negative: patches near
the centre live longer. Of more than six methods, the first of each family are shown. Of several runs of a method at a
rate, the one with the lowest seed is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tokenlens.analysis.metrics.radial import distance
from tokenlens.errors import BadInput, UnknownName

from ..catalogue import figure
from ..select.pairs import joined
from ..select.setting import describe, select_setting, within
from ..source import Missing
from ..theme import style
from ..theme.style import annotate_gap, canvas, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..source import Source
    from ..theme.style import Canvas, Into

NORMS = {"l1": "ℓ1", "l2": "ℓ2", "linf": "ℓ∞"}  # of the distance from the centre: the shapes of the rings
CORRELATION = "heatmap_spearman"
NARROWEST = 0.62  # inches of a map, at letters of 8 points
COLORS = "cividis"  # as even for the colour-blind, and in grey


def disc(away: NDArray[np.float64], count: float) -> NDArray[np.bool_]:
    """The patches within the ring whose count is nearest to `count`, as the radial methods choose it: (P,) bool."""
    rings = np.unique(away)
    sizes = (away[:, None] <= rings).sum(axis=0)
    inside: NDArray[np.bool_] = away <= rings[np.abs(sizes - count).argmin()]
    return inside


def numbers(source: Source, *, dataset: str | None = None, model: str | None = None) -> pd.DataFrame:
    """One row a map: method, keep rate, the mean depth of a patch, and the three correlations with their intervals.

    Raises:
        Missing: there are no heat maps of runs of this data set and model.
    """
    import pandas as pd

    chosen = select_setting(source.table("runs"), dataset, model)
    maps = source.table("heatmap")
    mean = maps[maps["run"].isin(chosen["run"])].groupby("run")["depth"].agg(["mean", "min", "max"])
    rows = chosen[chosen["run"].isin(mean.index)][["method", "family", "keep_rate", "run", "images"]].reset_index(
        drop=True
    )
    if not len(rows):
        raise Missing(
            f"there are no heat maps of {describe(chosen)}; "
            "extract runs of a method that keeps patches, as topk, and run `tokenlens compare`"
        )
    rows = rows.join(mean.add_suffix("_depth"), on="run")
    try:
        found = within(joined(source, "radial", [CORRELATION]), chosen)
    except Missing:  # compared without the axis: the maps can be looked at all the same
        found = pd.DataFrame(columns=["run_a", "run_b", "value", "low", "high"], dtype=float)
    for norm in NORMS:
        of_norm = found[found["run_b"] == norm].set_index("run_a")
        for part, name in (("value", norm), ("low", f"{norm}_low"), ("high", f"{norm}_high")):
            rows[name] = rows["run"].map(of_norm[part])
    return rows


@figure("depth", "mean-depth heat maps, methods by keep rates", numbers, needs=["runs", "heatmap"])
def draw(
    source: Source, *, figure: Into = None, preset: str = "iccv", dataset: str | None = None, model: str | None = None,
    ring: str = "l2", methods: int | None = style.FEW,
) -> Canvas:  # fmt: skip
    """Draw the maps, methods from left to right and rates downwards; `ring` is the norm of the rings.

    `methods` at most, None for all.
    """
    if ring not in NORMS:
        raise UnknownName("norm", ring, NORMS)
    rows, left = numbers(source, dataset=dataset, model=model), _tokens_left(source)
    shown, rates = style.few(rows["method"], methods), sorted(rows["keep_rate"].unique())
    small = style.preset(preset).size
    rows = rows[rows["method"].isin(shown)]
    banks, across, cell = _layout(len(shown), preset)
    made = canvas(figure, preset, "page", 0.35 + banks * (0.15 + len(rates) * (cell + 0.06)))
    if figure is None and isinstance(made, Figure):
        made.set_layout_engine("compressed")  # few maps stand in the middle of the page, beside their bar
    letters = int(style.preset(preset).page / (across + 0.8) * 72 / (0.5 * 0.9 * small))  # above a map
    axes = made.subplots(banks * len(rates), across, squeeze=False)
    maps = {str(run): cells for run, cells in source.table("heatmap").groupby("run")}
    of = {(row.method, row.keep_rate): row for row in rows.itertuples()}
    for (line, column), ax in np.ndenumerate(axes):
        bank, number = divmod(line, len(rates))
        if bank * across + column >= len(shown):
            ax.set_axis_off()
            continue
        method, rate = shown[bank * across + column], rates[number]
        ax.set_title(style.wrapped(label(method), letters) if number == 0 else "", fontsize=0.9 * small)
        ax.set_ylabel(f"keep {rate:g}" if column == 0 else "")
        if (row := of.get((method, rate))) is None:
            annotate_gap(ax, "no run")
            continue
        run = str(row.run)
        _map(ax, maps[run].sort_values("patch"), _shades(rows, rate), left.get(run, []), ring)
        if not np.isnan(found := [getattr(row, norm) for norm in NORMS]).all():
            ax.set_xlabel("  ".join(map(_short, found)), fontsize=0.6 * small, labelpad=1.5)
    for line in axes:
        _bar(made, line)
    rings = f"{NORMS[ring]} rings of equal count" if left else "no rings, for lack of the runs themselves"
    setting = describe(select_setting(source.table("runs"), dataset, model))
    below = f"; below: Spearman ρ to {', '.join(NORMS.values())}" if rows[list(NORMS)].notna().any(axis=None) else ""
    made.supxlabel(f"shade: mean depth, one range a row; {rings}{below}; {setting}", fontsize=0.75 * small)
    return made


def _shades(rows: pd.DataFrame, rate: float) -> dict[str, Any]:
    """Colours of the maps at one rate: the range of what looks at the image, where radial patterns take all of it."""
    at_rate = rows[rows["keep_rate"] == rate]
    looking = at_rate[at_rate["family"] != "radial"]
    of = looking if len(looking) else at_rate
    return {"vmin": of["min_depth"].min(), "vmax": of["max_depth"].max(), "cmap": COLORS}


def _bar(made: Canvas, line: NDArray[np.object_]) -> None:
    """The colour bar of a row of maps, with an arrow where maps go beyond it."""
    images = [image for ax in line for image in ax.images]
    if not images:
        return
    low, high = images[0].get_clim()
    below, above = (any(i.get_array().min() < low for i in images), any(i.get_array().max() > high for i in images))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    bar = made.colorbar(images[0], ax=list(line), aspect=12, pad=0.01, fraction=0.2 / len(line), extend=extend)
    bar.ax.yaxis.set_major_locator(MaxNLocator(3))
    bar.ax.tick_params(labelsize="xx-small")
    bar.set_label("depth (blocks)", fontsize="x-small")


def _layout(methods: int, preset: str) -> tuple[int, int, float]:
    """Banks of rows, maps in a row, and the height of a map in inches at letters of 8 points."""
    page = style.preset(preset).page * 8 / style.preset(preset).size
    banks = -(-methods // max(int(page / NARROWEST), 1))
    across = -(-methods // banks)
    return banks, across, min(0.92 * page / (across + 0.8), 1.2)


def _map(ax: Axes, cells: pd.DataFrame, shades: dict[str, Any], counts: Sequence[float], ring: str) -> None:
    """Draw one map and, for each count of tokens, the ring that holds as many patches."""
    row, column = (cells[name].to_numpy() - cells[name].min() for name in ("row", "column"))
    shape = row.max() + 1, column.max() + 1
    depth = np.full(shape, np.nan)
    depth[row, column] = cells["depth"]
    ax.imshow(depth, **shades)
    away = distance(row, column, ring).round(9)  # equal distances are of one ring, whatever the last bit says
    for count in counts:
        inside = np.zeros(shape, bool)
        inside[row, column] = disc(away, count)
        halo = [Stroke(linewidth=1.3, foreground="0.15"), Normal()]
        ax.add_patch(PathPatch(outline(inside), fill=False, color="white", lw=0.6, path_effects=halo, gid="ring"))
    ax.set(xticks=[], yticks=[], xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    ax.spines[:].set_visible(False)


def outline(inside: NDArray[np.bool_]) -> Path:
    """The sides between the cells that are inside (rows, columns) and those that are not, x and y in cells."""
    lines = []
    for turned, border in ((False, inside[1:] != inside[:-1]), (True, (inside[:, 1:] != inside[:, :-1]).T)):
        for number, sides in enumerate(border):
            ends = np.flatnonzero(np.diff(sides, prepend=False, append=False)).reshape(-1, 2) - 0.5
            lines += [[(number + 0.5, end) if turned else (end, number + 0.5) for end in pair] for pair in ends]
    return Path(np.reshape(lines, (-1, 2)), [Path.MOVETO, Path.LINETO] * len(lines))


def _tokens_left(source: Source) -> dict[str, list[float]]:
    """Mean tokens left after each stage by run; empty where the source has tables only."""
    try:
        runs = source.runs
    except BadInput:
        return {}
    return {str(run.attrs["run"]): run["tokens_left"].mean("image").values.tolist() for run in runs}


def _short(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{round(value, 2) + 0.0:.2f}".replace("0.", ".").replace("-", "−")  # + 0.0: nothing is no less than nothing
