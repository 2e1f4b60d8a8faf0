"""The most that two runs could be alike: what a run's own seeds give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def with_ceiling(comparison: pd.DataFrame) -> pd.DataFrame:
    """The rows with the `ceiling` that they lack: what the two runs' own seeds give by the same metric, on average."""
    import pandas as pd

    seeds = comparison[comparison["axis"] == "seed"]
    if not len(seeds):
        return comparison
    ends = [seeds.rename(columns={end: "run"})[["run", "metric", "stage", "value"]] for end in ("run_a", "run_b")]
    own = pd.concat(ends).groupby(["run", "metric", "stage"])["value"].mean()
    beside = [own.reindex(pd.MultiIndex.from_frame(comparison[[end, "metric", "stage"]])).to_numpy()
              for end in ("run_a", "run_b")]  # fmt: skip
    known = pd.DataFrame(np.transpose(beside), index=comparison.index).mean(axis=1)
    return comparison.assign(ceiling=comparison["ceiling"].fillna(known))
