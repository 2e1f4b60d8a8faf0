"""Attention that is recorded beside what it may have led to."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tokenlens.records.store import open_runs


def test_recorded_attention_tells_who_chooses_by_it(call: Any, tmp_path: Path) -> None:
    """Top-K keeps what the class token attends to, and chance does not look."""
    words = ("extract", "--method", "topk,random", "--limit", 6, "--attention", "--out", tmp_path / "runs")
    assert call(*words).code == 0
    assert call("compare", tmp_path / "runs", "--axis", "attention", "--out", tmp_path / "results").code == 0
    found = pd.read_parquet(tmp_path / "results" / "comparison.parquet").set_index(["run_a", "stage"])["value"]
    for run in open_runs(tmp_path / "runs"):
        values = found[run.attrs["run"]]
        assert (values > 0.999 if run.attrs["method"] == "topk" else abs(values - 0.5) < 0.3).all(), values
        gone = np.isnan(run["attention"].values)  # before the second stage those that the first one dropped
        assert not gone[:, 0].any() and np.array_equal(gone[:, 1:], ~run["kept"].values[:, :-1])
    (plain,) = open_runs(_extracted(call, tmp_path / "plain"))
    assert "attention" not in plain and "attention" not in plain.attrs


def _extracted(call: Any, out: Path) -> Path:
    assert call("extract", "--method", "topk", "--limit", 2, "--out", out).code == 0
    return out
