"""What the viewer opens on: methods of different kinds that do different things, on an image where they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from tokenlens.analysis.metrics.overlap import iou
from tokenlens.records.facts import Facts, facts_of

from ..select.images import rows_holding
from ..select.setting import DEFAULT_RATE

SHOWN = 3  # runs
KINDS: tuple[Callable[[Facts], bool], ...] = (  # one of each, as far as there are
    lambda facts: facts.family == "pruning",
    lambda facts: facts.family == "radial",
    lambda facts: facts.merges,
)
LOOKED_AT = 64  # images by which two runs are told apart


def opening(runs: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """The runs shown first, in the order of `KINDS`: of the first model, at the usual rate if there are such.

    Where a kind is lacking, others of the runs follow, but none that keeps exactly what one before it keeps.
    """
    real = [run for run in runs if run.attrs["family"] != "none"] or list(runs)
    real = [run for run in real if run.attrs["model"] == real[0].attrs["model"]]
    usual = [run for run in real if run.attrs.get("keep_rate") == DEFAULT_RATE] or real
    firsts = [next((run for run in usual if fits(facts_of(run))), None) for fits in KINDS]
    shown = list[xr.Dataset]()
    for run in [*(run for run in firsts if run is not None), *usual]:
        if len(shown) < SHOWN and all(run is not other and not _same(run, other) for other in shown):
            shown.append(run)
    return shown


def most_apart(runs: Sequence[xr.Dataset], ids: Sequence[str]) -> str:
    """The image on which the first two runs keep least in common; the first one where they cannot be compared."""
    if len(runs) < 2 or (found := _both(runs[0], runs[1], ids)) is None:
        return ids[0]
    shared, a, b = found
    return shared[int(iou(a, b).argmin())]


def _same(run: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether two runs keep the same patches of the first images that both hold."""
    found = _both(run, other, [str(name) for name in run["image"].values[:LOOKED_AT]])
    return found is not None and bool((found[1] == found[2]).all())


def _both(
    run: xr.Dataset, other: xr.Dataset, ids: Sequence[str]
) -> tuple[list[str], NDArray[np.bool_], NDArray[np.bool_]] | None:
    """What two runs keep after the last stage of the images that both hold: ids, and (I, P) bool of each.

    None where they hold no image in common, or are not compared by what they keep.
    """
    rows = np.stack([rows_holding(one["image"], ids) for one in (run, other)])
    there = (rows >= 0).all(0)
    shared = [ids[i] for i in np.flatnonzero(there).tolist()]
    comparable = all(facts_of(one).keeps and "step" not in one.dims for one in (run, other))
    if not shared or not comparable or list(run.attrs["grid"]) != list(other.attrs["grid"]):
        return None
    a, b = (
        one["kept"].isel(image=own[there], stage=-1).transpose("image", "patch").values.astype(bool)
        for one, own in zip((run, other), rows, strict=True)
    )
    return shared, a, b
