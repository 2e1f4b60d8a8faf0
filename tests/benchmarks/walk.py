"""What reduction, recording and writing cost: `python tests/benchmarks/walk.py [--threads 1] [--rounds 7]`.

DeiT-S at 224, batch 32, float32, random weights, one process; medians over rounds in which both sides take turns.
(a) the reduced model without reducers over timm's own forward; (b) Top-K at 0.5 over the ideal that its FLOPs imply;
(c) extraction with recording and writing over the forward passes alone; (d) peak memory at 50,000 images less that at
1,000, each in a process of its own; (e) bytes an image on disk of kept and group at three stages, for every
method. With --methods instead: each method at 0.5, untrained, over the ideal that its GFLOPs imply; batch 8, medians of
ratios to the un-reduced model right before. --out FILE keeps the ratios, for the page of methods.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

import tokenlens
from tokenlens.data.loading import Loading
from tokenlens.extraction.flops import gflops, mean_gflops
from tokenlens.extraction.one_pass import Extraction
from tokenlens.methods import methods
from tokenlens.records.run import Run

CPU = torch.device("cpu")
BATCH = 32


class Synthetic:
    """So many images of noise, made from their index; nothing is held."""

    name, split, classes = "synthetic", "val", ()

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        self.ids = [f"synthetic/{index:06d}" for index in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Any:
        from PIL import Image

        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (self.size, self.size, 3), np.uint8))

    def label(self, index: int) -> int:
        return -1

    def mask(self, index: int) -> None:
        return None


def run_of(model: Any, method: str, data: Synthetic) -> Run:
    keep = model.schedule.keep(model.vit.patch_embed.num_patches)
    return Run("synthetic", "val", len(data), "", "deit", "random", method, model.schedule.rate, model.blocks, keep)


def extracted(model: Any, method: str, data: Synthetic, out: Path) -> Path:
    size = data.size
    loading = Loading((3, size, size), (0.5,) * 3, (0.5,) * 3, batch_size=BATCH)
    asked = [(run_of(model, method, data), model)]
    ((_, result),) = Extraction(asked, data, out, loading, CPU, progress=False).results()
    return result.folder


def taking_turns(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; one round runs each once, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def forward_ratios(rounds: int) -> dict[str, float]:
    vit = timm.create_model("deit_small_patch16_224").eval()
    images = torch.randn(BATCH, 3, 224, 224)
    none, topk = tokenlens.reduce(vit, "none"), tokenlens.reduce(vit, "topk", 0.5)
    with torch.inference_mode():
        took = taking_turns(
            {"timm": lambda: vit(images), "none": lambda: none(images), "topk": lambda: topk(images)}, rounds
        )
    keep = dict(zip(topk.blocks, topk.schedule.keep(196), strict=True))
    ideal = took["timm"] * gflops(vit, keep) / gflops(vit, {})
    return {"a_no_reducer_over_timm": took["none"] / took["timm"], "b_topk_over_ideal": took["topk"] / ideal}


@torch.inference_mode()
def method_ratios(rounds: int, batch: int = 8) -> dict[str, dict[str, float]]:
    """Of each method: GFLOPs and time over the un-reduced model's, and the share of its ideal that it reaches."""
    vit = timm.create_model("deit_small_patch16_224").eval()
    images = torch.randn(batch, 3, 224, 224)
    torch.manual_seed(0)
    models = {name: tokenlens.reduce(vit, name, 0.5) for name in methods()}
    with_all = models["none"]
    found = {}
    for name, model in models.items():
        cost = mean_gflops(model, model.trace(images)[1].tokens_left.numpy()) / gflops(vit, {})
        time_ = statistics.median(pairwise(partial(model, images), partial(with_all, images), rounds))
        found[name] = {"gflops": round(cost, 3), "time": round(time_, 3), "of_ideal": round(cost / time_, 3)}
    return found


def pairwise(side: Callable[[], object], other: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of one over seconds of the other right before it, so that what else runs meets both alike."""
    ratios = []
    for turn in range(rounds + 1):
        began = time.perf_counter()
        other()
        between = time.perf_counter()
        side()
        if turn:  # the first does not count
            ratios.append((time.perf_counter() - between) / (between - began))
    return ratios


def recording_ratio(rounds: int) -> dict[str, float]:
    """Whole extraction of 256 images against the same forward passes on the same images."""
    vit = timm.create_model("deit_small_patch16_224").eval()
    model = tokenlens.reduce(vit, "topk", 0.5)
    data = Synthetic(8 * BATCH, 224)
    loading = Loading((3, 224, 224), (0.5,) * 3, (0.5,) * 3, batch_size=BATCH)
    from tokenlens.data.loading import batches

    @torch.inference_mode()
    def bare() -> None:
        for images, _, _ in batches(data, loading):
            model(images)

    with tempfile.TemporaryDirectory() as folder:
        number = iter(range(10**6))
        sides = {"bare": bare, "extract": lambda: extracted(model, "topk", data, Path(folder) / str(next(number)))}
        took = taking_turns(sides, rounds)
    return {"c_extract_over_forward": took["extract"] / took["bare"]}


def peak_megabytes(count: int) -> float:
    """Peak memory of a process that extracts so many images, with a narrow ViT of DeiT's grid."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory", str(count)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.strip().splitlines()[-1])


def memory_child(count: int) -> None:
    torch.manual_seed(0)
    narrow = {"img_size": 28, "patch_size": 2, "embed_dim": 16, "depth": 12, "num_heads": 1, "num_classes": 10}
    vit = timm.create_model("deit_tiny_patch16_224", **narrow).eval()
    model = tokenlens.reduce(vit, "evit", 0.5)
    with tempfile.TemporaryDirectory() as folder:
        extracted(model, "evit", Synthetic(count, 28), Path(folder))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def bytes_an_image() -> dict[str, float]:
    """On 1,024 images of the embedded set through the nano ViT, each method at 0.5."""
    from tokenlens.extraction.jobs import Job
    from tokenlens.workflows.demo import EMBEDDED

    assert set(EMBEDDED.methods()) <= set(methods())
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        job = Job(methods=EMBEDDED.methods(), limit=1024, out=Path(folder) / "runs", progress=False)
        for run, result in job.results():
            files = [f for name in ("kept", "group") for f in (result.folder / name).rglob("*") if f.is_file()]
            found[run.method] = sum(f.stat().st_size for f in files) / len(job_ids(result.folder))
    return found


def job_ids(folder: Path) -> Any:
    from tokenlens.records.store import open_run

    return open_run(folder)["image"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=50_000, help="of the memory measurement")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--methods", action="store_true", help="each method's share of its ideal, and nothing else")
    parser.add_argument("--out", type=Path, help="of --methods: a JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.methods:
        shares = method_ratios(arguments.rounds)
        print(f"torch {torch.__version__}, {arguments.threads} thread(s); shares of the un-reduced model")
        print(f"{'method':18}{'GFLOPs':>8}{'time':>8}{'of its ideal':>14}")
        for name, row in shares.items():
            print(f"{name:18}{row['gflops']:8.3f}{row['time']:8.3f}{row['of_ideal']:14.3f}")
        print(json.dumps(shares))
        if arguments.out:
            arguments.out.write_text(json.dumps(shares, indent=1) + "\n")
        return
    if arguments.memory:
        memory_child(arguments.memory)
        return
    ratios: dict[str, Any] = {"threads": arguments.threads, **forward_ratios(arguments.rounds)}
    ratios |= recording_ratio(max(3, arguments.rounds // 2))
    ratios["d_megabytes_more"] = peak_megabytes(arguments.images) - peak_megabytes(1000)
    stored = bytes_an_image()
    ratios["e_bytes_an_image"] = max(stored.values())
    limits = {"a_no_reducer_over_timm": 1.03, "b_topk_over_ideal": 1.10, "c_extract_over_forward": 1.03}
    limits |= {"d_megabytes_more": 200, "e_bytes_an_image": 400}
    print(f"torch {torch.__version__}, {arguments.threads} thread(s)")
    print("\n".join(f"{name:16}{value:8.1f} bytes an image" for name, value in stored.items()))
    for name, limit in limits.items():
        print(f"{name:26}{ratios[name]:10.3f}   at most {limit}")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
