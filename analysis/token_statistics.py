"""How many tokens a run leaves, stage by stage, and how deep its patches go: the `tokens` table.

What is asked for and what is left are two things: ToMe cannot go below half at a stage, ATS leaves as many as it finds
worth it. Source: Haurum et al., 2023, arXiv:2308.04657; JoakimHaurum/TokenReduction@88fe07e,
reduction_methods_analysis/compute_token_statistics.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tokenlens.records.columns import ALL_STAGES

from .chunked_reader import stored
from .heat_maps import HeatMap

ASKED, LEFT, REDUCTION, DEPTH, SPREAD = "asked", "tokens_left", "reduction", "depth", "depth_spread"


def rows_of_run(run: xr.Dataset, heat: HeatMap | None) -> list[dict[str, Any]]:
    """The rows of one run; those of depth where its heat map is known.

    `reduction` is the share of the tokens entering a stage that go there; `depth_spread` the deviation of the mean
    depth over patches: 0 where every place of the grid is as likely to be kept.
    """
    found: list[dict[str, Any]] = []

    def add(statistic: str, stage: int, value: float, std: float, n: int) -> None:
        found.append({"run": run.attrs["run"], "statistic": statistic, "stage": stage, "value": value, "std": std,
                      "n": n})  # fmt: skip

    images = run.sizes["image"]
    patches: Any = run.sizes.get("patch", 0)  # of the grid, or of each image: (image, 1)
    if "valid" in run:
        patches = stored(run["valid"], 0, images, str(run.attrs["run"])).sum(1, keepdims=True)
    stages = [int(stage) for stage in run["stage"].values] if "stage" in run.coords else []
    shares = list(run.attrs.get("keep_rates") or ())
    for stage, share in zip(stages, shares, strict=False):
        if share is not None:
            add(ASKED, stage, float(share) * float(np.mean(patches)), np.nan, images)
    if "tokens_left" in run and stages:
        left = stored(run["tokens_left"], 0, images, str(run.attrs["run"])).astype(np.float64)
        before = np.concatenate([np.broadcast_to(patches, (images, 1)), left[:, :-1]], axis=1)
        gone = 1 - left / np.maximum(before, 1)
        for i, stage in enumerate(stages):
            add(LEFT, stage, float(left[:, i].mean()), float(left[:, i].std()), images)
            add(REDUCTION, stage, float(gone[:, i].mean()), float(gone[:, i].std()), images)
    if heat is not None:
        add(DEPTH, ALL_STAGES, float(heat.mean.mean()), heat.deviation, heat.n)
        add(SPREAD, ALL_STAGES, float(heat.mean.std()), np.nan, heat.n)
    return found
