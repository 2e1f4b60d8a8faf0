"""Which axes and metrics are asked for, and what is said of those from which nothing comes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tokenlens.errors import BadInput, UnknownName

from .metrics.base import METRICS, Metric, as_metric
from .metrics.kinds import NULLS
from .pairing import AXES, SINGLE, combined

if TYPE_CHECKING:
    import pandas as pd

# a run beside something: distances from the centre, masks, ...
OWN = ("radial", "object", "layout", "attention", "curve")
ALL_AXES = AXES + OWN
WHAT = {
    "kept": "sets of kept patches", "group": "groups of merged patches", "object": "kept patches and object masks",
    "segments": "groups of merged patches and object masks", "layout": "kept patches on their grid",
    "attention": "kept patches and recorded attention",
    "insertion": "what a model makes of the kept patches alone",
    "deletion": "what a model makes of the patches that go",
    "depth": "depths of kept patches", "heatmap": "heat maps of kept patches", "feature": "class-token features",
}  # fmt: skip


def axes(given: Iterable[str] | None) -> tuple[str, ...]:
    """The axes by name, all where none is given, of each kind in its order; UnknownName for one that there is not."""
    chosen = tuple(dict.fromkeys(map(combined, given or ALL_AXES)))
    for name in chosen:
        if name not in ALL_AXES and not all(part in SINGLE for part in name.split("+")):
            raise UnknownName("axis", name, ALL_AXES)
    return tuple(sorted(chosen, key=lambda name: ALL_AXES.index(name) if name in ALL_AXES else len(AXES)))


def metrics(given: Iterable[str | Metric | Callable[..., Any]] | None) -> tuple[Metric, ...]:
    """Each metric once, in the order of the registry, those that are in none last; all where none is given."""
    chosen: dict[str, Metric] = {}
    for one in map(as_metric, given or METRICS):
        if chosen.setdefault(one.name, one) != one:
            raise BadInput(f"two of the metrics are called {one.name!r}; rename one of them")
    listed = [name for name in METRICS if name in chosen]
    return tuple(chosen.pop(name) for name in listed) + tuple(chosen.values())


def check_null(name: str, asked: Sequence[Metric]) -> None:
    """Refuse a null that there is not, and one that no metric asked for can be put beside."""
    known = dict.fromkeys(null for each in NULLS.values() for null in each)
    if name and name not in known:
        raise UnknownName("null", name, known)
    if name and not any(name in metric.nulls for metric in asked):
        others = ", ".join(dict.fromkeys(null for metric in asked for null in metric.nulls))
        raise BadInput(f"none of the metrics asked for can be put beside {name}; choose {others or 'other metrics'}")


def say_what_is_missing(found: pd.DataFrame, asked: Sequence[Metric], along: Sequence[str], by_name: bool) -> None:
    """Warn of metrics without a chance level, of features of too few images, and of metrics without any row.

    Of the last only where they were asked for `by_name`.
    """
    there = set(found["metric"])
    if unknown := [one.name for one in asked if one.chance is None and NULLS[one.of] and one.name in there]:
        warnings.warn(
            f"what chance gives is not known of {', '.join(unknown)}, so it is NaN there; say it with @metric(chance=)",
            stacklevel=3,
        )
    blank = found[found["value"].isna() & found["metric"].isin([one.name for one in asked if one.of == "feature"])]
    if len(blank):
        names = ", ".join(dict.fromkeys(blank["metric"]))
        warnings.warn(
            f"{blank['n'].min()} images do not determine {names} of their features, so {len(blank)} values are NaN: "
            "that takes more images than the features of both runs have directions; "
            "extract more images, and of what there is of so few see the column chance, to which it lies close",
            stacklevel=3,
        )
    for one in asked if by_name else ():
        if one.name not in there:
            taken = [axis for axis in along if one.takes(axis)]
            reason = f"no runs paired along {' or '.join(taken)} hold these" if taken else "that was not asked for"
            where = "" if taken else f", along {' or '.join(one.axes)}"
            warnings.warn(f"{one.name} gives no rows: it compares {WHAT[one.of]}{where}, and {reason}", stacklevel=3)
