"""Train what newer methods learn on the nano ViT, which rests: `python -m tokenlens.workflows.nano.reducers --help`.

The recipe `shapes`, with all that is not the method's own left as it ships; so DTEM's, LTMP's and DiffRate's authors
train too. Parameters go into `nano-reducers.safetensors`, beside those of `joint` and under names that it explains.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import torch
from safetensors.torch import load_file, save_file

from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.extraction.pretrained import load
from tokenlens.training.finetune import finetune
from tokenlens.training.load_recipe import load_recipe
from tokenlens.training.recipe import Recipe
from tokenlens.weights import nano_path

from .joint import RATES


@dataclass(frozen=True)
class Job:
    """How one method learns."""

    lr: float
    rates: tuple[float, ...]
    at_any: bool = False
    """what is learned at the one rate serves at all"""
    changes: tuple[str, ...] = ()
    """of the recipe, beside those for all"""


ALONE = ("loss.class_distillation=0", "loss.token_distillation=0", "loss.ratio=10")
"""what is few is learned from classes and operations"""
JOBS = {
    "dtps": Job(1e-2, (0.25,), at_any=True),
    "dtem": Job(1e-2, (0.25,), at_any=True),
    "ltmp": Job(5e-2, RATES, changes=ALONE),
    "diffrate-learned": Job(0.2, RATES, changes=ALONE),
    "avit": Job(1.0, (0.25,), at_any=True, changes=ALONE),
}
RESTS = ("optimizer.backbone_scale=0", "train.batch_size=16", "data.epoch=80", "data.val_limit=200", "data.workers=0")


def recipe_of(name: str, rate: float, seed: int = 0) -> Recipe:
    """Ten epochs of 80 pictures, five steps each."""
    changes = {"reduction.method": name, "reduction.keep_rate": rate, "train.seed": seed}
    return load_recipe("shapes", changes, (*RESTS, f"optimizer.lr={JOBS[name].lr}", *JOBS[name].changes))


def trained(recipe: Recipe, work: Path) -> ReducedViT:
    """The model after the last epoch; an earlier one may be better where it has not yet come down to its tokens."""
    tuned = finetune(recipe, work / recipe.title, device="cpu")
    model = load(tuned.folder / "last.safetensors")
    assert isinstance(model, ReducedViT)
    return model


@click.command()
@click.option("--method", "names", multiple=True, type=click.Choice(list(JOBS)), help="Which; all by default.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default="finetuned", show_default=True,
              help="Where trainings stand; they carry on from there.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default="nano-reducers.safetensors", show_default=True)
def main(names: tuple[str, ...], work: Path, out: Path) -> None:
    """Train them one after the other, and write what ships into one file."""
    torch.set_num_threads(1)
    state = load_file(nano_path("nano-reducers"))
    for name in names or JOBS:
        for rate in JOBS[name].rates:
            model = trained(recipe_of(name, rate), work)
            which = "any" if JOBS[name].at_any else f"{rate:g}"
            for stage, reducer in enumerate(model.reducers.values()):
                for parameter, value in reducer.state_dict().items():
                    state[f"{name}/{which}/{stage}/{parameter}"] = value.half().contiguous()
            save_file(state, out)


if __name__ == "__main__":
    main()
