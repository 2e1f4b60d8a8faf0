"""What merging costs the pictures and what it saves: Frechet distance, recognition and seconds against the ratio.

Of pictures that `tokenlens synthesize` drew and `tokenlens fid` judged, means over seeds with bars from the least to
the largest. The dashed line is the un-reduced model. The Frechet distance is between features of drawn and of real
pictures (Inception's: the FID); lower is better. Recognised is the share that the embedded ViT takes for what was
asked, known of embedded pictures alone. Seconds are those of one picture, where they were drawn. Of several settings
the one with most sets of pictures is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D

from ..catalogue import figure
from ..output.latex_markdown import Layout
from ..parts.curves import EXPECTED
from ..parts.lines import draw_lines
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd

SETTING = ["model", "real", "features", "n_real", "n_drawn", "steps", "guidance"]
SHOWN = {  # of the measures, what they are called and which end is better
    "fid": ("Fréchet distance", style.LOWER), "recognised": ("recognised", style.HIGHER),
    "seconds": ("seconds a picture", style.LOWER),
}  # fmt: skip
LAYOUT = Layout(
    rows=("measure", "method"), across="ratio", value="value",
    best={"fid": "lower", "recognised": "higher", "seconds": "lower"},
    caption="Frechet distance, share recognised and seconds a picture at each ratio of merged tokens, means over "
    "seeds with their least and largest. Bold: the best method at that ratio.",
)  # fmt: skip
UNREDUCED = EXPECTED | {"gid": "unreduced", "label": "un-reduced"}


def numbers(source: Source) -> pd.DataFrame:
    """One row a method, ratio and measure: value, low, high (of the seeds), how many seeds; and the setting."""
    import pandas as pd

    table = source.table("quality")
    known = table[(table["method"] != "") & table["ratio"].notna()]
    if not len(known):
        raise Missing("no pictures with a method were judged; draw some with `tokenlens synthesize`")
    _, chosen = max(known.groupby(SETTING, dropna=False), key=lambda item: len(item[1]))
    rows: list[dict[str, Any]] = []
    for (method, ratio), part in chosen.groupby(["method", "ratio"]):
        for measure in SHOWN:
            of = part[measure].dropna()
            if len(of):
                rows.append({
                    **part[SETTING].iloc[0], "method": method, "ratio": ratio, "measure": measure, "value": of.mean(),
                    "low": of.min(), "high": of.max(), "seeds": part["seed"].nunique(),
                })  # fmt: skip
    order = list(SHOWN)
    rows.sort(key=lambda row: (order.index(row["measure"]), style.order_key(row["method"]), row["ratio"]))
    return pd.DataFrame(rows)


@figure("quality", "quality of drawn pictures and seconds against the ratio", numbers, needs=["quality"], fades=True,
        layout=LAYOUT)  # fmt: skip
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page."""
    frame = numbers(source)
    measures = [measure for measure in SHOWN if (frame["measure"] == measure).any()]
    reduced, unreduced = frame[frame["ratio"] > 0], frame[frame["ratio"] == 0]
    canvas = style.canvas(figure, preset, "page", 2.4 + style.legend_room(reduced["method"], preset, 1))
    panels = canvas.subplots(1, len(measures), squeeze=False)[0]
    for ax, measure in zip(panels, measures, strict=True):
        part = reduced[reduced["measure"] == measure]
        draw_lines(ax, part, "ratio", "value", {ratio: ratio for ratio in sorted(part["ratio"].unique())})
        for value in unreduced.loc[unreduced["measure"] == measure, "value"]:
            ax.axhline(value, **UNREDUCED)
        ax.set_xlabel("ratio of tokens removed")
        ax.set_ylabel(style.directed(*SHOWN[measure]))
    style.legend_of(canvas, reduced["method"], also=[Line2D([], [], **UNREDUCED)] if len(unreduced) else [])
    return canvas
