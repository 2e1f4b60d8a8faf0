"""What each run is, and how accurate: the table `runs`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tokenlens.records import tables as table
from tokenlens.records.facts import facts_of

from .chunked_reader import images_of
from .pairing import card

if TYPE_CHECKING:
    import pandas as pd


def describe(runs: Iterable[xr.Dataset]) -> pd.DataFrame:
    """What each run is and how accurate: the `runs` table. Accuracy is mAP if there is one, else top1, in percent."""
    import pandas as pd

    rows, numbered = [], dict(enumerate(runs))
    images = images_of(numbered)
    for number, run in numbered.items():
        one, facts, found = card(run), facts_of(run), dict(run.attrs.get("metrics") or {})
        measure = next((name for name in ("mAP", "top1") if name in found), next(iter(found), ""))
        rows.append({
            "run": one.run, "dataset": one.dataset, "split": one.split, "model": one.model, "capacity": one.capacity,
            "method": one.method, "family": one.family, "seed": one.seed, "images": run.sizes.get("image", 0),
            "keep_rate": np.nan if one.keep_rate is None else one.keep_rate,
            "complete": bool(run.attrs.get("complete", True)), "measure": measure,
            "accuracy": float(found.get(measure, np.nan)), "gflops": float(run.attrs.get("gflops", np.nan)),
            "label": facts.label or one.method, "color": facts.color, "marker": facts.marker, "order": facts.order,
            "keeps": facts.keeps, "merges": facts.merges,
            "top5": float(found.get("top5", np.nan)), "blocks": ",".join(map(str, one.blocks)), "options": one.options,
            "content": images[number].key, "schedule": str(run.attrs.get("schedule", "")),
        })  # fmt: skip
    return table.conform(pd.DataFrame(rows), "runs")
