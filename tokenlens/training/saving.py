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
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ..errors import BadInput, disk_errors
from ..vit import ReducedViT
from ..whole import write
from .recipe import Recipe

State = dict[str, Any]


class Folder:
    """The folder of one fine-tuning."""

    def __init__(self, out: Path, recipe: Recipe, card: Mapping[str, Any]) -> None:
        """Refuses a place that is something else, or that was begun with another recipe."""
        self.out, self.recipe, self.card = out, recipe, dict(card)
        if out.exists() and not out.is_dir():
            raise BadInput(f"{out} is a file, not a folder of checkpoints; give a new folder with --out")
        there = out / "recipe.json"
        with disk_errors(out):
            if out.is_dir() and not there.is_file() and any(not p.name.startswith(".") for p in out.iterdir()):
                raise BadInput(f"{out} holds something else; give a new or empty folder with --out")
            text = there.read_text() if there.is_file() else "null"
        try:
            begun = json.loads(text)
        except ValueError as error:
            raise BadInput(f"{there} is damaged; remove the folder, or give another --out, and train anew") from error
        if begun is not None and (other := recipe.differences(begun)):
            raise BadInput(f"{out} was begun with another recipe ({', '.join(other[:3])}); give another --out")

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

    def state(self, images_a_step: int) -> State | None:
        """Where training stands; None before the first save. Refuses what was begun with other steps."""
        path = self.out / "state.pt"
        if not path.is_file():
            return None
        try:
            found: State = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # on bytes that are no state, torch's unpickler stumbles in many ways
            raise BadInput(f"{path} is damaged; remove the folder, or give another --out, and train anew") from error
        if found["images_a_step"] != images_a_step:
            raise BadInput(
                f"{self.out} was begun with {found['images_a_step']} images a step and would go on with "
                f"{images_a_step}; start as many processes as then, or give another --out"
            )
        return found

    def log(self, row: Mapping[str, Any]) -> None:
        """Put an epoch's row behind those of the epochs before."""
        path, text = self.out / "log.csv", io.StringIO()
        rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="") as file:
                rows = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, dict(row)])
        write(path, text.getvalue().encode())
