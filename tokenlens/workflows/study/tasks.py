"""What a study takes: calls of the functions in `steps`, each after what it needs, and what each will cost.

out/models/<data>/<model>/backbone      the model, trained on the data set
out/models/<data>/<model>/<run>         a method, fine-tuned from it
out/runs                                the patterns of all
out/results, out/figures, report.html   what is made of them
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ...core.host import host_of
from ...core.schedule import schedule
from ...errors import BadInput
from ...extraction.flops import gflops
from ...hosts.loading import untrained
from ...hosts.timm_vit import TimmViT
from ...methods import method
from ...training.load_recipe import load_recipe
from ...training.recipe import Recipe
from .matrix import Cell, Study, Training, slug
from .runner import Task

STEPS = f"{__package__}.steps"  # named and not imported: whoever lists tasks need not wait for it
BYTES_AN_IMAGE = 400  # of a run, where the store was measured
BACKWARD = 2  # a backward pass costs two forward passes


def runs(study: Study, out: Path) -> list[Task]:
    """The tasks that train and extract, each after what it needs; first the backbones, which most others wait for."""
    found: dict[str, Task] = {}
    for cells in _one_pass(study):
        backbones = [*_backbone(study, cells[0], out)]
        tuned = [*_finetune(study, cells[0], out, backbones[-1:])]
        for task in (*backbones, *tuned, _extract(study, cells, out, tuned or backbones[-1:])):
            other = found.setdefault(task.name, task)
            if other.arguments != task.arguments:
                differing = [key for key in task.arguments if other.arguments.get(key) != task.arguments[key]]
                raise _twice(task.name, [one.arguments.get(key) for key in differing for one in (other, task)])
    return sorted(found.values(), key=lambda task: not task.name.startswith("backbone/"))


def _one_pass(study: Study) -> list[list[Cell]]:
    """The runs that are extracted in one pass: off the shelf those of a method that differ in their amount alone."""
    found: dict[Cell, list[Cell]] = {}
    for cell in study.cells:
        alike = replace(cell, keep_rate=0.0, remove=cell.remove[1:]) if study.finetune is None else cell
        found.setdefault(alike, []).append(cell)
    for cells in found.values():
        for one, other in pairwise(sorted(cells, key=lambda cell: cell.amount)):
            if one.amount == other.amount:
                raise _twice(f"extract/{one.name}", [one.keep_rate, other.keep_rate])
    return [*found.values()]


def _twice(name: str, values: Sequence[Any]) -> BadInput:
    return BadInput(f"two tasks would be {name}, with {' and '.join(map(str, values))}; leave one out, or rename it")


def conclusion(study: Study, out: Path) -> list[Task]:
    """Compare, draw and report: these look at whatever runs there are, so they are done anew when there are more."""
    runs, results, figures = (str(out / name) for name in ("runs", "results", "figures"))
    shown, page = {"runs": runs, "results": results, **_allowed(study)}, out / "report.html"
    compared = {"runs": runs, "out": results, "findings": True, **study.compare}
    return [
        Task("compare", f"{STEPS}:compare", compared, (), (out / "results",)),
        Task("figures", f"{STEPS}:figures", {**shown, "out": figures}, ("compare",), (out / "figures",)),
        Task("report", f"{STEPS}:report", {**shown, "out": str(page)}, ("compare",), (page,)),
    ]


def _recipe(training: Training, cell: Cell) -> Recipe:
    changes = {"data.name": cell.data, "model.name": cell.model}
    return load_recipe(training.recipe_for(cell.data), changes, _changes(training, cell))


def _training(study: Study, training: Training, cell: Cell, out: Path) -> dict[str, Any]:
    """What a training is given, but for its method."""
    return {
        "recipe": training.recipe_for(cell.data),
        "data": cell.data,
        "model": cell.model,
        "out": str(out),
        "aside": True,  # what was begun there before the study file was changed is kept
        "changes": _changes(training, cell),
        **_allowed(study),
    }


def _changes(training: Training, cell: Cell) -> list[str]:
    """What differs from the recipe, as `load_recipe` takes it."""
    return [f"{key}={_plain(value)}" for key, value in training.values(cell.method).items()]


def _allowed(study: Study) -> dict[str, Any]:
    """Whether what is only named in a file may be fetched."""
    return {"allow_remote": True} if study.allow_remote else {}


def _reduction(cell: Cell, *others: Cell) -> dict[str, Any]:
    """What is reduced how, as options; `others` differ in their amount alone."""
    cells = (cell, *others)
    amount: dict[str, Any] = {"keep_rate": _list([one.keep_rate for one in cells])}
    if cell.remove:
        removed = _list([one.remove[0] for one in cells])
        amount = {"remove": removed} | ({"decreasing": True} if cell.remove[1] else {})
    return {"method": cell.method, **amount, "seed": cell.seed}


def _list(values: Sequence[Any]) -> Any:
    """One value, or several between commas, as options have them."""
    return values[0] if len(values) == 1 else ",".join(map(str, values))


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
        start = "random" if before is None else str(before.makes[0])
        before = Task(
            name=f"backbone/{slug(data)}/{slug(cell.model)}",
            call=f"{STEPS}:finetune",
            arguments={**_training(study, study.backbone, here, folder), "method": "none", "weights": start, "seed": 0},
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
    start = {"weights": str(before[0].makes[0])} if before else {}
    yield Task(
        name=f"finetune/{cell.name}",
        call=f"{STEPS}:finetune",
        arguments={**_training(study, study.finetune, cell, folder), **_reduction(cell), **start},
        needs=tuple(task.name for task in before),
        makes=(folder / "best.safetensors",),
        cost=_training_cost(study, study.finetune, cell, cell.keep_rate),
        bytes=_model_bytes(cell),
    )


def _tuned(cell: Cell, out: Path) -> Path:
    return _place(cell, out) / cell.name.rpartition("/")[2]


def _extract(study: Study, cells: Sequence[Cell], out: Path, before: Sequence[Task]) -> Task:
    cell = cells[0]
    start = {"weights": str(before[0].makes[0])} if before else {"model": cell.model}
    images = _images(study, cell, "val", study.extract.get("limit", 1000))
    forward = sum(_forward(one.model, one.method, one.keep_rate, one.remove) for one in cells)
    return Task(
        name=f"extract/{cell.named('+'.join(one.amount for one in cells))}",
        call=f"{STEPS}:extract",
        arguments={"data": cell.data, **start, **_reduction(*cells), **study.extract, "out": str(out / "runs")},
        needs=tuple(task.name for task in before),
        makes=(out / "runs",),
        cost=images * forward,
        bytes=images * BYTES_AN_IMAGE * len(cells),
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
    host_of(vit)
    return vit


@cache
def _forward(model: str, name: str, keep_rate: float, remove: tuple[int, ...] = ()) -> float:
    """10^9 multiply-adds of one image."""
    host = host_of(_vit(model))
    off: dict[str, Any] = {"remove": remove[0], "decreasing": bool(remove[1])} if remove else {"keep_rate": keep_rate}
    stages = schedule(depth=host.blocks, **off)
    left = dict(zip(stages.blocks, stages.keep(host.grid[0] * host.grid[1]), strict=True))
    return gflops(host, left, method(name).reducer.site)


def _model_bytes(cell: Cell) -> float:
    """last, best, best-model, best-ema, and the state: weights, average and two moments."""
    return 8 * 4 * sum(parameter.numel() for parameter in _vit(cell.model).parameters())
