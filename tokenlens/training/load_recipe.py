"""Recipes in small YAML files; any value can be said anew.

`imagenet.yaml` names every key; the other files name another recipe that they extend, and what they change. A file that
is extended is looked for beside the one that says so.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from ..errors import BadInput, UnknownName, check_no_pipe
from .recipe import Detecting, Recipe, Values

PLACE = files("tokenlens.training.recipes")
DETECTION = "detection"  # the section that only recipes for detectors have
ENDINGS = (".yaml", ".yml")
CHOICES = {
    ("augment", "crop"): ("random", "square"),
    ("augment", "interpolation"): ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"),
    ("loss", "distill"): ("none", "soft", "hard"),
    ("train", "precision"): ("auto", "float32", "bfloat16", "float16"),
}
KIND_NAMES = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a word",
    list: "a list",
    dict: "names with values",
    type(None): "null",
}
# all other numbers are at least 0; all are finite
ABOVE_ZERO = {("loss", "temperature"), ("optimizer", "layer_decay")}
AT_LEAST_ONE = {
    ("data", "epoch"),
    ("augment", "repeats"),
    ("optimizer", "lr_images"),
    ("schedule", "epochs"),
    ("train", "batch_size"),
    ("train", "accumulate"),
    ("train", "save_steps"),
    ("detection", "long"),
    ("detection", "largest"),
}
AT_MOST = {
    ("model", "drop_path"): 0.9,
    ("augment", "flip"): 1,
    ("augment", "cutout"): 1,
    ("augment", "erasing"): 1,
    ("augment", "mix_probability"): 1,
    ("augment", "cutmix_share"): 1,
    ("loss", "smoothing"): 0.9,
    ("loss", "alpha"): 1,
    ("optimizer", "layer_decay"): 1,
    ("schedule", "epochs"): 1_000_000,
    ("train", "ema_decay"): 1,
    ("train", "seed"): 2**63 - 1,  # torch counts no further
}


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in PLACE.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str, changes: Mapping[str, Any] | None = None, overrides: Iterable[str] = ()) -> Recipe:
    """Resolve a recipe.

    Args:
        name: of a recipe that comes with the package, or a path to a YAML file.
        changes: `section.key` to value; None leaves what the recipe says.
        overrides: `section.key=value`, the value written as in YAML; they win.

    Raises:
        BadInput: no such recipe or key, or a value of the wrong kind.
    """
    values = _read(name, ())
    said = {key: value for key, value in (changes or {}).items() if value is not None}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals:
            raise BadInput(f"--set {word!r} says no value; write section.key=value, as in optimizer.lr=1e-4")
        said[key.strip()] = _yaml(text, f"--set {word}")
    for key, value in said.items():
        section, _, inner = key.partition(".")
        _merge(values, {section: {inner: value}}, "--set")
    return _build(values, name)


def _yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates that are none give a plain ValueError
        raise BadInput(f"{source} is not YAML ({' '.join(str(error).split())}); correct it") from error


def _text(name: str) -> str:
    """What is written in a recipe."""
    if name in names():
        return (PLACE / f"{name}.yaml").read_text("utf-8")
    if not name.endswith(ENDINGS):
        raise UnknownName("recipe", name, names())
    check_no_pipe(Path(name))
    try:
        return Path(name).read_text("utf-8")
    except FileNotFoundError:
        raise UnknownName("recipe", name, names()) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{name} is not UTF-8 ({error}); save it as UTF-8") from error
    except OSError as error:
        raise BadInput(f"{name} cannot be read ({error.strerror}); check the path and its permissions") from error


def _read(name: str, above: tuple[str, ...]) -> dict[str, Values]:
    """The values of a recipe and of those that it extends; `above` are those that extend it."""
    if name.endswith(ENDINGS):
        name = str((Path(*above[-1:]).parent / name).resolve())  # one spelling, so that a circle is seen
    if name in above:
        raise BadInput(f"{name} extends itself through {above[-1]}; name another recipe to extend")
    content = _yaml(_text(name), name)
    if not isinstance(content, dict):
        raise BadInput(f"{name} is no recipe; write sections of keys, as in the recipe imagenet")
    base = content.pop("extends", None)
    if base is None:
        if name == "imagenet":
            return content
        base = "imagenet"  # every key has a value there
    if not isinstance(base, str):
        raise BadInput(f"{name} extends {base!r}; name one recipe, as in extends: imagenet")
    return _merge(_read(base, (*above, name)), content, name)


def _merge(values: dict[str, Values], changes: Mapping[str, Any], source: str) -> dict[str, Values]:
    """Put changes in; every key must be there already."""
    for section, said in changes.items():
        if section == DETECTION and section not in values and isinstance(said, Mapping):
            values[section] = dict.fromkeys(field.name for field in fields(Detecting))  # one that is left out is told
        if section not in values:
            raise UnknownName(f"section of a recipe ({source})", str(section), values)
        if not isinstance(said, Mapping):
            raise BadInput(f"{section} in {source} is {said!r}; it takes keys: {', '.join(values[section])}")
        for key, value in said.items():
            if key not in values[section]:
                raise UnknownName(f"key of a recipe's section {section} ({source})", str(key), values[section])
            values[section][key] = value
    return values


def _build(values: dict[str, Values], source: str) -> Recipe:
    parts = {}
    for section, kind in {**get_type_hints(Recipe), DETECTION: Detecting}.items():
        if section == DETECTION and section not in values:
            continue
        hints = get_type_hints(kind)
        parts[section] = kind(
            **{f.name: _cast(values[section][f.name], hints[f.name], f"{section}.{f.name}") for f in fields(kind)}
        )
    for (section, key), known in CHOICES.items():
        if getattr(parts[section], key) not in known:
            raise BadInput(f"{section}.{key} is {getattr(parts[section], key)!r}; choose one of {', '.join(known)}")
    recipe = Recipe(**parts)
    _check_amounts(recipe)
    return recipe


def _check_amounts(recipe: Recipe) -> None:
    """Refuse numbers that training could not go on with."""
    for section, said in recipe.values().items():
        for key, value in said.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            place = (section, key)
            least, most = int(place in AT_LEAST_ONE), AT_MOST.get(place, math.inf)
            above = value > 0 or place not in ABOVE_ZERO
            if not (above and least <= value <= most and value < math.inf):  # NaN is refused too
                low = "above 0" if place in ABOVE_ZERO else f"at least {least}"
                wanted = low if most == math.inf else f"{low} and at most {most}"
                raise BadInput(f"{section}.{key} is {value}; give {'a finite number' if value == math.inf else wanted}")
    for key in ("scale", "ratio"):
        bounds = getattr(recipe.augment, key)
        if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] < math.inf:
            raise BadInput(f"augment.{key} is {bounds}; give the least and the most, both above 0")
    if recipe.detection is not None:
        for key in ("first", "sides", "crop"):
            sides = getattr(recipe.detection, key)
            if not sides or min(sides) < 1 or (key == "crop" and (len(sides) != 2 or sides[0] > sides[1])):
                wanted = "the least and the most" if key == "crop" else "one or more"
                raise BadInput(f"detection.{key} is {sides}; give {wanted}, in pixels, all at least 1")
    betas = recipe.optimizer.betas
    if betas is not None and not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        raise BadInput(f"optimizer.betas is {betas}; give two numbers from 0 to below 1, or null")
    if betas is not None and not _takes_betas(recipe.optimizer.name):
        raise BadInput(f"the optimizer {recipe.optimizer.name} takes no betas; say --set optimizer.betas=null")
    if not all(0 <= share < 1 for share in recipe.augment.patch_drop):
        raise BadInput(f"augment.patch_drop is {recipe.augment.patch_drop}; give shares from 0 to below 1")


def _takes_betas(name: str) -> bool:
    from timm.optim import get_optimizer_info

    try:
        return get_optimizer_info(name.rpartition("_")[2]).has_betas  # after lookahead_
    except ValueError:
        return True  # timm knows no such optimizer, which is told where it is made


def _cast(value: Any, hint: Any, where: str) -> Any:
    """A value of the kind that a key takes; YAML reads 1e-4 as a word, which is meant as a number."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        plain, inner = get_origin(kind) or kind, get_args(kind)
        if plain is list and isinstance(value, list | tuple):
            return [_cast(part, inner[0], where) for part in value]
        if plain is float and not isinstance(value, bool | list | tuple | dict | None):
            try:
                return float(value)
            except (ValueError, OverflowError):
                continue
        if plain in (int, bool, str, dict) and type(value) is plain:
            return value
    wanted = " or ".join(KIND_NAMES[get_origin(kind) or kind] for kind in kinds)
    raise BadInput(f"{where} is {value!r}; it takes {wanted}")
