"""What the report's pattern viewer knows of one run: its patterns, and a value for each image.

Patterns are one number for each image, stage and patch, 2 * (group + 1) + kept, as little-endian uint16 (group -1:
dropped; -2: waiting, which wraps around to 65534); 65535 is a place of the grid that the image does not have.
Shapes: I images that are shown, R of them that the run holds, S stages, P patches; T steps and B branches, of runs of
`tokenlens synthesize` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.records.facts import facts_of

from ..select.classes import predicted
from ..select.images import rows_holding

OUTSIDE = 65535  # the code of a place that an image does not have
SURE = 0.5  # score from which on a detection is shown


def patterns(run: xr.Dataset, ids: Sequence[str]) -> bytes:
    """The run's patterns of these images, (I, [T, B,] S, P) uint16 little-endian as said above; 0 if absent."""
    rows, there = _rows(run, ids)
    part = run[["kept", "group"]].isel(image=rows).transpose("image", ..., "stage", "patch").load()
    codes = np.zeros((len(ids), *part["kept"].shape[1:]), "<u2")
    here = 2 * (part["group"].values.astype(np.int32) + 1) + part["kept"].values
    codes[there] = np.where(run["valid"].values[rows][:, None], here, OUTSIDE) if "valid" in run else here
    return codes.tobytes()


def boxes(run: xr.Dataset, rows: NDArray[np.intp]) -> list[list[list[float]]]:
    """What was found in each image, best first: left, top, width and height as shares of the picture, score, class."""
    part = run[["box", "box_score", "box_class", "box_scale"]].isel(image=rows).load()
    height, width = run.attrs["input_size"]
    corners = part["box"].values * part["box_scale"].values[:, None] / np.array([width, height] * 2)
    sides = np.concatenate([corners[..., :2], corners[..., 2:] - corners[..., :2]], axis=-1).round(4)
    scores, kinds = part["box_score"].values.round(4).tolist(), part["box_class"].values.tolist()
    found = zip(sides.tolist(), scores, kinds, strict=True)
    return [
        [[*box, score, kind] for box, score, kind in zip(*image, strict=True) if kind >= 0 and score >= SURE]
        for image in found
    ]


def describe_run(run: xr.Dataset, title: str, number: int, ids: Sequence[str]) -> dict[str, Any]:
    """What the viewer reads of a run: who it is, and a value an image (None or -1 where it is not known)."""
    rows, there = _rows(run, ids)
    part = run[[name for name in ("tokens_left", "prediction", "rank", "label", "score") if name in run]].isel(
        image=rows
    )
    part = part.load()
    facts, steps = facts_of(run), "step" in run.dims
    left = part["tokens_left"].isel(step=0, branch=0) if steps else part["tokens_left"]  # as many at every step
    known = "rank" in part and part["rank"].ndim == 1
    rank = part["rank"].values if known else np.full(len(rows), -1)
    error = _error(part, rank)
    said = part["prediction"].values.tolist() if "prediction" in part else [-1] * len(rows)
    names = predicted(run)
    words = {str(kind): names[kind] for kind in sorted(set(said)) if 0 <= kind < len(names)}
    return {
        "name": str(run.attrs["run"]), "title": title, "set": number, "family": facts.family,
        "keeps": facts.keeps, "merges": facts.merges,
        "grid": [int(n) for n in run.attrs["grid"]], "stages": [int(block) for block in run["stage"].values],
        "steps": run["step"].values.tolist() if steps else [],
        "branches": run["branch"].values.tolist() if steps else [],
        "missing": np.flatnonzero(~there).tolist(),
        "left": _spread(left.values.tolist(), there),
        "predictions": _spread(said, there), "said": words,
        "right": _spread([bool(r == 0) if r >= 0 else None for r in rank], there),
        "error": _spread([None if np.isnan(e) else round(float(e), 4) for e in error], there),
        **({"boxes": _spread(boxes(run, rows), there)} if "box_scale" in run else {}),
    }  # fmt: skip


def masks(runs: Sequence[xr.Dataset], ids: Sequence[str]) -> tuple[list[int], bytes] | None:
    """Where objects are, by the first run that knows: the grid, and (I, P) uint8, 1 on an object; None: nobody knows.

    An image that the run does not hold has none.
    """
    run = next((run for run in runs if "object" in run), None)
    if run is None:
        return None
    rows, there = _rows(run, ids)
    found = np.zeros((len(ids), run.sizes["patch"]), np.uint8)
    found[there] = run["object"].isel(image=rows).transpose("image", "patch").values
    return [int(n) for n in run.attrs["grid"]], found.tobytes()


def labels(runs: Sequence[xr.Dataset], ids: Sequence[str]) -> list[list[int]]:
    """The classes of each image, [] where unknown, from the first run that knows."""
    found: dict[str, list[int]] = {}
    for run in runs:
        if len(found) == len(ids) or "label" not in run:
            continue
        rows, there = _rows(run, ids)
        values = run["label"].isel(image=rows).values
        for name, value in zip(np.array(ids, object)[there], values, strict=True):
            classes = np.flatnonzero(value).tolist() if np.ndim(value) else [int(value)] * bool(value >= 0)
            if classes:
                found.setdefault(str(name), classes)
    return [found.get(name, []) for name in ids]


def _error(part: xr.Dataset, rank: NDArray[np.integer]) -> NDArray[np.float64]:
    """1 less the probability of the image's class where scores are stored, else the class's rank; NaN if unknown."""
    error = np.where(rank >= 0, rank, np.nan).astype(np.float64)
    if "score" not in part or not (rank >= 0).any():
        return error
    score = part["score"].values.astype(np.float64)
    share = np.exp(score - score.max(1, keepdims=True))
    own = np.take_along_axis(share / share.sum(1, keepdims=True), part["label"].values.clip(0)[:, None], 1)[:, 0]
    return np.where(rank >= 0, 1 - own, np.nan)


def _rows(run: xr.Dataset, ids: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where the run holds those of the images that it holds, and which of the images these are, (I,) bool."""
    where = rows_holding(run["image"], ids)
    there = where >= 0
    return where[there], there


def _spread(values: list[Any], there: NDArray[np.bool_]) -> list[Any]:
    """Put one value for each image that is there into a list of one for each image; None for the others."""
    left = iter(values)
    return [next(left) if here else None for here in there]
