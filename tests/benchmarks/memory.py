"""How much memory two things take: a comparison of 69 runs x 400 images x 4 layers x 384 channels, and a detector.

Runs of random patterns, groups, depths and features are written as `tokenlens extract` writes them, in a temporary
folder, and compared in a process of its own, whose peak is read. By default along keep rates, which is each run beside
two others; `--axes method` is each beside all others of its rate, hours of decompositions, taken as few at a time.
With `--detector vit-adapter-small` instead one image of 800 x 1333 goes through that detector, un-reduced and with ATC
(average linkage) at 0.5, each in a process of its own. Its weights are random and find nothing; proposals are made, and
what all objects of an image would add is 100 masks of 28 x 28.
Usage: python tests/benchmarks/memory.py [--runs 69] [--images 400] [--channels 384] [--axes keep_rate,radial,layout]
       python tests/benchmarks/memory.py --detector vit-adapter-small
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

STAGES, LAYERS, PATCHES, LEFT = (3, 6, 9), (3, 6, 9, 11), 196, (98, 49, 24)
RATES = (0.25, 0.5, 0.9)
COMPARE = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import tokenlens.analysis.compare_folder as results
list(results.compare_folder(Path(sys.argv[1]), Path(sys.argv[1] + "-results"), axes=sys.argv[2].split(",")))
"""
DETECT = """
import sys
from PIL import Image
from tokenlens.detection.checkpoints import untrained
from tokenlens.detection.preparing import batched
from tokenlens.detection.reducing import reduced_detector
model = reduced_detector(untrained(sys.argv[1]), sys.argv[2], 0.5)
images, frames = batched([Image.effect_noise((1333, 800), 64).convert("RGB")], model.config)
model(images, frames)
"""
PEAK = """
from pathlib import Path
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 2**10)
"""


def write(folder: Path, number: int, images: int, channels: int) -> None:
    """One run: method, keep rate and seed follow from its number."""
    from tokenlens.records.run import Run
    from tokenlens.records.writer import RunWriter

    rng, ids = np.random.default_rng(number), [f"val/{i:08d}" for i in range(images)]
    method, rate = f"method{number // len(RATES):02d}", RATES[number % len(RATES)]
    run = Run("d", "val", images, "c", "m", "w", method, rate, STAGES, LEFT)
    facts = {"capacity": "small", "family": "merging", "depth": 12, "grid": [14, 14], "keeps": True, "merges": True,
             "layers": list(LAYERS)}  # fmt: skip
    writer = RunWriter(folder, run, facts, ids, batch_size=images)
    order = rng.random((images, PATCHES)).argsort(1)
    kept = np.stack([order < left for left in LEFT], 1)
    group = np.stack([rng.integers(0, left, (images, PATCHES)) for left in LEFT], 1).astype(np.int16)
    writer.add({
        "kept": kept, "group": group, "tokens_left": kept.sum(-1, dtype=np.int16),
        "feature": rng.normal(size=(images, len(LAYERS), channels)).astype(np.float16),
    })  # fmt: skip
    writer.finish({})


def peak_of(program: str, *words: str) -> float:
    """The most memory in MB (2^20 bytes) that a process of its own ever held while it ran a program."""
    told = subprocess.run([sys.executable, "-c", program + PEAK, *words], check=True, capture_output=True, text=True)
    return float(told.stdout)


def main() -> None:
    """Write, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=69)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--axes", default="keep_rate,radial,layout")
    parser.add_argument("--detector")
    args = parser.parse_args()
    if args.detector:
        found = {method: peak_of(DETECT, args.detector, method) for method in ("none", "atc-average")}
        for method, peak in found.items():
            print(f"{args.detector}, one image of 800 x 1333, {method}: peak {peak:.0f} MB")
        print(json.dumps({f"{method} of 6 GB": round(peak / 6144, 2) for method, peak in found.items()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.runs):
            write(Path(folder) / "runs", number, args.images, args.channels)
        peak = peak_of(COMPARE, str(Path(folder) / "runs"), args.axes)
    shape = f"{args.runs} runs x {args.images} images x {len(LAYERS)} layers x {args.channels} channels"
    print(f"{shape}, along {args.axes}: peak {peak:.0f} MB")
    print(json.dumps({"peak MB": round(peak), "of 1.5 GB": round(peak / 1536, 2)}))


if __name__ == "__main__":
    main()
