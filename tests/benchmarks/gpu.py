"""Every method on a GPU: is it what the CPU gives, can it be captured in a graph, and how fast is it.

DeiT-S with random weights; un-reduced is the method none, so that patches are a matrix product on both sides. First, in
float32 and on 16 images: patterns on the GPU beside those on the CPU, and a CUDA graph's logits beside those of the
same walk without one. Then speed: the un-reduced model and each method in turns, each as it runs and as one CUDA graph,
keep rate 0.5 at blocks 3, 6, 9 and, off the shelf, 13 tokens fewer at every block; a batch of 256 and one image. Least
of some rounds, each of a few walks.

Usage: python tests/benchmarks/gpu.py [--precision float16] [--batch 256] [--rounds 5] [--methods topk ...]
Prints tables and, last, one JSON line of ratios: x the un-reduced model's speed, both in graphs and both without.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.graph import graphed
from tokenlens.methods import methods

SETTINGS: dict[str, dict[str, Any]] = {"0.5": {"keep_rate": 0.5}, "13 a block": {"remove": 13}}
MERGERS = ("tome", "atc-average", "atc-complete", "atc-single")
Run = Callable[[], Any]


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("deit_small_patch16_224").eval()


def reduced(vit: nn.Module, name: str, how: dict[str, Any]) -> tokenlens.ReducedViT:
    torch.manual_seed(0)
    return tokenlens.reduce(vit, name, **how).eval()


@torch.no_grad()
def agreement(name: str, images: Tensor) -> dict[str, Any]:
    """Share of patches with one fate on both; largest difference of logits on both, and with and without a graph."""
    model = reduced(backbone(), name, SETTINGS["0.5"])
    logits, trace = model.trace(images)
    there = model.cuda()
    far_logits, far = there.trace(images.cuda())
    same = (trace.kept == far.kept.cpu()) & (trace.group == far.group.cpu())
    captured = there.graphed(torch.zeros_like(images.cuda()))(images.cuda())
    return {"same fate": float(same.float().mean()), "logits": float((logits - far_logits.cpu()).abs().max()),
            "graph": float((captured - far_logits).abs().max())}  # fmt: skip


def seconds(run: Run, walks: int) -> float:
    """Of one walk, from when the GPU begins until it has ended."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(walks):
        run()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / walks


def runs(model: nn.Module, images: Tensor) -> dict[str, Run]:
    fast = graphed(model, images)
    return {"eager": lambda: model(images), "graph": lambda: fast(images)}


@torch.no_grad()
def speeds(sides: dict[str, nn.Module], images: Tensor, rounds: int, walks: int) -> dict[str, dict[str, float]]:
    """Least seconds of a walk, by side and way, all in turns."""
    least: dict[str, dict[str, float]] = {}
    ready = {name: runs(model, images) for name, model in sides.items()}
    for turn in range(rounds + 1):
        for name, ways in ready.items():
            for way, run in ways.items():
                took = seconds(run, walks)
                if turn:  # the first warms up
                    found = least.setdefault(name, {})
                    found[way] = min(found.get(way, math.inf), took)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="*", default=[name for name in methods() if name not in ("none", "atc")])
    given = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {given.precision}, batch {given.batch}")
    images = torch.rand(16, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "agreement": {}}
    print(f"\n{'float32, 16 images':22s}{'same fate':>12s}{'logits off':>12s}{'by a graph':>12s}")
    for name in given.methods:
        one = found["agreement"][name] = agreement(name, images)
        print(f"{name:22s}{one['same fate']:12.4f}{one['logits']:12.1e}{one['graph']:12.1e}", flush=True)
    vit, dtype = backbone(), getattr(torch, given.precision)
    for batch, walks in ((given.batch, 3), (1, 20)):
        inputs = torch.rand(batch, 3, 224, 224, device="cuda", dtype=dtype)
        for setting, how in SETTINGS.items():
            chosen = [name for name in given.methods if setting == "0.5" or name in MERGERS]
            sides: dict[str, nn.Module] = {"timm": backbone().cuda().to(dtype)}
            sides |= {name: reduced(vit, name, how).cuda().to(dtype) for name in ("none", *chosen)}
            least = speeds(sides, inputs, given.rounds, walks)
            base = least["none"]
            print(f"\nbatch {batch}, {setting}: x un-reduced ({batch / base['graph']:.0f} images/s in a graph, "
                  f"{batch / base['eager']:.0f} without)\n{'':22s}{'graph':>8s}{'eager':>8s}")  # fmt: skip
            for name in ("timm", *chosen):
                ratio = {way: base[way] / least[name][way] for way in base}
                found[f"batch {batch}, {setting}, {name}"] = {way: round(x, 3) for way, x in ratio.items()}
                print(f"{name:22s}{ratio['graph']:8.2f}{ratio['eager']:8.2f}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
