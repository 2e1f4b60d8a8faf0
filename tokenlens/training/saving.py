"""What a fine-tuning leaves on disk: weights, the state to go on from, a log. A file is whole or was never there.

    last.safetensors         the weights after the latest epoch
    best-model.safetensors   those of the best epoch
    best-ema.safetensors     the best of their running average, which is judged for itself
    best.safetensors         the better of the two
    state.pt                 where training stands, to go on from
    log.csv                  a row an epoch; the same for TensorBoard in tensorboard/
    recipe.json              the resolved recipe

The state is written last: what a killed run wrote beyond it is written again, the same.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ..core.reduced_vit import ReducedViT
from ..errors import BadInput, disk_errors
from ..records.atomic import write
from .recipe import Recipe

State = dict[str, Any]
IMAGES_A_STEP = "images a step"  # in a state's origin


class BegunOtherwise(BadInput):
    """A folder holds a fine-tuning that was begun with something else."""


def move_aside(out: Path) -> None:
    """Give a folder the first name of `out.old-1`, `out.old-2` and so on that is free."""
    with disk_errors(out):
        out.rename(next(to for n in count(1) if not (to := out.with_name(f"{out.name}.old-{n}")).exists()))


class Folder:
    """The folder of one fine-tuning."""

    def __init__(self, out: Path, recipe: Recipe, card: Mapping[str, Any]) -> None:
        """Refuses a place that is something else, or that was begun with another recipe."""
        self.out, self.recipe, self.card = out, recipe, dict(card)
        there = out / "recipe.json"
        with disk_errors(out):
            if out.exists() and not out.is_dir():
                raise BadInput(f"{out} is a file, not a folder of checkpoints; give a new folder with --out")
            if out.is_dir() and not there.is_file() and any(not p.name.startswith(".") for p in out.iterdir()):
                raise BadInput(f"{out} holds something else; give a new or empty folder with --out")
            text = there.read_bytes() if there.is_file() else b"null"
        try:
            begun = json.loads(text)
            other = [] if begun is None else recipe.differences(begun)
        except (ValueError, AttributeError) as error:  # no JSON, or JSON of something else
            raise BadInput(f"{there} is damaged; remove the folder, or give another --out, and train anew") from error
        if other:
            raise BegunOtherwise(f"{out} was begun with another recipe ({', '.join(other[:3])}); give another --out")

    def begin(self) -> None:
        """Make the folder, and write the recipe into it."""
        with disk_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        write(self.out / "recipe.json", json.dumps(self.recipe.values(), indent=1).encode())

    def weights(self, name: str, model: ReducedViT, **said: Any) -> None:
        """Write `name.safetensors`: the weights, and in its header the card with what is said of them."""
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        header = {"tokenlens": json.dumps({**self.card, **said})}
        write(self.out / f"{name}.safetensors", safetensors.torch.save(state, header))

    def save(self, state: State) -> None:
        """Write where training stands."""
        packed = io.BytesIO()  # torch tells of a full disk in words of its own
        torch.save(state, packed)
        write(self.out / "state.pt", packed.getvalue())

    def state(self, origin: Mapping[str, Any]) -> State | None:
        """Where training stands; None before the first save. Refuses what was begun from something else."""
        path = self.out / "state.pt"
        if not path.is_file():
            return None
        try:
            found: State = torch.load(path, map_location="cpu", weights_only=True)
            there = dict(found["origin"])
        except Exception as error:  # on bytes that are no state, torch's unpickler stumbles in many ways
            raise BadInput(f"{path} is damaged; remove the folder, or give another --out, and train anew") from error
        steps = there.pop(IMAGES_A_STEP, None), origin[IMAGES_A_STEP]
        if steps[0] != steps[1]:
            raise BegunOtherwise(
                f"{self.out} was begun with {steps[0]} images a step and would go on with {steps[1]}; "
                "start as many processes as then, or give another --out"
            )
        if other := [name for name in there if there[name] != origin.get(name)]:
            raise BegunOtherwise(
                f"{self.out} was begun with other {' and '.join(other)}; put back what has changed since, or give "
                "another --out"
            )
        return found

    def log(self, row: Mapping[str, Any]) -> None:
        """Put an epoch's row behind those of the epochs before; a measure that a row lacks is left empty there."""
        path, text = self.out / "log.csv", io.StringIO()
        rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="") as file:
                rows = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
        rows.append(dict(row))
        writer = csv.DictWriter(text, list(dict.fromkeys(key for each in rows for key in each)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write(path, text.getvalue().encode())
