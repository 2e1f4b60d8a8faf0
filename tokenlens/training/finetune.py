"""Fine-tuning, from the first line to the last; everything it calls is one idea in one file beside this one.

One script for a CPU, a GPU, many GPUs and many nodes (`accelerate launch`). What is drawn for a micro-batch comes from
a seed of its own (draws.py): training can stop anywhere and go on to the same bits, and the number of processes changes
nothing but the rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from tqdm import tqdm

from ..data import content_of
from ..errors import disk_errors
from ..records.out import check_folder
from ..signals import Request, Terminated, endings
from .distribution import flat, make_accelerator
from .draws import BATCH, Order, Parts, seed_with
from .progress import EVERY, Meter
from .recipe import Recipe
from .saving import IMAGES_A_STEP, BegunOtherwise, Folder, move_aside
from .task import Classification, Task


@dataclass(frozen=True)
class Tuned:
    """What a fine-tuning amounts to."""

    folder: Path
    measure: str
    """top1 or mAP"""
    best: dict[str, tuple[float, int]]
    """the best value in percent and its epoch, from 1: of the model, and of the running average (ema)"""

    @property
    def checkpoint(self) -> Path:
        """The weights to use."""
        return self.folder / "best.safetensors"


def finetune(
    recipe: Recipe,
    out: Path,
    device: str = "auto",
    trackers: Sequence[str] = (),
    progress: bool = True,
    aside: bool = False,
) -> Tuned:
    """Fine-tune; what was begun in `out` goes on.

    Args:
        recipe: see `reading.load_recipe`.
        out: folder of the result (see saving.py).
        device: auto, cpu or cuda.
        trackers: of accelerate, beside the CSV file and TensorBoard.
        progress: show a bar.
        aside: what was begun in `out` with another recipe, other images or weights is moved aside, not refused.

    Raises:
        BadInput: settings that do not go together, images or weights that cannot be used, a full disk, a loss that is
            not finite.
        Terminated: SIGTERM or SIGUSR1 came; the state is saved, and the same call goes on from there.
    """
    check_folder(out, "checkpoints")
    with endings() as request:
        try:
            training = Training(recipe, out, device, trackers, progress)
        except BegunOtherwise:
            if not aside:
                raise
            from accelerate import PartialState  # type: ignore[import-untyped]

            PartialState().wait_for_everyone()  # all have looked
            if PartialState().is_main_process:
                move_aside(out)
            PartialState().wait_for_everyone()
            training = Training(recipe, out, device, trackers, progress)
        training.run(request)
    return Tuned(out, training.measure, training.best)


def task_of(recipe: Recipe, accelerator: Any) -> Task:
    """What a recipe is to learn."""
    if recipe.detection is None:
        return Classification(recipe, accelerator)
    from .detection import ObjectDetection

    return ObjectDetection(recipe, accelerator)


class Training:
    """All that a step needs, and where training stands."""

    def __init__(self, recipe: Recipe, out: Path, device: str, trackers: Sequence[str], progress: bool) -> None:
        self.accelerator = make_accelerator(recipe, out, device, trackers)
        self.recipe, self.best, self.first = recipe, dict[str, tuple[float, int]](), 0
        self.task = task = task_of(recipe, self.accelerator)
        self.hidden = not (progress and self.accelerator.is_main_process)
        for line in task.notes():
            if not self.hidden:
                tqdm.write(line)
        self.folder, self.measure = Folder(out, recipe, task.card), task.measure
        parts = self.accelerator.num_processes * recipe.train.accumulate
        self.order = order = Order(
            images=len(task.train),
            epoch=recipe.data.epoch or len(task.train),
            batch_size=recipe.train.batch_size,
            parts=parts,
            repeats=recipe.augment.repeats,
            seed=recipe.train.seed,
            labels=task.strata() if recipe.data.stratify else None,
        ).check()
        self.origin = {
            IMAGES_A_STEP: order.images_a_step,
            "images to learn from": content_of(task.train),
            "images to judge by": content_of(task.val),
            "classes": list(task.train.classes),
            **task.origin,
        }
        self.steps = recipe.schedule.epochs * order.steps_an_epoch
        self.model: Any = task.model
        self.optimizer, self.pace = task.optimizer(order, self.steps)
        self.average = ModelEmaV3(self.model, recipe.train.ema_decay, use_warmup=recipe.train.ema_warmup)
        self.meter = Meter(self.accelerator)
        self._resume()
        self.student, self.stepper = self.accelerator.prepare(task.student(), self.optimizer)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        self.mine = Parts(order, self.first, self.steps, rank, processes)
        self.batches = task.batches(self.mine)

    def run(self, request: Request) -> None:
        """Every step; at the end of an epoch, how good the model is now. On request Terminated, once all is saved."""
        if self.accelerator.is_main_process:
            self.folder.begin()
        with disk_errors(self.folder.out):
            self.accelerator.init_trackers("tokenlens", flat(self.recipe))
        epoch_began, images = time.perf_counter(), 0
        with tqdm(total=self.steps, initial=self.first, unit="step", disable=self.hidden) as bar:
            for step in range(self.first, self.steps):
                rate = self.pace.set(step)
                self.task.at(step)
                self._step(step)
                self.average.update(self.model, step + 1)
                bar.update()
                images += self.order.images_a_step
                speed = images / (time.perf_counter() - epoch_began)
                epoch, left = divmod(step + 1, self.order.steps_an_epoch)
                ends = self._to_end(request, step)
                saves = ends or left == 0 or (step + 1) % self.recipe.train.save_steps == 0
                if saves or (step + 1) % EVERY == 0:
                    told = self.meter.read(self.folder.out)
                    told = {name: value for name, value in told.items() if name != "train_top1" or self.task.counts}
                    accuracy = f", accuracy {told['train_top1']:.1f} %" if self.task.counts else ""
                    bar.set_postfix_str(f"loss {told['loss']:.3f}{accuracy}, {speed:.0f} images/s")
                if left == 0:
                    self._judge({"epoch": epoch, "step": step + 1, "lr": rate, **told, "images_per_second": speed})
                    self.meter.restart()
                    epoch_began, images = time.perf_counter(), 0
                if saves:
                    self._save(step + 1)
                if ends:
                    raise Terminated
        self.accelerator.end_training()

    def _to_end(self, request: Request, step: int) -> bool:
        """Whether any process was asked to end; several ask each other every few steps, for they have to agree."""
        if self.accelerator.num_processes == 1:
            return request.came
        if (step + 1) % EVERY:
            return False
        asked = torch.tensor(float(request.came), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)

    def _step(self, step: int) -> None:
        """One update of the weights, from as many micro-batches as it takes."""
        accelerator, limit = self.accelerator, self.recipe.optimizer.clip_norm or math.inf
        for part in self.mine.mine:
            batch = next(self.batches)
            seed_with(BATCH, self.recipe.train.seed, step, part)
            with accelerator.accumulate(self.student):
                learned = self.task.learn(self.student, batch)
                accelerator.backward(learned.loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), limit)
                    if accelerator.scaler is None:  # float16 overflows now and then, and such a step is skipped
                        self.meter.check(step, norm)
                self.stepper.step()
                self.stepper.zero_grad()
            self.meter.add(step, *learned)

    def _judge(self, row: dict[str, Any]) -> None:
        """Evaluate the model and its average; keep the best of each, and the better of the two."""
        models = {"model": self.model, "ema": self.average.module}
        if not self.recipe.train.ema_decay:
            del models["ema"]
        scores = {name: self.task.evaluate(model) for name, model in models.items()}
        named = {f"{name}_{key}": value for name, found in scores.items() for key, value in found.items()}
        with disk_errors(self.folder.out):
            self.accelerator.log({**row, **named}, step=row["step"])
        for name, model in models.items():
            value, names = scores[name][self.measure], ["last"] if name == "model" else []
            if value > self.best.get(name, (-1.0, 0))[0]:
                names.append(f"best-{name}")
                if value > max((other for other, _ in self.best.values()), default=-1.0):
                    names.append("best")
                self.best[name] = (value, row["epoch"])
            if self.accelerator.is_main_process:
                said = {"epoch": row["epoch"], "step": row["step"], "ema": name == "ema", "metrics": scores[name]}
                for file in names:
                    self.folder.weights(file, model, **said)
        if self.accelerator.is_main_process:
            self.folder.log({**row, **named})

    def _save(self, step: int) -> None:
        """Write where training stands."""
        sums = self.accelerator.reduce(self.meter.sums.clone(), "sum")
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            self.folder.save(
                {
                    "step": step,
                    "origin": self.origin,
                    "model": self.model.state_dict(),
                    "average": self.average.module.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": None if scaler is None else scaler.state_dict(),
                    "sums": sums,
                    "best": self.best,
                }
            )
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Go on from where training stands, if it has begun."""
        state = self.folder.state(self.origin)
        if state is None:
            return
        self.first, self.best = state["step"], state["best"]
        self.model.load_state_dict(state["model"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.is_main_process:  # they are of all processes
            self.meter.sums.copy_(state["sums"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
