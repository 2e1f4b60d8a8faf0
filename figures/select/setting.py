"""Which runs a figure shows: those of one data set and one model, one run a method and keep rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..source import Missing
from ..theme.style import order_key, place

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

SETTING = ["dataset", "split", "model"]
DEFAULT_RATE = 0.5


def select_setting(runs: pd.DataFrame, dataset: str | None = None, model: str | None = None) -> pd.DataFrame:
    """Choose rows of the `runs` table: one data set, split and model, one run a method and keep rate.

    Args:
        runs: the table, or the same columns of runs.
        dataset: the data set to show, None for that with most runs.
        model: the model to show, None for that with most runs.

    Returns:
        The rows in the order of the methods, then of the rates. Of several runs of a method and rate, the complete
        one with the lowest seed. Runs that follow no one rate are left out.

    Raises:
        Missing: no run is of this data set and model.
    """
    fits = (runs["dataset"] == (dataset or runs["dataset"])) & (runs["model"] == (model or runs["model"]))
    chosen = runs[fits & runs["keep_rate"].notna()]
    if not len(chosen):
        sought = " and ".join(str(word) for word in (dataset, model) if word) or "any setting"
        raise Missing(f"there are no runs of {sought} at a keep rate; make some with `tokenlens extract`")
    _, setting = max((len(rows), key) for key, rows in chosen.groupby(SETTING))
    chosen = chosen.set_index(SETTING, drop=False).loc[[setting]].reset_index(drop=True)
    chosen = chosen.sort_values(["complete", "seed", "run"], ascending=[False, True, True])
    chosen = chosen.drop_duplicates(["method", "keep_rate"])
    order = sorted(chosen.index, key=lambda i: (order_key(str(chosen.at[i, "method"])), chosen.at[i, "keep_rate"]))
    return chosen.loc[order].reset_index(drop=True)


def settings(runs: pd.DataFrame) -> int:
    """Of how many settings, of which `select_setting` chooses one, there are runs at a keep rate."""
    reduced = runs[runs["keep_rate"].notna() & (runs["family"] != "none")]
    return len(reduced[SETTING].drop_duplicates())


def check(runs: Sequence[xr.Dataset], needed: Sequence[str] = ("run", "method", "family")) -> None:
    """Refuse runs that do not say what they are, as those that were made in memory: Missing names what to set."""
    for run in runs:
        if lacking := [name for name in needed if name not in run.attrs]:
            raise Missing(
                f"run {run.attrs.get('run', '(unnamed)')!r} does not say its {', '.join(lacking)}; "
                "write runs with `tokenlens extract`, or set these attributes"
            )
    if len({run.attrs["run"] for run in runs}) < len(runs):
        raise Missing("two runs have the same name; set the attribute `run` of each")


def rows_of(runs: Sequence[xr.Dataset]) -> pd.DataFrame:
    """What `select_setting` needs to know of runs, without a table: one row a run, in their order."""
    import pandas as pd

    check(runs)
    rows = [
        {name: run.attrs.get(name, "") for name in (*SETTING, "run", "method", "family")}
        | {"keep_rate": run.attrs.get("keep_rate"), "seed": int(run.attrs.get("seed") or 0),
           "images": run.sizes["image"], "complete": bool(run.attrs.get("complete", True))}
        for run in runs
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"keep_rate": "float64"})


def describe(chosen: pd.DataFrame) -> str:
    """Say in a few words what setting the chosen runs are of: for the small print of a figure."""
    one = chosen.iloc[0]
    return f"{place(one['dataset'])} ({one['split']}), {one['model']}, {chosen['images'].max()} images"


def default_rate(chosen: pd.DataFrame, keep_rate: float | None = None) -> float:
    """The rate asked for; else 0.5 if there are runs at it, else the most frequent one. Missing names what there is."""
    rates = chosen.loc[chosen["family"] != "none", "keep_rate"]
    if not len(rates):
        raise Missing("there are no runs of a reduction method; make some with `tokenlens extract`")
    if keep_rate is None:
        return DEFAULT_RATE if DEFAULT_RATE in set(rates) else float(rates.mode().iloc[0])
    if keep_rate not in set(rates):
        there = ", ".join(f"{rate:g}" for rate in sorted(set(rates)))
        raise Missing(f"no run has the keep rate {keep_rate:g}; the runs have {there}")
    return float(keep_rate)


def within(rows: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Of pairs as `pairs.joined` finds them, those between chosen runs; run b may be no run (l2, object)."""
    both = rows["run_b"].isin(chosen["run"]) | rows["method_b"].isna()
    return rows[rows["run_a"].isin(chosen["run"]) & both]
