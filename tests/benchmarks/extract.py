"""Many runs in one pass against one after the other, and against what cannot be left out: one decoding, all forwards.

2,000 JPEG photographs of 500 x 375 are cut from scikit-image's own (the extra `photographs`), or drawn where it is
not installed. 16 runs of the nano ViT on one data set. Sides take turns: all runs in one pass; one run after the other,
each reading for itself; one decoding with sixteen forward passes, without writing anything down; the same, with
the blocks that all have in common run once; and the decoding alone. Then one process of one thread against two. Prints
a table, and as its last line the ratios: "ceiling" is what reading once can give at most, were nothing else shared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tokenlens.core.beginning import Beginning
from tokenlens.data import open_data
from tokenlens.data.loading import Loading, batches
from tokenlens.extraction.jobs import Job
from tokenlens.hosts.loading import input_of

SIZE = (500, 375)
METHODS, RATES = ("topk", "tome", "l2", "random"), (0.25, 0.5, 0.7, 0.9)
PICTURES = ("astronaut", "coffee", "chelsea", "rocket", "immunohistochemistry", "retina", "cat")
Side = Callable[[Path], Any]


def pictures() -> list[Image.Image]:
    """Photographs to cut from."""
    try:
        from skimage import data
    except ModuleNotFoundError:
        rng = np.random.default_rng(0)
        rough = [Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)) for _ in range(4)]
        return [picture.resize((1000, 750), Image.Resampling.BICUBIC) for picture in rough]
    found = []
    for name in PICTURES:
        try:
            found.append(Image.fromarray(getattr(data, name)()).convert("RGB").resize((1000, 750)))
        except Exception:  # those that do not come with the package would be downloaded
            continue
    return found


def write_photographs(folder: Path, count: int) -> None:
    """Draw places in the pictures, and write what is there as JPEG."""
    rng, whole = np.random.default_rng(0), pictures()
    folder.mkdir()
    for index in range(count):
        picture = whole[index % len(whole)]
        left, top = (int(rng.integers(0, most - side + 1)) for most, side in zip(picture.size, SIZE, strict=True))
        cut = picture.crop((left, top, left + SIZE[0], top + SIZE[1]))
        cut.save(folder / f"{index:05}.jpg", quality=90)


def together(job: Job, out: Path) -> None:
    list(replace(job, out=out).results())


def one_after_the_other(job: Job, out: Path) -> None:
    assert job.methods is not None
    for name in job.methods:
        for rate in job.keep_rates:
            list(replace(job, methods=[name], keep_rates=[rate], out=out).results())


@torch.inference_mode()
def bare(job: Job, _: Path, forwards: bool = True, shared: bool = False) -> None:
    """One decoding, and the forward passes; `shared`: what comes before the first reducers once."""
    asked = job.completed()
    host = asked.host()
    assert asked.data is not None
    data = open_data(asked.data, asked.split, asked.limit)
    models = [asked.build(host, name, amount).eval() for name, amount in asked.planned()] if forwards else []
    loading = Loading.of(input_of(host.vit), data, asked.batch_size, asked.workers or 0)
    for images, _labels, _objects in batches(data, loading):
        begin = Beginning(models[0].host, images) if shared else None
        for model in models:
            model.trace(images, begin=begin)


def ranks(job: Job, out: Path, count: int) -> None:
    """All runs by so many processes of one thread each."""
    words = ["extract", "--data", job.data, "--method", ",".join(METHODS), "--keep-rate", ",".join(map(str, RATES))]
    command = [sys.executable, "-m", "tokenlens", *map(str, words), "--out", str(out)]
    parts = [subprocess.Popen([*command, "--shard", f"{number}/{count}"], env={**os.environ, "OMP_NUM_THREADS": "1"},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
             for number in range(1, count + 1)]  # fmt: skip
    assert not any([part.wait() for part in parts])


def taking_turns(
    sides: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each side."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            began = clock()
            side()
            seconds[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processor-time", action="store_true", help="on a machine that does other work; no ranks")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as place:
        photographs, number = Path(place) / "photographs", iter(range(10**6))
        write_photographs(photographs, arguments.images)
        job = Job(methods=METHODS, keep_rates=RATES, data=f"folder:{photographs}", progress=False, tell=lambda _: None)

        def turn(side: Callable[[Job, Path], None]) -> Callable[[], object]:
            return lambda: side(job, Path(place) / f"runs-{next(number)}")

        sides = {
            "one pass": turn(together),
            "one after the other": turn(one_after_the_other),
            "bare": turn(bare),
            "bare, shared blocks once": turn(partial(bare, shared=True)),
            "decoding": turn(partial(bare, forwards=False)),
        }
        if not arguments.processor_time:
            sides |= {"one rank": turn(partial(ranks, count=1)), "two ranks": turn(partial(ranks, count=2))}
        together(replace(job, limit=32, methods=METHODS[:1]), Path(place) / "warm")
        clock = time.process_time if arguments.processor_time else time.perf_counter
        took = taking_turns(sides, arguments.rounds, clock)
    runs = len(METHODS) * len(RATES)
    ratios = {
        "threads": arguments.threads,
        "images": arguments.images,
        "runs": runs,
        "one_after_the_other_over_one_pass": took["one after the other"] / took["one pass"],
        "ceiling": 1 + (runs - 1) * took["decoding"] / took["bare"],
        "one_pass_over_bare": took["one pass"] / took["bare"],
        "one_pass_over_bare_with_shared_blocks_once": took["one pass"] / took["bare, shared blocks once"],
    }
    if not arguments.processor_time:
        ratios["one_rank_over_two"] = took["one rank"] / took["two ranks"]
    for name, seconds in took.items():
        print(f"{name:26}{seconds / took['bare']:8.3f} x one decoding and {ratios['runs']} forward passes")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
