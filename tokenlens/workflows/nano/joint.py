"""Train what the learned methods need, together with the backbone `nano`.

`python -m tokenlens.workflows.nano.joint --help` says how.

One backbone serves all methods: every step draws another method and keep rate. The learned methods of the study get
their parameters, at each of its keep rates where these depend on the rate, and the backbone learns to live with fewer
tokens. Writes `nano.safetensors` and `nano-reducers.safetensors`; there names are
`<method>/<rate or any>/<stage>/<name>`.
Shapes: B images.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import click
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tokenlens.core.host import host_of
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.core.schedule import schedule
from tokenlens.hosts.timm_vit import TimmViT
from tokenlens.methods import Stage, method
from tokenlens.weights import ARCHITECTURE, NANO
from tokenlens.workflows.nano.train import Batches, accuracy, learning_rate, normalised, parameter_groups

log = logging.getLogger(__name__)
RATES = (0.25, 0.5, 0.7, 0.9)
AT_EACH_RATE = ("sit", "patchmerger", "sinkhorn")  # these have as many parameters as tokens are left
AT_ANY_RATE = ("dynamicvit", "dpcknn")
WITHOUT = ("none", "topk", "evit", "tome", "kmedoids", "atc", "random")
RATIO_WEIGHT = 2.0


def reduced(vit: TimmViT, name: str, rate: float, reducers: dict[int, Any] | None = None) -> ReducedViT:
    """A reduced model around this very backbone, not a copy of it; with these reducers, or new ones."""
    chosen, asked, host = method(name), schedule(keep_rate=rate), host_of(vit)
    plan = chosen.reducer.schedule(asked, host.grid)
    patches = host.grid[0] * host.grid[1]
    made = reducers or {
        block: chosen.reducer(Stage(stage, block, keep, patches, host.width, host.grid, host.blocks))
        for stage, (block, keep) in enumerate(zip(plan.blocks, plan.keep(patches), strict=True))
    }
    return ReducedViT(vit, made, plan, method=name)


def all_models(vit: TimmViT) -> dict[str, list[ReducedViT]]:
    """What is trained, by `<method>/<rate or any>`: the models that share a set of parameters."""
    models = {f"{name}/{rate:g}": [reduced(vit, name, rate)] for name in AT_EACH_RATE for rate in RATES}
    for name in (*AT_ANY_RATE, *WITHOUT):
        first = reduced(vit, name, RATES[0])
        shared = {int(block): reducer for block, reducer in first.reducers.items()}
        models[f"{name}/any"] = [first, *(reduced(vit, name, rate, shared) for rate in RATES[1:])]
    return models


def loss_of(model: ReducedViT, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, and for DynamicViT that as many tokens stay as are asked for."""
    logits, trace = model.trace(images)
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=0.05)
    wanted = model.schedule.keep(trace.kept.shape[-1])
    for block, keep in zip(model.blocks, wanted, strict=True):
        mass = trace.mass.get(block)
        if mass is not None and mass.requires_grad and model.reducers[str(block)].trained:
            share = mass.mean(1) - keep / trace.kept.shape[-1]
            loss = loss + RATIO_WEIGHT * share.square().mean() / len(wanted)
    return loss


def save(vit: TimmViT, models: dict[str, list[ReducedViT]], out: Path) -> None:
    """Write both files, float16."""
    save_file({name: value.half().contiguous() for name, value in vit.state_dict().items()}, out / "nano.safetensors")
    state = {
        f"{name}/{stage}/{parameter}": value.half().contiguous()
        for name, group in models.items()
        for stage, reducer in enumerate(group[0].reducers.values())
        for parameter, value in reducer.state_dict().items()
    }
    save_file(state, out / "nano-reducers.safetensors")


@click.command()
@click.option("--steps", default=1000, show_default=True)
@click.option("--batch", default=64, show_default=True, help="Images a step.")
@click.option(
    "--rate", default=2e-3, show_default=True, help="Highest learning rate of reducers; the backbone's is a fifth."
)
@click.option("--threads", default=2, show_default=True)
@click.option("--start", type=click.Path(path_type=Path), default="nano.safetensors", help="The trained backbone.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder of both results.")
def main(steps: int, batch: int, rate: float, threads: int, start: Path, out: Path) -> None:
    """Train backbone and reducers together, and write their weights."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    vit = timm.create_model(ARCHITECTURE, **NANO)
    vit.load_state_dict(load_file(start))
    models = all_models(vit)
    own = nn.ModuleList(group[0].reducers for group in models.values())
    groups = [{**group, "scale": 0.2} for group in parameter_groups(vit, 0.05)]
    optimizer = torch.optim.AdamW([*groups, {"params": list(own.parameters()), "scale": 1.0}], lr=rate, weight_decay=0)
    last = 2 * 10**5  # the backbone's own training saw the pictures before
    batches = DataLoader(
        Batches("train", batch, last // batch, last // batch + steps), batch_size=None, num_workers=1, prefetch_factor=8
    )
    # the learned sets of parameters come up twice as often as the others
    order = [name for name in models for _ in range(1 if name.split("/")[0] in WITHOUT else 2)]
    losses: dict[str, float] = {}
    began = time.monotonic()
    for step, (images, labels) in enumerate(batches):
        for parameters in optimizer.param_groups:
            parameters["lr"] = parameters["scale"] * learning_rate(step, steps, 100, rate)
        if step % len(order) == 0:
            shuffled = [order[i] for i in torch.randperm(len(order)).tolist()]
        name = shuffled[step % len(order)]
        choices = models[name]
        model = choices[int(torch.randint(len(choices), ()))].train()
        loss = loss_of(model, normalised(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*vit.parameters(), *own.parameters()], 1.0)
        optimizer.step()
        losses[name] = 0.7 * losses.get(name, loss.item()) + 0.3 * loss.item()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            told = ", ".join(f"{key} {value:.2f}" for key, value in losses.items())
            log.info("step %d, %.0f s: %s", step + 1, time.monotonic() - began, told)
            save(vit, models, out)
    for name, group in models.items():
        scores = [f"{100 * accuracy(model, 'val', 300):.1f}" for model in group]
        log.info("%s: top-1 %s %%", name, ", ".join(scores))


if __name__ == "__main__":
    main()
