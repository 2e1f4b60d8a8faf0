"""Many runs in one pass against one after the other, and against what cannot be left out: one decoding, all forwards.

2,000 JPEG photographs of 500 x 375 are cut from scikit-image's own (the extra `photographs`), or drawn where it is
not installed. 16 runs of the nano ViT on one data set. Sides take turns: all runs in one pass; one run after the other,
each reading for itself; and one decoding with sixteen plain forward passes, without writing anything down. Prints a
table, and as its last line the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

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
def bare(job: Job, _: Path) -> None:
    """One decoding, and the forward passes."""
    asked = job.completed()
    host = asked.host()
    assert asked.data is not None
    data = open_data(asked.data, asked.split, asked.limit)
    models = [asked.build(host, name, amount).eval() for name, amount in asked.planned()]
    loading = Loading.of(input_of(host.vit), data, asked.batch_size, asked.workers or 0)
    for images, _labels, _objects in batches(data, loading):
        for model in models:
            model(images)


def taking_turns(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as place:
        photographs, number = Path(place) / "photographs", iter(range(10**6))
        write_photographs(photographs, arguments.images)
        job = Job(methods=METHODS, keep_rates=RATES, data=f"folder:{photographs}", progress=False, tell=lambda _: None)

        def turn(side: Callable[[Job, Path], None]) -> Callable[[], object]:
            return lambda: side(job, Path(place) / f"runs-{next(number)}")

        sides = {"one pass": turn(together), "one after the other": turn(one_after_the_other), "bare": turn(bare)}
        together(replace(job, limit=32, methods=METHODS[:1]), Path(place) / "warm")
        took = taking_turns(sides, arguments.rounds)
    ratios = {
        "threads": arguments.threads,
        "images": arguments.images,
        "runs": len(METHODS) * len(RATES),
        "one_after_the_other_over_one_pass": took["one after the other"] / took["one pass"],
        "one_pass_over_bare": took["one pass"] / took["bare"],
    }
    for name, seconds in took.items():
        print(f"{name:22}{seconds / took['bare']:8.3f} x one decoding and {ratios['runs']} forward passes")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
