"""Many runs of very many images: files on disk, and time and peak memory of a comparison of all pairs, size by size.

The patterns are simulated; time is the processor's, which other work on the machine does not change much. A table, and
as the last line the ratios: files of chunks over packed files, seconds an image and seconds a pair and image of each
line over those of the first, and the peak memory. With `--dask` the same comparison is carried out by two
processes of Dask on this machine too, beside two threads of one process: the wall clock of each, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from tokenlens.records.run import Run
from tokenlens.records.writer import CHUNK, RunWriter

RATES = (0.5, 0.25, 0.125)
ROUNDS = 3
COMPARE = """
import sys, time
from pathlib import Path
from tokenlens.analysis.compare_folder import compare_folder
began, wall = time.process_time(), time.perf_counter()
runs, dask = Path(sys.argv[1]), "".join(sys.argv[2:])
results = Path(sys.argv[1] + "-results")
list(compare_folder(runs, results, metrics=("iou",), workers=2, resamples=1000, dask=dask))
wall, seconds = time.perf_counter() - wall, time.process_time() - began
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(seconds, int(peak.split()[1]) / 2**10, wall)
"""


def batches(images: int, patches: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Patterns of a pruner that keeps so many patches at random, nested from stage to stage."""
    rng = np.random.default_rng(seed)
    for first in range(0, images, CHUNK):
        order = rng.random((min(CHUNK, images - first), patches), dtype=np.float32).argsort(1).astype(np.int16)
        kept = np.stack([order < round(rate * patches) for rate in RATES], 1)
        yield {
            "kept": kept,
            "group": np.where(kept, kept.cumsum(-1) - 1, -1).astype(np.int16),
            "tokens_left": kept.sum(-1, dtype=np.int16),
            "label": np.full(len(kept), -1, np.int32),
        }


def write(out: Path, images: int, side: int, number: int) -> tuple[int, int, int]:
    """Write a run: files before and after it is packed, and bytes."""
    keep = tuple(round(rate * side**2) for rate in RATES)
    run = Run("simulated", "val", images, "c", "m", "w", f"method{number}", 0.5, (3, 6, 9), keep)
    facts = {"capacity": "tiny", "family": "pruning", "adaptive": False, "depth": 12, "grid": [side, side]}
    writer = RunWriter(out, run, facts, [f"{index:09}" for index in range(images)], CHUNK)
    for batch in batches(images, side**2, number):
        writer.add(batch)
    before = len(_files(writer.folder))
    writer.finish({})
    packed = _files(writer.folder)
    return before, len(packed), sum(file.stat().st_size for file in packed)


def compared(runs: Path, *dask: str) -> tuple[float, float, float]:
    """Processor seconds and peak MB of the process that compares, and seconds of the wall clock."""
    words = [sys.executable, "-c", COMPARE, str(runs), *dask]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    seconds, peak, wall = map(float, said[-3:])
    return seconds, peak, wall


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, nargs="+", default=[4])
    parser.add_argument("--dask", action="store_true", help="beside two processes of Dask on this machine")
    parser.add_argument("--grid", type=int, default=14, help="patches along a side")
    arguments = parser.parse_args()
    print(f"{arguments.grid} x {arguments.grid} patches, IoU of all pairs, two threads; times an image")
    print(f"{'images':>10}{'runs':>6}{'files':>8}{'packed':>8}{'bytes':>8}{'us':>8}{'ns a pair':>11}{'peak MB':>9}")
    rows, slower = [], list[float]()
    for images, runs in product(arguments.images, arguments.runs):
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "runs"
            chunks, packed, size = [write(out, images, arguments.grid, number) for number in range(runs)][-1]
            seconds, peak, _ = compared(out)
            if arguments.dask:
                turns = [(compared(out, "local")[2], compared(out)[2]) for _ in range(ROUNDS)]
                slower.append(statistics.median(there / here for there, here in turns))
        each, pairs = seconds / images, runs * (runs - 1) / 2
        rows.append((chunks / packed, each, each / pairs, peak))
        print(
            f"{images:10,}{runs:6}{chunks:8}{packed:8}{size / images:8.1f}{1e6 * each:8.1f}{1e9 * each / pairs:11.1f}"
            f"{peak:9.0f}",
            flush=True,
        )
    ratios: dict[str, list[float]] = {
        "files_of_chunks_over_packed": [row[0] for row in rows],
        "seconds_an_image_over_first": [row[1] / rows[0][1] for row in rows],
        "seconds_a_pair_and_image_over_first": [row[2] / rows[0][2] for row in rows],
        "peak_megabytes": [row[3] for row in rows],
    }
    if slower:
        ratios["dask_over_one_process"] = slower
    print(json.dumps({"images": arguments.images, "runs": arguments.runs, **ratios}))


if __name__ == "__main__":
    main()
