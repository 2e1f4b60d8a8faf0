"""What a study takes: commands of tokenlens, each after what it needs, and what each will cost.

out/models/<data>/<model>/backbone      the model, trained on the data set
out/models/<data>/<model>/<run>         a method, fine-tuned from it
out/runs                                the patterns of all
out/results, out/figures, report.html   what is made of them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import torch

from ...cli import tokenlens
from ...core.schedule import schedule
from ...errors import BadInput
from ...extraction.flops import gflops
from ...hosts.attention import TimmViT
from ...hosts.loading import untrained
from ...hosts.timm_vit import check_host
from ...methods import method
from ...training.load_recipe import load_recipe
from ...training.recipe import Recipe
from .matrix import Cell, Study, Training, slug
from .runner import Task

BYTES_AN_IMAGE = 400  # of a run, where the store was measured
BACKWARD = 2  # a backward pass costs two forward passes


def runs(study: Study, out: Path) -> list[Task]:
    """The tasks that train and extract, each after what it needs; first the backbones, which most others wait for."""
    found: dict[str, Task] = {}
    for cell in study.cells:
        backbones = [*_backbone(study, cell, out)]
        tuned = [*_finetune(study, cell, out, backbones[-1:])]
        for task in (*backbones, *tuned, _extract(study, cell, out, tuned or backbones[-1:])):
            other = found.setdefault(task.name, task)
            if other.words != task.words:
                words = " and ".join(sorted({*other.words} ^ {*task.words}))
                raise BadInput(f"two tasks would be {task.name}, with {words}; leave one out, or rename it")
    return sorted(found.values(), key=lambda task: not task.name.startswith("backbone/"))


def check(tasks: Sequence[Task]) -> None:
    """Refuse what a command would refuse to be given, before any is begun."""
    group = click.Context(tokenlens)
    commands = {name: tokenlens.get_command(group, name) for name in {task.words[0] for task in tasks}}
    for task in tasks:
        name, *words = task.words
        command = commands[name]
        try:
            if command is not None:
                command.make_context(name, words)  # reads the words and does nothing
        except click.UsageError as error:
            reason = error.format_message().rstrip(".")
            raise BadInput(f"{task.name} cannot be carried out ({reason}); mend it in the study file") from error


def conclusion(study: Study, out: Path) -> list[Task]:
    """Compare, draw and report: these look at whatever runs there are, so they are done anew when there are more."""
    runs, results, figures = str(out / "runs"), str(out / "results"), str(out / "figures")
    compared = ("compare", runs, "--out", results, "--findings", *_flags(study.compare))
    drawn = ("figures", "--runs", runs, "--results", results, "--out", figures)
    report = ("report", "--runs", runs, "--results", results, "--out", str(out / "report.html"))
    return [
        Task("compare", compared, (), (out / "results",)),
        Task("figures", drawn, ("compare",), (out / "figures",)),
        Task("report", report, ("compare",), (out / "report.html",)),
    ]


def _recipe(training: Training, cell: Cell) -> Recipe:
    changes = {"data.name": cell.data, "model.name": cell.model}
    return load_recipe(training.recipe_for(cell.data), changes, _changes(training, cell))


def _training_words(training: Training, cell: Cell, out: Path) -> tuple[str, ...]:
    changes = (word for change in _changes(training, cell) for word in ("--set", change))
    place = ("--out", str(out), "--aside")  # what was begun there before the study file was changed is kept
    recipe = training.recipe_for(cell.data)
    return ("finetune", "--recipe", recipe, "--data", cell.data, "--model", cell.model, *place, *changes)


def _changes(training: Training, cell: Cell) -> list[str]:
    """What differs from the recipe, as --set takes it."""
    return [f"{key}={_plain(value)}" for key, value in training.values(cell.method).items()]


def _allowed(study: Study) -> list[str]:
    """What a training may fetch that its recipe names."""
    return ["--allow-remote"] * study.allow_remote


def _flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings of a command as its words; a switch that is on is its name alone, and what is null is left out."""
    said: list[str] = []
    for key, value in settings.items():
        if value is not None and value is not False:
            said += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    return said


def _reduction(cell: Cell) -> tuple[str, ...]:
    # 15 digits: rates that differ are told apart, and 0.7 is 0.7
    return ("--method", cell.method, "--keep-rate", f"{cell.keep_rate:.15g}", "--seed", str(cell.seed))


def _plain(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _place(cell: Cell, out: Path) -> Path:
    return out / "models" / slug(cell.data) / slug(cell.model)


def _backbone(study: Study, cell: Cell, out: Path) -> Iterator[Task]:
    if study.backbone is None:
        return
    before: Task | None = None
    for data in (*study.backbone.before(cell.data), cell.data):
        here = replace(cell, data=data)
        folder = _place(here, out) / "backbone"
        words = _training_words(study.backbone, here, folder)
        start = "random" if before is None else str(before.makes[0])
        before = Task(
            name=f"backbone/{slug(data)}/{slug(cell.model)}",
            words=(*words, "--method", "none", "--weights", start, "--seed", "0", *_allowed(study)),
            needs=() if before is None else (before.name,),
            makes=(folder / "best.safetensors",),
            cost=_training_cost(study, study.backbone, here, 1.0),
            bytes=_model_bytes(cell),
        )
        yield before


def _finetune(study: Study, cell: Cell, out: Path, before: Sequence[Task]) -> Iterator[Task]:
    if study.finetune is None:
        return
    folder = _tuned(cell, out)
    start = [word for task in before for word in ("--weights", str(task.makes[0]))]
    yield Task(
        name=f"finetune/{cell.name}",
        words=(*_training_words(study.finetune, cell, folder), *_reduction(cell), *start, *_allowed(study)),
        needs=tuple(task.name for task in before),
        makes=(folder / "best.safetensors",),
        cost=_training_cost(study, study.finetune, cell, cell.keep_rate),
        bytes=_model_bytes(cell),
    )


def _tuned(cell: Cell, out: Path) -> Path:
    return _place(cell, out) / cell.name.rpartition("/")[2]


def _extract(study: Study, cell: Cell, out: Path, before: Sequence[Task]) -> Task:
    start: list[str] = ["--model", cell.model]
    if before:
        start = ["--weights", str(before[0].makes[0])]
    settings = (*_reduction(cell), *_flags(study.extract))
    images = _images(study, cell, "val", study.extract.get("limit") or 1000)
    return Task(
        name=f"extract/{cell.name}",
        words=("extract", "--data", cell.data, *start, *settings, "--out", str(out / "runs")),
        needs=tuple(task.name for task in before),
        makes=(out / "runs",),
        cost=images * _forward(cell.model, cell.method, cell.keep_rate),
        bytes=images * BYTES_AN_IMAGE,
    )


def _images(study: Study, cell: Cell, part: str, otherwise: int) -> int:
    return study.images.get(cell.data, {}).get(part, otherwise)


def _training_cost(study: Study, training: Training, cell: Cell, keep_rate: float) -> float:
    recipe = _recipe(training, cell)
    images = recipe.schedule.epochs * _images(study, cell, "train", recipe.data.limit or 0)
    return images * (1 + BACKWARD) * _forward(cell.model, cell.method, keep_rate)


@cache
def _vit(model: str) -> TimmViT:
    """A model without its numbers; BadInput where the walk does not understand it."""
    with torch.device("meta"):
        vit = untrained(model, 1000)
    check_host(vit)
    return vit


@cache
def _forward(model: str, name: str, keep_rate: float) -> float:
    """10^9 multiply-adds of one image."""
    vit = _vit(model)
    asked = schedule(keep_rate=keep_rate, depth=len(vit.blocks))
    left = dict(zip(asked.blocks, asked.keep(vit.patch_embed.num_patches), strict=True))
    return gflops(vit, left, method(name).reducer.site)


def _model_bytes(cell: Cell) -> float:
    """last, best, best-model, best-ema, and the state: weights, average and two moments."""
    return 8 * 4 * sum(parameter.numel() for parameter in _vit(cell.model).parameters())
