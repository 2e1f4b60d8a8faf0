"""What a detector loses with fewer tokens, and whether small objects are lost first.

A column is a size of objects by their area in pixels of the image: COCO's (small below 32 x 32, medium below 96 x 96),
and of the embedded scenes, whose objects are all small by that, thirds of them (below 243 pixels, below 490). A line is
a method, its points its keep rates. Above: average precision of boxes. Below: the share of an object's patches that are
intact after the last stage, kept or in a group with patches of the same object alone, on average over objects. On the
dashed line, the detector without any reduction. Points are means over seeds, bars their least and greatest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..catalogue import PATTERNS, figure
from ..output.latex_markdown import Layout
from ..parts.curves import EXPECTED, curves
from ..source import Missing
from ..theme import style
from ..theme.style import canvas

if TYPE_CHECKING:
    import pandas as pd

    from ..source import Source
    from ..theme.style import Canvas, Into

SIZES = {"": "all objects", "s": "small", "m": "medium", "l": "large"}
MEASURES = {"AP": "box AP (%)", "intact": "patches intact (%)"}  # of both, more is better
LAYOUT = Layout(
    rows=("measure", "size", "method"), across="keep_rate", value="value", best="higher",
    caption="Average precision of boxes (AP) and share of an object's patches that are intact after the last stage, in "
    "percent, by size of objects, at each keep rate; means over seeds with their least and greatest. Bold: the best.",
)  # fmt: skip


def numbers(source: Source) -> pd.DataFrame:
    """One row a measure, size, method and keep rate: mean, least and greatest over seeds, and images.

    Raises:
        Missing: no run tells what a detector found.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for run in source.runs:
        told = dict(run.attrs.get("metrics") or {})
        for size in SIZES:
            for measure, name in (("AP", f"box AP{size}"), ("intact", f"intact {size}".strip())):
                if name in told and run.attrs.get("keep_rate") is not None:
                    rows.append({
                        "measure": measure, "size": SIZES[size], "method": str(run.attrs["method"]),
                        "family": str(run.attrs["family"]), "keep_rate": float(run.attrs["keep_rate"]),
                        "value": float(told[name]), "images": run.sizes["image"],
                    })  # fmt: skip
    if not rows:
        raise Missing("no run tells what a detector found; make some with `tokenlens detect`")
    keys = ["measure", "size", "method", "family", "keep_rate", "images"]
    found = pd.DataFrame(rows).groupby(keys, sort=False)["value"]
    return (
        pd.DataFrame(found.agg(["mean", "min", "max", "count"]))
        .reset_index()
        .rename(columns={"mean": "value", "min": "low", "max": "high", "count": "seeds"})
    )


@figure(
    "detection",
    "average precision and intact objects against the keep rate",
    numbers,
    needs=[PATTERNS],
    fades=True,
    layout=LAYOUT,
)
def draw(source: Source, *, figure: Into = None, preset: str = "iccv") -> Canvas:
    """Draw a row a measure and a column a size."""
    rows = numbers(source)
    drawn = rows[rows["family"] != "none"]
    sizes = [size for size in SIZES.values() if (rows["size"] == size).any()]
    made = canvas(figure, preset, "page", 3.6 + style.legend_room(drawn["method"], preset))
    axes = made.subplots(len(MEASURES), len(sizes), squeeze=False, sharex=True, sharey="row")
    for line, (measure, said) in zip(axes, MEASURES.items(), strict=True):
        for ax, size in zip(line, sizes, strict=True):
            here = (rows["measure"] == measure) & (rows["size"] == size)
            for whole in rows.loc[here & (rows["family"] == "none"), "value"]:
                ax.axhline(whole, **EXPECTED)
            curves(ax, drawn[here[drawn.index]], "keep_rate", "value")
            ax.set_title(size if measure == "AP" else "")
        style.label_rows(line, style.directed(said, style.HIGHER))
    made.supxlabel(f"keep rate ({', '.join(map(str, sorted(set(rows['images']))))} images)", fontsize="medium")
    style.legend_of(made, drawn["method"], above=True)
    return made
