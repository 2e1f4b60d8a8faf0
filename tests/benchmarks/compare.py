"""How fast comparison is, against a restatement of what the published scripts do, and against the machine itself.

The baseline: patterns loaded from JSON into lists, Python sets for IoU, one scikit-learn call an image for groups,
NumPy in single precision for features, each measure on its own. It runs on a sample of the images and is scaled up.
Usage: python tests/benchmarks/compare.py [--images 50000] [--sample 1000] [--rounds 5] [--parts iou groups ...]
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("compile", "copy", "iou", "groups", "features", "bootstrap", "disk")
STAGES, PATCHES, LEFT = 3, 196, (98, 49, 24)
Result = dict[str, float]


def median_time(call: Callable[[], Any], rounds: int) -> float:
    """Median wall-clock seconds of a call, after one that does not count."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def halves(call: Callable[..., Any], *arrays: np.ndarray) -> Callable[[], list[Any]]:
    """The same call on both halves of the images, in two threads."""
    parts = [[x[: len(x) // 2] for x in arrays], [x[len(x) // 2 :] for x in arrays]]
    pool = ThreadPoolExecutor(2)
    return lambda: list(pool.map(lambda part: call(*part), parts))


@cache
def copy_bandwidth(rounds: int) -> Result:
    """Bytes copied a second, counted once, one thread and two."""
    source = np.random.default_rng(0).integers(0, 255, 400_000_000, dtype=np.uint8)
    target = np.zeros_like(source)
    one = median_time(lambda: np.copyto(target, source), rounds)
    two = median_time(halves(lambda a, b: np.copyto(b, a), source, target), rounds)
    return {"copy GB/s": source.size / one / 1e9, "copy GB/s, two threads": source.size / two / 1e9}


def iou(images: int, sample: int, rounds: int) -> Result:
    """IoU of kept patches, all stages; bytes read a second, also as a share of bytes copied a second (counted once)."""
    from tokenlens.analysis.metrics import overlap

    rng = np.random.default_rng(0)
    order = [rng.random((sample, PATCHES)).argsort(1) for _ in range(2)]
    texts = [json.dumps({s: o[:, :k].tolist() for s, k in enumerate(LEFT)}) for o in order]
    first, second = (json.loads(text) for text in texts)

    def published() -> list[float]:
        found = []
        for stage in first:
            for a, b in zip(first[stage], second[stage], strict=True):
                found.append(len(set(a) & set(b)) / len(set(a) | set(b)))
        return found

    kept = [np.stack([o.argsort(1) < k for k in LEFT], 1)[np.arange(images) % sample] for o in order]
    bits = [overlap.pack(x) for x in kept]
    assert np.allclose(overlap.iou(*bits)[:sample].T.ravel(), published())
    theirs = median_time(published, 3) * images / sample
    one, two = median_time(lambda: overlap.iou(*bits), rounds), median_time(halves(overlap.iou, *bits), rounds)
    packing = median_time(lambda: overlap.pack(kept[0]), rounds)
    moved = sum(x.nbytes for x in bits)
    copy = copy_bandwidth(rounds)
    return {
        "published s": theirs,
        "ours ms": one * 1e3,
        "ours ms, two threads": two * 1e3,
        "packing a run ms": packing * 1e3,
        "ratio": theirs / one,
        "ratio, two threads": theirs / two,
        "ratio with packing both": theirs / (one + 2 * packing),
        "M pairs/s": images * STAGES / one / 1e6,
        "GB/s read": moved / one / 1e9,
        "GB/s read, two threads": moved / two / 1e9,
        "share of copy bandwidth": moved / one / 1e9 / copy["copy GB/s"],
        "share of copy bandwidth, two threads": moved / two / 1e9 / copy["copy GB/s, two threads"],
    }


def groups(images: int, sample: int, rounds: int) -> Result:
    """Homogeneity, completeness and V-measure together, all stages; and AMI and ARI beside them."""
    from sklearn.metrics import homogeneity_completeness_v_measure

    from tokenlens.analysis.metrics import partition

    rng = np.random.default_rng(0)
    few = [np.stack([rng.integers(0, k, (sample, PATCHES)) for k in LEFT], 1).astype(np.int16) for _ in range(2)]
    lists = [json.loads(json.dumps(x.reshape(-1, PATCHES).tolist())) for x in few]
    part = min(200, len(lists[0]))

    def published() -> list[Any]:
        return [homogeneity_completeness_v_measure(a, b) for a, b in zip(lists[0][:part], lists[1][:part], strict=True)]

    whole = [np.ascontiguousarray(x[np.arange(images) % sample]) for x in few]
    ours = partition.homogeneity_completeness_vmeasure
    error = np.abs(np.array(ours(*few)).reshape(3, -1)[:, :part].T - np.array(published())).max()
    theirs = median_time(published, 3) * images * STAGES / part
    one, two = median_time(lambda: ours(*whole), rounds), median_time(halves(ours, *whole), rounds)
    ami = median_time(lambda: partition.adjusted_mutual_information(*whole), 2)
    return {
        "published s": theirs, "ours s": one, "ours s, two threads": two, "ratio": theirs / one,
        "ratio, two threads": theirs / two, "largest difference": float(error), "AMI s": ami,
    }  # fmt: skip


def features(images: int, rounds: int, channels: int = 384) -> Result:
    """Procrustes, CKA and PWCCA of class-token features, one layer."""
    from tokenlens.analysis.metrics.features import gram

    rng = np.random.default_rng(0)
    a = rng.normal(size=(channels, images)).astype(np.float32)
    b = (0.5 * a + rng.normal(size=a.shape)).astype(np.float32)

    def scaled(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(axis=1, keepdims=True)
        return x / np.linalg.norm(x)

    def root(x: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(x @ x.T)
        return vectors @ np.diag([1 / np.sqrt(v) if v > 0 else 0 for v in values]).astype(x.dtype) @ vectors.T

    def published() -> list[float]:
        x, y = scaled(a), scaled(b)
        procrustes = np.sum(x**2) + np.sum(y**2) - 2 * np.linalg.norm(x @ y.T, ord="nuc")
        alike = np.linalg.norm(y @ x.T) ** 2 / np.linalg.norm(x @ x.T) / np.linalg.norm(y @ y.T)
        white_x, white_y = root(x), root(y)
        u, rho, vh = np.linalg.svd(white_x @ (x @ y.T) @ white_y)
        in_x, _ = u.T @ white_x @ x, vh @ white_y @ y  # both canonical sets are formed, one is used
        weight = np.abs(in_x @ x.T).sum(axis=1)
        return [procrustes, 1 - alike, 1 - (weight / weight.sum()) @ rho]

    def ours() -> list[float]:
        sums = gram(a, b)
        return [float(sums.procrustes()), float(sums.cka()), float(sums.pwcca())]

    # ours is the same in float64 to 1e-8; the length of 19 million numbers is off by 1e-4 in float32
    assert np.allclose(published(), ours(), atol=5e-4)
    theirs, mine = median_time(published, min(rounds, 3)), median_time(ours, min(rounds, 3))
    return {"published s": theirs, "ours s": mine, "ratio": theirs / mine}


def bootstrap(images: int, rounds: int) -> Result:
    """1,000 resamples of one metric at all stages."""
    from tokenlens.analysis.statistics.bootstrap import interval

    values = np.random.default_rng(0).random((images, STAGES))
    return {"seconds": median_time(lambda: interval(values), min(rounds, 3))}


COMPARE = """
import sys, time
from pathlib import Path
import tokenlens.analysis.compare_folder as results
start = time.perf_counter()
options = dict(where={}, axes=["method"], metrics=sys.argv[2].split(","), chunk=2048, workers=2, resamples=1000, seed=0,
               csv=False, accuracy=None, anchors=(), findings=False, strict=True)
list(results.compare_folder(Path(sys.argv[1]), Path(sys.argv[1] + "-results"), **options))
seconds = time.perf_counter() - start
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(seconds, int(peak.split()[1]) / 2**10)
"""


def disk(images: int, runs: int = 20) -> Result:
    """All pairs of 20 runs from disk, IoU with chance levels and intervals, written as a table; peak memory."""
    from tokenlens.records.run import Run
    from tokenlens.records.writer import CHUNK, RunWriter

    found: Result = {}
    with tempfile.TemporaryDirectory() as folder:
        ids = [f"val/n{i:08d}.JPEG" for i in range(images)]
        for number in range(runs):
            rng = np.random.default_rng(number)
            run = Run("d", "val", images, "c", "m", "w", f"method{number:02d}", 0.5, (3, 6, 9), LEFT)
            facts = {"capacity": "tiny", "family": "pruning", "adaptive": False, "depth": 12, "grid": [14, 14]}
            writer = RunWriter(Path(folder) / "runs", run, facts, ids, batch_size=CHUNK)
            for first in range(0, images, CHUNK):
                count = min(CHUNK, images - first)
                drawn = [rng.random((count, PATCHES), dtype=np.float32) < left / PATCHES for left in LEFT]
                kept = np.stack(drawn, 1)
                left = kept.sum(-1, dtype=np.int16)
                writer.add({"kept": kept, "group": np.where(kept, 0, -1).astype(np.int16), "tokens_left": left})
            writer.finish({})
        for name, metrics in (("IoU", "iou"), ("IoU, heat maps", "iou,corrected_iou,kl,js,pcc,scc,sim")):
            words = [sys.executable, "-c", COMPARE, str(Path(folder) / "runs"), metrics]
            seconds, memory = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
            found |= {f"{name}: seconds": float(seconds), f"{name}: peak MB": float(memory)}
    return found


def compile_once() -> Result:
    """First call of all kernels in a new process: with an empty cache, and with a filled one."""
    code = (
        "import time, numpy as np; from tokenlens.analysis import overlap, partition; t = time.perf_counter()\n"
        "a = np.ones((2, 9), bool); b = np.ones((2, 9), np.int16); overlap.iou(a, a); overlap.expected_iou(2, 2, 9)\n"
        "partition.homogeneity_completeness_vmeasure(b, b); partition.adjusted_mutual_information(b, b)\n"
        "print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"NUMBA_CACHE_DIR": cache}
        call = [sys.executable, "-c", code]
        first, again = (float(subprocess.run(call, env=env, check=True, capture_output=True).stdout) for _ in range(2))
    return {"empty cache s": first, "filled cache s": again}


def main() -> None:
    """Measure, print, and give everything as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--sample", type=int, default=1000, help="images that the baseline runs on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    n, sample, rounds = args.images, min(args.sample, args.images), args.rounds
    calls: dict[str, Callable[[], Result]] = {
        "compile": compile_once, "copy": lambda: copy_bandwidth(rounds), "iou": lambda: iou(n, sample, rounds),
        "groups": lambda: groups(n, sample, rounds), "features": lambda: features(n, rounds),
        "bootstrap": lambda: bootstrap(n, rounds), "disk": lambda: disk(n),
    }  # fmt: skip
    print(f"{n} images x {STAGES} stages x {PATCHES} patches; medians of {rounds}")
    results = {}
    for part in args.parts:
        results[part] = {name: round(value, 16 if value < 1e-6 else 3) for name, value in calls[part]().items()}
        print(part, *(f"  {name:36} {value:g}" for name, value in results[part].items()), sep="\n", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
