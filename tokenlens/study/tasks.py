"""What a study takes: commands of tokenlens, each after what it needs, and what each will cost.

out/models/<data>/<model>/backbone      the model, trained on the data set
out/models/<data>/<model>/<run>         a method, fine-tuned from it
out/runs                                the patterns of all
out/results, out/figures, report.html   what is made of them
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from ..flops import gflops
from ..hosts import untrained
from ..methods import method
from ..schedule import schedule
from ..training.reading import load_recipe
from ..training.recipe import Recipe
from .matrix import Cell, Study, Training, slug
from .runner import Task

BYTES_AN_IMAGE = 400  # of a run, where the store was measured
BACKWARD = 2  # a backward pass costs two forward passes


def runs(study: Study, out: Path) -> list[Task]:
    """The tasks that train and extract, each after what it needs; first the backbones, which most others wait for."""
    found: dict[str, Task] = {}
    for cell in study.cells:
        for task in (*_backbone(study, cell, out), *_finetune(study, cell, out), _extract(study, cell, out)):
            found.setdefault(task.name, task)
    return sorted(found.values(), key=lambda task: not task.name.startswith("backbone/"))


def conclusion(study: Study, out: Path) -> list[Task]:
    """Compare, draw and report: these look at whatever runs there are, so they are done anew when there are more."""
    runs, results, figures = str(out / "runs"), str(out / "results"), str(out / "figures")
    settings = [word for key, value in study.compare.items() for word in (f"--{key}", str(value))]
    report = ("report", "--runs", runs, "--results", results, "--out", str(out / "report.html"))
    return [
        Task("compare", ("compare", runs, "--out", results, "--findings", *settings), (), (out / "results",)),
        Task("figures", ("figures", "--runs", runs, "--results", results, "--out", figures), ("compare",)),
        Task("report", report, ("compare",), (out / "report.html",)),
    ]


def _recipe(training: Training, cell: Cell) -> Recipe:
    said = [f"{key}={value}" for key, value in training.values(cell.method).items()]
    changes = {"data.name": cell.data, "model.name": cell.model}
    return load_recipe(training.recipe_for(cell.data), changes, said)


def _training_words(training: Training, cell: Cell, out: Path) -> tuple[str, ...]:
    values = training.values(cell.method)
    changes = (word for key, value in values.items() for word in ("--set", f"{key}={_plain(value)}"))
    recipe = training.recipe_for(cell.data)
    return ("finetune", "--recipe", recipe, "--data", cell.data, "--model", cell.model, "--out", str(out), *changes)


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
            words=(*words, "--method", "none", "--weights", start, "--seed", "0"),
            needs=() if before is None else (before.name,),
            makes=(folder / "best.safetensors",),
            cost=_training_cost(study, study.backbone, here, 1.0),
            bytes=_model_bytes(cell),
        )
        yield before


def _finetune(study: Study, cell: Cell, out: Path) -> Iterator[Task]:
    if study.finetune is None:
        return
    folder = _tuned(cell, out)
    reduction = ("--method", cell.method, "--keep-rate", f"{cell.keep_rate:g}", "--seed", str(cell.seed))
    start = ("--weights", str(_place(cell, out) / "backbone" / "best.safetensors")) if study.backbone else ()
    yield Task(
        name=f"finetune/{cell.name}",
        words=(*_training_words(study.finetune, cell, folder), *reduction, *start),
        needs=tuple(task.name for task in [*_backbone(study, cell, out)][-1:]),
        makes=(folder / "best.safetensors",),
        cost=_training_cost(study, study.finetune, cell, cell.keep_rate),
        bytes=_model_bytes(cell),
    )


def _tuned(cell: Cell, out: Path) -> Path:
    return _place(cell, out) / cell.name.rpartition("/")[2]


def _extract(study: Study, cell: Cell, out: Path) -> Task:
    before = [*_finetune(study, cell, out)] or [*_backbone(study, cell, out)][-1:]
    settings: list[str] = []
    for key, value in study.extract.items():
        flag = f"--{key.replace('_', '-')}"
        settings += ([flag] if value else []) if isinstance(value, bool) else [flag, str(value)]
    start: list[str] = ["--model", cell.model]
    if before:
        start = ["--weights", str(before[0].makes[0])]
    reduction = ["--method", cell.method, "--keep-rate", f"{cell.keep_rate:g}", "--seed", str(cell.seed)]
    words = ["extract", "--data", cell.data, *start, *reduction, *settings, "--out", str(out / "runs")]
    images = _images(study, cell, "val", int(study.extract.get("limit") or 1000))
    return Task(
        name=f"extract/{cell.name}",
        words=tuple(words),
        needs=tuple(task.name for task in before),
        makes=(out / "runs",),
        cost=images * _forward(cell.model, cell.method, cell.keep_rate),
        bytes=images * BYTES_AN_IMAGE,
    )


def _images(study: Study, cell: Cell, part: str, otherwise: int) -> int:
    return int(study.images.get(cell.data, {}).get(part, otherwise))


def _training_cost(study: Study, training: Training, cell: Cell, keep_rate: float) -> float:
    recipe = _recipe(training, cell)
    images = recipe.schedule.epochs * _images(study, cell, "train", recipe.data.limit or 0)
    return images * (1 + BACKWARD) * _forward(cell.model, cell.method, keep_rate)


@cache
def _forward(model: str, name: str, keep_rate: float) -> float:
    """10^9 multiply-adds of one image."""
    with torch.device("meta"):
        vit = untrained(model, 1000)
    asked = schedule(keep_rate=keep_rate, depth=len(vit.blocks))
    left = dict(zip(asked.blocks, asked.keep(vit.patch_embed.num_patches), strict=True))
    return gflops(vit, left, method(name).reducer.site)


@cache
def _bytes_of(model: str) -> int:
    with torch.device("meta"):
        vit = untrained(model, 1000)
    return 4 * sum(parameter.numel() for parameter in vit.parameters())


def _model_bytes(cell: Cell) -> float:
    """last, best, best-model, best-ema, and the state: weights, average and two moments."""
    return 8 * _bytes_of(cell.model)
