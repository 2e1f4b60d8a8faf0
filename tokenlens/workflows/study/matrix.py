"""The study file: which data sets, models, methods, keep rates and seeds, and how each is trained and looked at.

    name: tiny
    axes:                      # every combination is one run
      data: ["embedded:shapes"]
      models: [nano-tiny]
      methods: [none, topk]
      keep_rates: [0.5]
      seeds: [0]
    also:                      # further combinations; what is not named is as above
      - {methods: [topk], seeds: [1, 2]}
    backbone: {recipe: nano, set: {schedule.epochs: 10}}    # or `pretrained`
    finetune: {recipe: shapes, methods: {sit: {optimizer.lr: 2e-3}}}    # or `none`, for methods off the shelf
    extract: {split: test, limit: 1000, features: true}

Off the shelf `remove: [0, 8, 16]` and `decreasing: [false, true]` stand in the place of `keep_rates`: tokens that go at
every block.

A recipe may differ by data set: `recipe: {imagenet: imagenet, coco: coco}`, by the word before the colon; `set` names
values that differ from it, and `methods` those that differ for one method alone.
The backbone of one data set may start from that of another: `start: {embedded:birds: embedded:shapes}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from ...data.remote import refuse_remote
from ...errors import BadInput, UnknownName
from .settings import COMPARE, EXTRACT, check_known, check_whole, mapping, settings

AXES = ("data", "models", "methods", "keep_rates", "seeds")
OFF_THE_SHELF = ("remove", "decreasing")  # in the place of keep_rates
KEYS = ("name", "axes", "also", "backbone", "finetune", "extract", "compare", "images", "remark")
PARTS = ("train", "val")  # of a data set


@dataclass(frozen=True, order=True)
class Cell:
    """One run of the study."""

    data: str
    model: str
    method: str
    keep_rate: float
    seed: int
    remove: tuple[int, ...] = ()
    """off the shelf: so many tokens at every block, and whether more at first (1 or 0); else ()"""

    @property
    def name(self) -> str:
        """A path below the study's folder."""
        return self.named(self.amount)

    def named(self, amount: str) -> str:
        """The same, of other amounts."""
        return f"{slug(self.data)}/{slug(self.model)}/{self.method}-{amount}-s{self.seed}"

    @property
    def amount(self) -> str:
        """How many tokens are asked to remain, as part of a path."""
        if not self.remove:
            return f"{self.keep_rate:g}"
        return f"remove{self.remove[0]}" + ("-decreasing" if self.remove[1] else "")


@dataclass(frozen=True)
class Training:
    """A recipe by data set, and the values that differ from it."""

    recipe: str | Mapping[str, str]
    set: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """further values, by method"""
    start: Mapping[str, str] = field(default_factory=dict)
    """data sets on which training starts from what was learned on another; on all others it starts at random"""

    def recipe_for(self, data: str) -> str:
        """The recipe for a data set, by its whole name or the word before its colon."""
        if isinstance(self.recipe, str):
            return self.recipe
        for key in (data, data.partition(":")[0]):
            if key in self.recipe:
                return self.recipe[key]
        raise BadInput(f"the study names no recipe for {data}; it has {', '.join(sorted(self.recipe))}")

    def values(self, method: str) -> dict[str, Any]:
        """What differs from the recipe for a method."""
        return {**self.set, **self.methods.get(method, {})}

    def before(self, data: str) -> list[str]:
        """The data sets that are learned from before this one, the first first."""
        found: list[str] = []
        while data in self.start:
            data = self.start[data]
            if data in found:
                raise BadInput(f"{data} starts from itself through {found[-1]}; let one of them start at random")
            found.append(data)
        return found[::-1]


@dataclass(frozen=True)
class Study:
    """What a study file says."""

    name: str
    cells: tuple[Cell, ...]
    backbone: Training | None
    """how each model comes to be on each data set; None: it is published"""
    finetune: Training | None
    """how each method is trained; None: it is taken off the shelf"""
    extract: Mapping[str, Any] = field(default_factory=dict)
    compare: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """for each data set, how many images are trained on and looked at, where the set itself need not be at hand"""
    remark: str = ""
    allow_remote: bool = False
    """fetch what only the file, or a recipe that it names, calls for"""


def slug(words: str) -> str:
    """A data set or model as part of a path."""
    return "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in words).strip("-")


def shipped(file: str) -> Path:
    """A study file: a path, or the name of one beside this file or in a package of the group `tokenlens.studies`."""
    path = Path(file)
    if path.is_file():
        return path
    known: dict[str, Path] = {}
    for package in (__package__, *(entry.value for entry in entry_points(group="tokenlens.studies"))):
        folder = Path(str(files(package)))
        known |= {found.stem: found for found in sorted(folder.glob("*.yaml"))}
    if file not in known:
        raise UnknownName("study file", file, known)
    return known[file]


def read(path: Path, allow_remote: bool = False) -> Study:
    """Read a study file. Raises BadInput where it says something that cannot be meant, naming the file.

    Nor may it name data or weights that would have to be fetched, unless `allow_remote`.
    """
    try:
        said = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}); name a study file, or one that is shipped"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # bytes and dates that are none: ValueError
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} is no YAML ({reason}); mend it there") from error
    try:
        study = replace(_study(said, path.stem), allow_remote=allow_remote)
        for spec in _sources(study):
            refuse_remote(spec, "the study", allow_remote)
        return study
    except UnknownName as error:
        raise BadInput(f"{path}: {error}") from error
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def _study(said: Any, name: str) -> Study:
    if not isinstance(said, dict) or "axes" not in said:
        raise BadInput(f"a study is a mapping with the key axes, which has {', '.join(AXES)}")
    check_known("key of a study", said, KEYS)
    cells = list(dict.fromkeys(_cells(said["axes"], said.get("also") or [])))
    finetune = _training(said, "finetune", "none")
    if finetune is not None and any(cell.remove for cell in cells):
        raise BadInput("tokens to remove are taken off the shelf; leave finetune out, or give keep_rates")
    if finetune is not None:
        check_known("method in this study", finetune.methods, tuple(dict.fromkeys(cell.method for cell in cells)))
    return Study(
        name=str(said.get("name", name)),
        cells=tuple(cells),
        backbone=_training(said, "backbone", "pretrained"),
        finetune=finetune,
        extract=settings(said, "extract", EXTRACT),
        compare=settings(said, "compare", COMPARE),
        images=_images(said),
        remark=" ".join(str(said.get("remark", "")).split()),
    )


def _sources(study: Study) -> Iterator[Any]:
    """All that a study names and that data or weights could be read from."""
    for cell in study.cells:
        yield cell.data
    for training in (study.backbone, study.finetune):
        if training is not None:
            yield from (value for values in (training.set, *training.methods.values()) for value in values.values())
            yield from training.start.values()


def _images(said: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    images = mapping(said, "images", dict)
    for data, parts in images.items():
        check_known("part of images", parts, PARTS)
        for part, count in parts.items():
            check_whole(f"the number of {part} images of {data}", count)
    return images


def _cells(axes: Any, also: Any) -> Iterator[Cell]:
    """Every combination of the axes, then of each further matrix, which takes from the axes what it does not name."""
    if not isinstance(also, list):
        raise BadInput(f"also is {also!r}; it is a list of mappings of {', '.join(AXES)}")
    for part in ({}, *also):
        if not isinstance(axes, dict) or not isinstance(part, dict):
            raise BadInput(f"axes, and each entry of also, is a mapping of {', '.join(AXES)}")
        check_known("axis", {**axes, **part}, (*AXES, *OFF_THE_SHELF))
        complete = {"seeds": [0], **axes, **part}
        if "remove" in complete:
            yield from _off_the_shelf(complete)
            continue
        _check_lists(complete, AXES)
        for data, model, method, rate, seed in product(*(complete[name] for name in AXES)):
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
                raise BadInput(f"keep rate {rate} is outside (0, 1]; for example 0.5")
            check_whole("a seed", seed)
            # the un-reduced model keeps all tokens whatever the rate
            yield Cell(str(data), str(model), str(method), 1.0 if method == "none" else float(rate), seed)


def _off_the_shelf(axes: Mapping[str, Any]) -> Iterator[Cell]:
    """Every combination of axes that say how many tokens go at every block."""
    if "keep_rates" in axes:
        raise BadInput("keep_rates and remove both say how many tokens remain; give one of them")
    complete = {"decreasing": [False], **axes}
    names = ("data", "models", "methods", *OFF_THE_SHELF, "seeds")
    _check_lists(complete, names)
    for data, model, method, remove, decreasing, seed in product(*(complete[name] for name in names)):
        check_whole("the number of tokens to remove", remove)
        if not isinstance(decreasing, bool):
            raise BadInput(f"decreasing is {decreasing!r}; it is a list of true and false")
        check_whole("a seed", seed)
        whole = method == "none" or not remove  # then it does not matter how the removals are spread
        amount = (0, 0) if method == "none" else (remove, int(decreasing and not whole))
        yield Cell(str(data), str(model), str(method), 1.0, seed, amount)


def _check_lists(axes: Mapping[str, Any], names: Iterable[str]) -> None:
    if lacking := [name for name in names if not isinstance(axes.get(name), list) or not axes[name]]:
        raise BadInput(f"{', '.join(lacking)} must each be a list with something in it")


def _training(said: Mapping[str, Any], key: str, without: str) -> Training | None:
    value = said.get(key, without)
    if value == without:
        return None
    if not isinstance(value, dict) or "recipe" not in value:
        raise BadInput(f"{key} is a mapping with a recipe, or the word {without}")
    parts = ("set", "start" if key == "backbone" else "methods")
    check_known(f"key of {key}", value, ("recipe", *parts))
    recipe = value["recipe"] if isinstance(value["recipe"], str) else mapping(value, "recipe", str)
    kinds = {"set": object, "start": str, "methods": dict}
    training = Training(recipe, **{part: mapping(value, part, kinds[part]) for part in parts})
    for data in training.start:
        training.before(data)
    return training
