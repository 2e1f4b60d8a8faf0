"""Compare runs of diffusion models: what two methods merge alike, at every step and in either branch of guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import xarray as xr

from tokenlens.errors import BadInput
from tokenlens.records import tables as table

from .compare import compare
from .metrics.base import Metric

if TYPE_CHECKING:
    import pandas as pd


def split(runs: Iterable[xr.Dataset]) -> tuple[list[xr.Dataset], list[xr.Dataset]]:
    """Those that have steps, as `tokenlens synthesize` writes them, and the others."""
    given = list(runs)
    return [run for run in given if "step" in run.dims], [run for run in given if "step" not in run.dims]


def along_steps(
    runs: Sequence[xr.Dataset],
    axes: Iterable[str] | None = None,
    metrics: Iterable[str | Metric | Callable[..., Any]] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare runs at each step and in each branch that all of them have.

    A run at one step of one branch is a run like any other, so the pairs, metrics and intervals are those of `compare`.

    Args:
        runs: with dimensions `step` and `branch`.
        axes: as in `compare`.
        metrics: as in `compare`.
        resamples: as in `compare`.
        seed: of everything drawn at random.

    Returns:
        The table `steps`: the columns of `comparison`, and step and branch.

    Raises:
        BadInput: there are no runs, or no step and branch that all of them recorded.
    """
    import pandas as pd

    steps, branches = _shared(runs, "step"), _shared(runs, "branch")
    if not steps or not branches:
        raise BadInput("the runs have recorded no step in common; synthesize them with the same --record-steps")
    frames = []
    for step, branch in product(steps, branches):
        there = [run.sel(step=step, branch=branch, drop=True) for run in runs]
        found = compare(there, axes, metrics, resamples=resamples, seed=seed).comparison
        frames.append(found.assign(step=int(step), branch=str(branch)))
    return table.conform(pd.concat(frames), "steps")


def _shared(runs: Sequence[xr.Dataset], dimension: str) -> list[Any]:
    """Values of a coordinate that all runs have, in the order of the first."""
    each = [run[dimension].values.tolist() for run in runs]
    return [value for value in each[0] if all(value in other for other in each)] if each else []
