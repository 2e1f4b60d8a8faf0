"""Where merged tokens stand under rotary positions, the rules compared: `python tests/benchmarks/positions.py`.

Turns the shipped `nano` into a ViT with DINOv3's rotations and registers: its learned positions are taken away, and it
is trained on the embedded set `shapes`, once for each seed (pictures and registers) and most of the time on a part of
the patches. Then its tokens are merged after the attention of blocks 3, 6 and 9 by ToMe and by ATC, and stand by each
rule of `position`. Of each: top-1, and how often the prediction is the un-reduced model's, over the first pictures of
the split test. Nothing is trained with merged tokens. Goes on where it was stopped; `positions.json` holds the numbers
of every seed, `positions.safetensors` the weights of the first, and docs/models.md the table that it prints.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers.patch_dropout import PatchDropoutWithIndices
from torch import Tensor, nn

import tokenlens
from tokenlens.weights import NANO, nano_path
from tokenlens.workflows.nano.train import Batches, fit, normalised

HERE = Path(__file__)
NUMBERS, WEIGHTS = HERE.with_suffix(".json"), HERE.with_suffix(".safetensors")
ROTATED: dict[str, Any] = {**NANO, "global_pool": "token", "rope_rescale_coords": 1.0, "init_values": 1.0}
SEEDS, STEPS, BATCH, RATE = (0,), 120, 32, 1e-3
DROPS = ((0.7, 0.75), (0.95, 0.5), (1.0, 0.0))  # (until this share of the steps, share of the patches left out)
PICTURES, BLOCKS = 300, (3, 6, 9)
METHODS, RATES, RULES = ("tome", "atc-average"), (0.9, 0.7, 0.5), ("member", "mean", "rotation")
Rows = dict[str, dict[str, list[float]]]  # method, rate and rule -> top-1 and agreement in percent, of each seed


def untrained() -> nn.Module:
    """The model, with random weights."""
    made: nn.Module = timm.create_model("vit_small_patch16_dinov3", **ROTATED)
    return made


def from_nano() -> nn.Module:
    """The model with what `nano` knows of patches, the mean of its positions included."""
    vit: Any = untrained()
    nano = {name: value.float() for name, value in load_file(nano_path()).items()}
    ahead, patches = nano["pos_embed"].split((1, nano["pos_embed"].shape[1] - 1), 1)
    nano["cls_token"] += ahead
    nano["patch_embed.proj.bias"] += patches.mean((0, 1))
    own = vit.state_dict()
    vit.load_state_dict({**own, **{name: value for name, value in nano.items() if name in own}})
    return vit


def trained(seed: int, out: Path) -> nn.Module:
    """The model of a seed, trained as far as it is not."""
    weights = out / f"rotated-{seed}.safetensors"
    torch.manual_seed(seed)
    vit = from_nano()
    fit(
        vit, vit, STEPS, BATCH, RATE, out / f"rotated-{seed}.pt", weights, drops=DROPS, stream=seed * STEPS,
        dropping=partial(PatchDropoutWithIndices, num_prefix_tokens=vit.num_prefix_tokens),
    )  # fmt: skip
    return opened(weights)


def opened(weights: Path) -> nn.Module:
    """The model with weights from a file."""
    vit = untrained()
    vit.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return vit.eval()


def unrotated(vit: nn.Module) -> nn.Module:
    """The same with all angles 0: how much it leans on where tokens stand."""
    made: Any = copy.deepcopy(vit)
    made.rope.periods.fill_(torch.inf)
    return made


@torch.no_grad()
def predicted(model: nn.Module, pictures: int = PICTURES) -> tuple[Tensor, Tensor]:
    """(pictures,) int64 twice: what a model says to the first pictures of the split test, and what is right."""
    batches = [
        (model(normalised(images)).argmax(-1), labels) for images, labels in Batches("test", 100, 0, pictures // 100)
    ]
    said, right = (torch.cat(part) for part in zip(*batches, strict=True))
    return said, right


def measured(vit: nn.Module, pictures: int = PICTURES) -> Iterator[tuple[str, tuple[float, float]]]:
    """Method, rate and rule, with top-1 and agreement in percent; the un-reduced model first, then unrotated."""
    whole, right = predicted(vit, pictures)
    yield "none", (percent(whole == right), 100.0)
    still, _ = predicted(unrotated(vit), pictures)
    yield "unrotated", (percent(still == right), percent(still == whole))
    for method in METHODS:
        for rate in RATES:
            for rule in RULES:
                said, _ = predicted(tokenlens.reduce(vit, method, rate, BLOCKS, position=rule), pictures)
                yield f"{method} {rate} {rule}", (percent(said == right), percent(said == whole))


def percent(hits: Tensor) -> float:
    """Of them."""
    return round(100 * float(hits.float().mean()), 2)


def table(rows: Mapping[str, Mapping[str, list[float]]]) -> str:
    """The table in Markdown: top-1, and agreement with the un-reduced model in brackets; means over seeds."""
    head = f"| | tokens | {' | '.join(RULES)} |\n| --- | --- {'| --- ' * len(RULES)}|\n"
    patches, lines = (ROTATED["img_size"] // ROTATED["patch_size"]) ** 2, [head]
    for method in METHODS:
        for rate in RATES:
            cells = [rows[f"{method} {rate} {rule}"] for rule in RULES]
            told = " | ".join(f"{fmean(cell['top1']):.1f} ({fmean(cell['agreement']):.1f})" for cell in cells)
            lines.append(f"| {method} at {rate} | {int(patches * rate ** len(BLOCKS))} | {told} |\n")
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("rotated"), help="folder of the trainings")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: Rows = {}
    for seed in SEEDS:
        vit = trained(seed, arguments.out)
        for name, (top1, agreement) in measured(vit):
            row = rows.setdefault(name, {"top1": [], "agreement": []})
            row["top1"].append(top1)
            row["agreement"].append(agreement)
            logging.info("seed %d, %s: %.1f (%.1f)", seed, name, top1, agreement)
        NUMBERS.write_text(json.dumps(rows, indent=1) + "\n")
    WEIGHTS.write_bytes((arguments.out / f"rotated-{SEEDS[0]}.safetensors").read_bytes())
    print(table(rows))
    print(json.dumps({name: fmean(row["top1"]) for name, row in rows.items()}))


if __name__ == "__main__":
    main()
