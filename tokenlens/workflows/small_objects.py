"""Does a detector that reduces tokens lose small objects first? `python -m tokenlens.workflows.small_objects RUNS`.

Of each method and keep rate beside the un-reduced detector on the same images: AP of boxes lost, over all objects and
over those of each size, and how much more of it over small objects than over large ones. Intervals are of a bootstrap
over images, which are drawn for both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from tokenlens.data import content_of
from tokenlens.detection.data import DetectionSet, open_detection
from tokenlens.detection.evaluation import drawn_precision
from tokenlens.detection.patterns import results
from tokenlens.errors import BadInput
from tokenlens.records.store import open_runs

SIZES = ("all", "small", "medium", "large")
INTERVAL = (2.5, 97.5)  # percent
LOST = [f"lost {size}" for size in SIZES]
SMALL_FIRST = "lost small - large"


def precision_of(run: xr.Dataset, data: DetectionSet, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """(1 + draws, 4): AP of a run by size, of its own images first."""
    own = np.arange(len(data))[None]
    return drawn_precision(data.truth, results(data, run, False), np.concatenate([own, drawn]), data.bounds)


def losses(runs: Sequence[xr.Dataset], data: DetectionSet, draws: int, seed: int = 0) -> pd.DataFrame:
    """A row a method and keep rate: tokens left, AP and what is lost of it, with intervals, by size.

    Of runs with several seeds the mean is taken, draw by draw.
    """
    whole = next((run for run in runs if run.attrs["method"] == "none"), None)
    if whole is None:
        raise BadInput("no run is un-reduced; make one with `tokenlens detect --method none`")
    drawn = np.random.default_rng(seed).integers(0, len(data), (draws, len(data)))
    reference = precision_of(whole, data, drawn)
    settings: dict[tuple[str, float], list[xr.Dataset]] = {}
    for run in runs:
        settings.setdefault((run.attrs["method"], run.attrs["keep_rate"]), []).append(run)
    rows: list[dict[str, Any]] = []
    for (method, rate), same in settings.items():
        found = np.mean([precision_of(run, data, drawn) for run in same], axis=0)
        lost = reference - found
        left = float(np.mean([run["tokens_left"].values[:, -1] for run in same]))
        row: dict[str, Any] = {"method": method, "keep_rate": rate, "seeds": len(same), "tokens left": left}
        row |= {f"AP {size}": value for size, value in zip(SIZES, found[0], strict=True)}
        told = [run.attrs["metrics"] for run in same]
        row |= {name: np.mean([one[name] for one in told]) for name in told[0] if name.startswith("intact")}
        named = dict(zip(LOST, lost.T, strict=True)) | {SMALL_FIRST: lost[:, 1] - lost[:, 3]}
        for name, values in named.items():
            row[name] = values[0]
            row[f"{name} low"], row[f"{name} high"] = np.nanpercentile(values[1:], INTERVAL)
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["keep_rate", "method"], ascending=[False, True])


@click.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True), default="runs")
@click.option("--draws", default=400, show_default=True, type=click.IntRange(min=2), help="Of the bootstrap.")
@click.option("--out", default="losses.csv", show_default=True, type=click.Path(path_type=Path), help="Table.")
def main(runs: Path, draws: int, out: Path) -> None:
    """Write what each method and keep rate of a folder of runs loses, and print it in short."""
    found = [run for run in open_runs(runs) if "box" in run and run.attrs["complete"]]
    if not found:
        raise BadInput(f"there is no complete run of a detector in {runs}; make some with `tokenlens detect`")
    first = found[0].attrs
    data = open_detection(first["place"], first["split"], first["images"])
    if any(run.attrs["content"] != content_of(data) for run in found):
        raise BadInput(f"the runs in {runs} are not all of the same images; give a folder of one set's")
    table = losses(found, data, draws)
    table.to_csv(out, index=False, float_format="%.4g")
    for row in table.to_dict("records"):
        lost = ", ".join(f"{size} {row[name]:.1f}" for size, name in zip(SIZES, LOST, strict=True))
        more = f"{row[SMALL_FIRST]:.1f} [{row[f'{SMALL_FIRST} low']:.1f}, {row[f'{SMALL_FIRST} high']:.1f}]"
        click.echo(f"{row['method']} at {row['keep_rate']:g}: lost {lost}; small - large {more}")


if __name__ == "__main__":
    main()
