"""How methods look, from what is known of them: their own label, colour, marker and order, or what their family gives.

A family has a hue and a line; within a family methods go from dark to light. So methods are told apart in colour, by
the colour-blind (hues after Okabe and Ito, 2008), and in grey, where the marker decides.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.markers import MarkerStyle
from numpy.typing import NDArray

from tokenlens.core.families import UNORDERED


@dataclass(frozen=True)
class Look:
    """How a method is drawn, its name for readers, and its place among others."""

    label: str
    color: str
    marker: Any
    family: str
    order: int
    faint: bool = False
    """drawn behind the others and named by no legend"""


@dataclass(frozen=True)
class Hue:
    """What methods of a family have in common: their line, as matplotlib takes it, and colours from dark to light."""

    line: Any
    dark: str
    light: str


FAMILIES = {  # in the order in which methods stand that give none
    "none": Hue("-", "#000000", "#808080"), "pruning": Hue("-", "#08306b", "#9fcdf0"),
    "merging": Hue("--", "#6b2500", "#ff8c40"), "soft": Hue("-.", "#85196f", "#e0a3cf"),
    "radial": Hue(":", "#004d3a", "#7fd0b4"), "random": Hue((0, (1, 3)), "#5c5c5c", "#b8b8b8"),
}  # fmt: skip
OTHERS = Hue((0, (5, 1, 1, 1, 1, 1)), "#4f3b78", "#c9b8ea")  # families of other packages
SHADES = 49  # colours of a family to choose from
# what is drawn where no marker is given; one of three numbers is a star: points, kind, angle
MARKERS: tuple[Any, ...] = (
    "o", "s", "^", "D", "v", "p", "h", "P", "X", "H", "8", "<", ">", "d", "+", "x", "1", "2", "3", "4", "|", "_",
    (4, 1, 0), (3, 1, 0), (6, 2, 0), (8, 1, 0), (4, 1, 45), (3, 1, 180),
)  # fmt: skip
LOOK = ("family", "label", "color", "marker", "order")  # what runs say, and the `runs` table


def looks(rows: Iterable[Mapping[str, Any]]) -> dict[str, Look]:
    """The look of each method.

    Args:
        rows: what is known of methods, `method` and as far as given family, label, color, marker and order; of several
            rows of a method the first that gives a fact counts.

    Returns:
        A look for each method. A colour that is not given is the one of the family's that is farthest from those taken;
        a marker is the first free one. What two methods would share, as a variant does with what it is a variant of,
        stays with the first of them: the other goes by its own name, with another shade of its family and a marker of
        its own. So no two methods have one colour, wherever they stand side by side.
    """
    told: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = told.setdefault(str(row["method"]), {})
        known.update({name: row[name] for name in LOOK if name not in known and _given(row, name)})
    ordered = sorted(told, key=lambda method: place_among(method, told[method]))
    for method in ordered:
        _without_twins(told[method], [told[other] for other in ordered[: ordered.index(method)]])
    colors = [one["color"] for one in told.values() if "color" in one]
    markers = [one["marker"] for one in told.values() if "marker" in one]
    found = {}
    for method in ordered:
        one = told[method]
        family = str(one.get("family", ""))
        if "color" not in one:
            colors.append(one.setdefault("color", _free_color(family, colors)))
        if "marker" not in one:
            markers.append(one.setdefault("marker", _free_marker(markers)))
        label, order = str(one.get("label", method)), int(one.get("order", UNORDERED))
        found[method] = Look(label, one["color"], one["marker"], family, order)
    return found


def _given(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row gives a fact; a colour or marker that cannot be drawn is told and not taken."""
    value = row.get(name)
    if value is None or value == "" or value != value:
        return False
    if value == {"label": row["method"], "order": UNORDERED}.get(name):
        return False  # as tables say it where nothing was given
    if (name == "color" and not is_color_like(value)) or (name == "marker" and not _is_marker(value)):
        warnings.warn(
            f"{row['method']} gives the {name} {value!r}, which cannot be drawn; another is drawn until its runs give "
            f"a {name} that matplotlib knows",
            stacklevel=3,
        )
        return False
    return True


def _is_marker(value: Any) -> bool:
    try:
        MarkerStyle(value)
    except ValueError:
        return False
    return True


def place_among(method: str, told: Mapping[str, Any]) -> tuple[int, int, str]:
    """Sorts methods: by the order that they give, then by family and name."""
    families, family = list(FAMILIES), told.get("family")
    return int(told.get("order", UNORDERED)), families.index(family) if family in FAMILIES else len(families), method


def _without_twins(one: dict[str, Any], before: Iterable[Mapping[str, Any]]) -> None:
    """Take from a method the label and the colour that one before it has, and with its colour its marker."""
    for other in before:
        if "label" in one and one["label"] == other.get("label"):
            del one["label"]
        if "marker" in one and (one["marker"], one.get("color")) == (other.get("marker"), other.get("color")):
            del one["marker"]
        if "color" in one and one["color"] == other.get("color"):
            del one["color"]


def _free_color(family: str, taken: Iterable[str]) -> str:
    """The colour of a family's that is farthest from all that are taken, the darkest of equals."""
    hue = FAMILIES.get(family, OTHERS)
    shades = np.linspace(to_rgb(hue.dark), to_rgb(hue.light), SHADES)
    away = [np.linalg.norm(_seen(shades) - _seen(np.array(to_rgb(color))), axis=-1) for color in taken]
    return to_hex(shades[np.min(away, axis=0).argmax()] if away else shades[0])


def _free_marker(taken: Iterable[Any]) -> Any:
    """The first marker that is not taken; where all are, the one that is taken least."""
    held = list(taken)
    return min(MARKERS, key=held.count)


def _seen(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (..., 3), 0 to 1, in Oklab, where distances are as they are seen (Ottosson, 2020)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    axes = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    seen: NDArray[np.float64] = np.cbrt(linear @ np.transpose(cones)) @ np.transpose(axes)
    return seen
