"""Runs in memory, of the schema that runs have on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

FAMILY = {"topk": "pruning", "evit": "pruning", "ats": "pruning", "tome": "merging", "kmedoids": "merging",
          "sit": "soft", "l2": "radial", "random": "random", "none": "none"}  # fmt: skip
CENTRES = {"kmedoids"}  # mergers whose tokens are patches
FREE = {"ats", "none"}  # whose pattern does not follow the rate that is asked for
MakeRun = Callable[..., xr.Dataset]


def build_run(
    method: str = "topk",
    *,
    images: int = 40,
    side: int = 6,
    stages: tuple[int, ...] = (3, 6),
    rate: float | None = 0.5,
    seed: int = 0,
    draw: int | None = None,
    features: int = 0,
    objects: bool = False,
    attention: bool = False,
    curves: bool = False,
    first: int = 0,
    **attrs: Any,
) -> xr.Dataset:
    """A run of random patterns: `draw` seeds them, image i is called image-<first + i>."""
    rng = np.random.default_rng([seed if draw is None else draw, len(method), ord(method[0])])
    patches, size = side * side, len(stages)
    left = [max(1, int(patches * (rate or 0.5) ** (s + 1))) for s in range(size)]
    order = rng.random((images, patches)).argsort(axis=1)
    kept = np.zeros((images, size, patches), dtype=bool)
    group = np.zeros((images, size, patches), dtype=np.int16)
    for s, k in enumerate(left):
        kept[:, s] = order < k  # nested: what is dropped stays dropped
        group[:, s] = rng.integers(0, k, (images, patches))
    data: dict[str, Any] = {
        "kept": (("image", "stage", "patch"), kept),
        "group": (("image", "stage", "patch"), group),
        "tokens_left": (("image", "stage"), np.tile(np.array(left, dtype=np.int16), (images, 1))),
    }
    coords = {
        "image": [f"image-{first + i:05d}" for i in range(images)], "stage": list(stages),
        "patch": np.arange(patches), "row": ("patch", np.arange(patches) // side),
        "column": ("patch", np.arange(patches) % side),
    }  # fmt: skip
    if features:
        data["feature"] = (("image", "layer", "channel"),
                           rng.normal(size=(images, 2, features)).astype(np.float32))  # fmt: skip
        coords["layer"] = [6, 11]
    if attention:
        data["attention"] = (("image", "stage", "patch"), rng.random((images, size, patches)).astype(np.float16))
    if curves:
        data |= {name: (("image", "stage"), rng.random((images, size)).astype(np.float32))
                 for name in ("insertion", "deletion")}  # fmt: skip
        data["whole"] = ("image", rng.random(images).astype(np.float32))
    if objects:
        data["object"] = (("image", "patch"), rng.random((images, patches)) < 0.3)
    family = FAMILY[method]
    described = {
        "keeps": method in CENTRES or family in ("pruning", "radial", "random"),
        "merges": family in ("merging", "soft"),
        "adaptive": method == "ats", "follows_rate": not (method in FREE or attrs.get("options", {}).get("contiguous")),
        "run": f"{method}-{rate}-{seed}", "dataset": "embedded:shapes", "split": "val", "model": "vit",
        "capacity": "tiny", "method": method, "family": family,
        "keep_rate": rate, "blocks": list(stages), "seed": seed,
        "keep_rates": [] if rate is None else [rate ** (s + 1) for s in range(size)], "options": {}, "images": images,
        "written": images, "complete": True, "metrics": {"top1": 50.0}, "depth": 12, "grid": [side, side], "schema": 1,
    }  # fmt: skip
    return xr.Dataset(data, coords, described | attrs)


def store_run(run: xr.Dataset, folder: Path, written: int | None = None) -> Path:
    """Write a run as `tokenlens extract` lays it out; `written` images of it, as if it were still growing."""
    path = folder / run.attrs["run"]
    group = zarr.create_group(path, zarr_format=3)
    for name in (*run.data_vars, *run.coords):
        values = run[name].values
        values = values.astype(np.dtypes.StringDType()) if name == "image" else values
        group.create_array(str(name), data=values, dimension_names=[str(d) for d in run[name].dims])
    done = run.sizes["image"] if written is None else written
    group.attrs.update(run.attrs | {"written": done, "complete": done == run.sizes["image"]})
    return path


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    return store_run


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    return build_run
