"""What a run says of its method, so that whoever reads the run need not know the method.

The facts are the method's own, copied into the run's attributes when it is made. A run that lacks them, being of
schema 1 or made by hand, gives its family, and the rest is read off its patterns.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import xarray as xr

from tokenlens.core.families import KEEPING, MERGING, UNORDERED
from tokenlens.errors import BadInput

LOOKED_AT = 64  # images of a run that its patterns are judged by


@dataclass(frozen=True)
class Facts:
    """The facts of a run's method; what is "" was not given, and whoever draws the method chooses it."""

    family: str
    """pruning, merging, soft, radial, random, none, or a word of another package"""
    keeps: bool
    """its patterns are sets of kept patches"""
    merges: bool
    """its patterns are partitions"""
    adaptive: bool
    """it decides how many tokens remain"""
    label: str = ""
    """its name for readers"""
    color: str = ""
    """#rrggbb"""
    marker: str = ""
    """as matplotlib takes it"""
    order: int = UNORDERED
    """its place among methods in tables and figures"""
    follows_rate: bool = True
    """its pattern follows the keep rate that is asked for"""


def facts_of(run: xr.Dataset) -> Facts:
    """The facts of a run's method.

    Where the run does not give them: what prunes, a radial and a random pattern keep patches; hard and soft mergers
    merge; a merger whose every token is a kept patch keeps its centres; and a method that leaves other numbers of
    tokens from image to image is adaptive. The first images of the run are looked at for the last two.

    Raises:
        BadInput: the run does not say its family.

    Examples:
        >>> facts_of(xr.Dataset(attrs={"run": "mine", "family": "radial"})).keeps
        True
    """
    given = run.attrs
    if "family" not in given:
        raise BadInput(
            f"run {given.get('run', '(unnamed)')!r} does not say its family; write runs with `tokenlens extract`, or "
            "set the attribute"
        )
    family = str(given["family"])
    adaptive = bool(given["adaptive"]) if "adaptive" in given else _adaptive(run)
    free = family == "none" or adaptive or bool((given.get("options") or {}).get("contiguous"))
    asked = given.get("keep_rate") is not None or bool(given.get("keep_rates"))
    return Facts(
        family=family,
        keeps=bool(given["keeps"]) if "keeps" in given else _keeps(run, family),
        merges=bool(given["merges"]) if "merges" in given else family in MERGING,
        adaptive=adaptive,
        follows_rate=asked and bool(given.get("follows_rate", not free)),
        label=str(given.get("label") or ""),
        color=str(given.get("color") or ""),
        marker=str(given.get("marker") or ""),
        order=UNORDERED if given.get("order") is None else int(given["order"]),
    )


def say_which_are_gone(runs: Iterable[xr.Dataset]) -> None:
    """Warn once of runs whose methods are of packages that are not installed any more; nothing is imported.

    Such runs are read, compared and drawn by what they say of themselves; making more of them takes the package.
    """
    gone: dict[str, set[str]] = {}
    for run in runs:
        package = str(run.attrs.get("defined_in", "")).partition(".")[0]
        if package.isidentifier() and package not in sys.modules and find_spec(package) is None:
            gone.setdefault(package, set()).add(str(run.attrs.get("method")))
    for package, methods in gone.items():
        warnings.warn(
            f"runs of {', '.join(sorted(methods))} come from the package {package}, which is not installed: they are "
            "shown as they describe themselves; install it to extract more of them",
            stacklevel=3,
        )


def _keeps(run: xr.Dataset, family: str) -> bool:
    """Whether kept patches are what a run's tokens are: by its family, or of a merger by its patterns."""
    if family != "merging":
        return family in KEEPING
    if not {"kept", "tokens_left"} <= set(run):
        return False
    first = _first(run)
    left = first["tokens_left"]
    merged = (left < run.sizes["patch"]).any()  # where nothing has merged, every token is a patch
    return bool(merged and (first["kept"].sum("patch") == left).all())


def _adaptive(run: xr.Dataset) -> bool:
    """Whether the numbers of tokens differ from image to image."""
    if "tokens_left" not in run or not run.sizes["image"]:
        return False
    left: Any = _first(run)["tokens_left"]
    return bool((left != left.isel(image=0)).any())


def _first(run: xr.Dataset) -> xr.Dataset:
    return run.isel(image=slice(min(LOOKED_AT, int(run.attrs.get("written", LOOKED_AT)))))
