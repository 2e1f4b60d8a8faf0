"""Which runs are compared with which: pairs that differ along one axis and agree in the rest.

method     the same data set, split, model, blocks, keep rate and seed; another method, or other options of it.
           Methods whose pattern does not follow the rate (adaptive ones, contiguous rings, the un-reduced model) are
           compared with every rate, as in the study.
capacity   the same method, options, data set, blocks, rate and seed.
keep_rate  the same method, options, data set, model, blocks and seed; run a has the higher rate.
dataset    the same split, method, options, capacity, blocks, rate and seed: only global patterns can be compared.
seed       all the same but the seed.
change     all the same but that one data set is the other's pictures, changed: with grain (@noise=0.1), in a
           mirror (@mirror=1) or with their margins cut away (@crop=0.25). Run a has them as they are; what it says of
           a patch is put where run b shows that patch.
capacity+keep_rate  both differ; run a has the higher rate. Beside pairs that differ in the rate alone they tell what
           capacity changes, by one and the same measure. Any of these can be put together so, where it is asked for:
           then all that is named differs, and the rest agrees.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.errors import BadInput, UnknownName
from tokenlens.records.facts import facts_of
from tokenlens.records.run import CAPACITIES

from .metrics.kinds import CROSSED

SINGLE = ("method", "capacity", "keep_rate", "dataset", "seed")
AXES = (*SINGLE, CROSSED, "change")
CHANGED = re.compile(r"(.+)@(noise|mirror|crop)=(.+)")  # a data set whose pictures are another's, changed


@dataclass(frozen=True)
class Card:
    """What a run says about itself, in the words of its attributes; `rate` is None where it follows none."""

    run: str
    dataset: str
    split: str
    model: str
    capacity: str
    method: str
    family: str
    keep_rate: float | None
    rates: tuple[float, ...]
    blocks: tuple[int, ...]
    seed: int
    options: str
    grid: tuple[int, ...]
    keeps: bool
    """its patterns are sets of kept patches"""
    merges: bool
    """its patterns are partitions"""
    follows_rate: bool
    """its pattern follows the keep rate that is asked for"""


@dataclass(frozen=True)
class Pair:
    """Two runs, by name, that differ along `axis`."""

    a: str
    b: str
    axis: str


def card(run: xr.Dataset) -> Card:
    """Read a run's attributes into a Card; BadInput names what is missing."""
    attrs = run.attrs
    needed = ("run", "method", "family")
    lacking = [name for name in needed if name not in attrs]
    if lacking:
        raise BadInput(
            f"run {attrs.get('run', '(unnamed)')!r} does not say its {', '.join(lacking)}; "
            "write runs with `tokenlens extract`, or set these attributes"
        )
    options = dict(attrs.get("options") or {})
    rate = attrs.get("keep_rate")
    rates = tuple(round(float(r), 6) for r in attrs.get("keep_rates") or () if r is not None)
    facts = facts_of(run)
    return Card(
        run=str(attrs["run"]), dataset=str(attrs.get("dataset", "")), split=str(attrs.get("split", "")),
        model=str(attrs.get("model", "")), capacity=str(attrs.get("capacity", attrs.get("model", ""))),
        method=str(attrs["method"]), family=str(attrs["family"]),
        keep_rate=None if rate is None else round(float(rate), 6), rates=rates,
        blocks=tuple(int(b) for b in attrs.get("blocks") or ()), seed=int(attrs.get("seed") or 0),
        options=json.dumps(options, sort_keys=True, default=str), grid=tuple(int(g) for g in attrs.get("grid") or ()),
        keeps=facts.keeps, merges=facts.merges, follows_rate=facts.follows_rate,
    )  # fmt: skip


def pair(cards: Iterable[Card], axis: str) -> list[Pair]:
    """List all pairs of runs along one axis, each once, in a fixed order; warns of pairs left out, on other grids."""
    if axis not in AXES and not set(axis.split("+")) <= set(SINGLE):
        raise UnknownName("axis", axis, AXES)
    found, grids = [], 0
    for a, b in combinations(sorted(cards, key=lambda c: c.run), 2):
        if not _belong(a, b, axis):
            continue
        if a.grid != b.grid:
            grids += 1
            continue
        a, b = sorted((a, b), key=lambda c: _order(c, axis))
        found.append(Pair(a.run, b.run, axis))
    if grids:
        warnings.warn(
            f"{grids} pairs along {axis} have different grids of patches and are left out; "
            "extract them at the same image and patch size to compare them",
            stacklevel=2,
        )
    return found


def shown(dataset: str, rows: int, columns: int) -> NDArray[np.int64] | None:
    """Which patch of the picture as it is each patch of a changed one shows, (P,); None where its own.

    Examples:
        >>> shown("embedded:birds@mirror=1", 1, 4), shown("embedded:birds@crop=0.5", 1, 4)
        (array([3, 2, 1, 0]), array([1, 1, 2, 2]))
    """
    change = CHANGED.fullmatch(dataset)
    if change is None or change[2] == "noise":
        return None
    grid = np.arange(rows * columns).reshape(rows, columns)
    if change[2] == "mirror":
        return grid[:, ::-1].ravel()
    cut = float(change[3])  # what each patch of the enlarged middle has at its centre
    down, across = (np.floor(size * cut / 2 + (1 - cut) * (np.arange(size) + 0.5)).astype(int)
                    for size in (rows, columns))  # fmt: skip
    return grid[np.ix_(down, across)].ravel()


def combined(axis: str) -> str:
    """An axis as it is written, of several together in one order: dataset+capacity is capacity+dataset."""
    parts = dict.fromkeys(axis.split("+"))
    return "+".join(sorted(parts, key=lambda part: SINGLE.index(part) if part in SINGLE else len(SINGLE)))


def _order(one: Card, axis: str) -> tuple[Any, ...]:
    if axis == "change":
        return (bool(CHANGED.fullmatch(one.dataset)), one.run)
    if "keep_rate" in axis.split("+"):
        return (-_height(one), one.run)
    if axis == "capacity":
        place = CAPACITIES.index(one.capacity) if one.capacity in CAPACITIES else len(CAPACITIES)
        return (place, one.capacity, one.run)
    return (one.run,)


def _height(one: Card) -> float:
    return one.keep_rate if one.keep_rate is not None else sum(one.rates) / max(len(one.rates), 1)


def _rate(one: Card) -> tuple[float, ...]:
    return one.rates if one.keep_rate is None else (one.keep_rate,)


def _belong(a: Card, b: Card, axis: str) -> bool:
    variant = a.method == b.method and a.options == b.options
    split = a.split == b.split
    data = a.dataset == b.dataset and split
    rate = _rate(a) == _rate(b)
    if axis == "method":
        other = a.method != b.method
        loose = other and not (a.follows_rate and b.follows_rate)
        blocks = a.blocks == b.blocks or (other and any(c.family in ("none", "radial") for c in (a, b)))
        return (
            not variant
            and data
            and a.model == b.model
            and a.capacity == b.capacity
            and a.seed == b.seed
            and (blocks and (loose or rate))
        )
    natural_a, natural_b = (CHANGED.sub(r"\1", one.dataset) for one in (a, b))
    changed = a.dataset != b.dataset and natural_a == natural_b and natural_a in (a.dataset, b.dataset)
    named = {"dataset"} if axis == "change" else set(axis.split("+"))
    one_model = not named & {"dataset", "capacity"}
    differ = {
        "method": not variant,
        "capacity": a.capacity != b.capacity,
        "keep_rate": not rate and _height(a) != _height(b),
        "dataset": changed if axis == "change" else natural_a != natural_b,
        "seed": a.seed != b.seed,
    }
    agree = {
        "method": variant,
        "capacity": a.capacity == b.capacity and (a.model == b.model or not one_model),
        "keep_rate": rate,
        "dataset": a.dataset == b.dataset,
        "seed": a.seed == b.seed,
    }
    return split and a.blocks == b.blocks and all((differ if part in named else agree)[part] for part in SINGLE)
