"""One model's pattern in another's weights, from the command line to the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tokenlens.records.store import open_runs


def test_patterns_are_as_extracted_and_other_weights_follow_them(call: Any, tmp_path: Path) -> None:
    """The nano ViT's weights, once more with its head turned around: what is kept stays, what is said does not."""
    from safetensors.torch import load_file, save_file

    from tokenlens.weights import nano_path

    state = load_file(nano_path())
    state = {name: -value if name.startswith("head.") else value for name, value in state.items()}
    save_file(state, other := tmp_path / "other.safetensors")
    words = ("--method", "topk", "--limit", 8, "--batch-size", 5)
    assert call("extract", *words, "--out", tmp_path / "runs").code == 0
    said = call("swap", *words, "--model", "nano", "--into", other, "--curves", "--out", tmp_path / "swapped")
    assert said.code == 0, said.error
    assert said.out.count("topk at 0.5 in") == 2
    (run,), (a, b) = (open_runs(tmp_path / name) for name in ("runs", "swapped"))
    own, followed = (a, b) if "decided_by" not in a.attrs["options"] else (b, a)
    for name in ("kept", "group", "tokens_left"):
        assert np.array_equal(run[name], own[name]) and np.array_equal(run[name], followed[name]), name
    assert np.array_equal(run["score"], own["score"]) and np.allclose(-run["score"], followed["score"], atol=1e-5)
    assert (
        call("compare", tmp_path / "swapped", "--metric", "iou,insertion_auc", "--out", tmp_path / "results").code == 0
    )
    accuracy = pd.read_parquet(tmp_path / "results" / "accuracy.parquet")
    assert len(accuracy) == 1 and abs(accuracy["difference"][0]) > 50 and accuracy["p"][0] < 0.05
    curves = pd.read_parquet(tmp_path / "results" / "curves.parquet").set_index(["run_a", "run_b", "curve", "stage"])
    name = str(own.attrs["run"])
    for stage in (3, 6, 9):
        row = curves.loc[(name, "", "insertion", stage)]
        values = own["insertion"].sel(stage=stage).values
        assert row["value"] == pytest.approx(values.mean()) and row["low"] < row["value"] < row["high"]
        shown = row["shown"], curves.loc[(name, "", "deletion", stage), "shown"]
        assert sum(shown) == pytest.approx(1) and shown[0] == pytest.approx(float(own["kept"].sel(stage=stage).mean()))
    under = []
    shares = own["kept"].values.mean(axis=2)
    for x, y, whole in zip(shares, own["insertion"].values, own["whole"].values, strict=True):
        along = np.linspace(x.min(), 1, 10_001)
        under.append(np.interp(along, [*x[::-1], 1], [*y[::-1], whole]).mean())
    row = curves.loc[(name, "", "insertion_auc", -1)]
    assert row["value"] == pytest.approx(np.mean(under), rel=1e-3)
    assert row["shown"] == pytest.approx(shares[:, -1].mean())
    assert row["low"] < row["value"] < row["high"] and row["n"] == 8
    rows = pd.read_parquet(tmp_path / "results" / "comparison.parquet").set_index(["run_a", "metric"])
    assert rows.loc[(name, "insertion_auc"), "value"] == pytest.approx(row["value"])
    apart = curves.loc[(*sorted([name, str(followed.attrs["run"])]), "deletion_auc", -1)]
    each = [curves.loc[(run, "", "deletion_auc", -1), "value"] for run in sorted([name, str(followed.attrs["run"])])]
    assert apart["value"] == pytest.approx(each[0] - each[1]) and np.isnan(apart["shown"])
    assert curves.loc[(name, "", "whole", -1), "value"] > curves.loc[(name, "", "insertion", 9), "value"]


def test_what_cannot_follow_is_refused_in_a_sentence(call: Any, tmp_path: Path) -> None:
    said = call("swap", "--method", "sinkhorn", "--limit", 2, "--out", tmp_path / "swapped")
    assert "softly" in said.sentence
    said = call("swap", "--limit", 2, "--into", tmp_path / "none.pth", "--out", tmp_path / "swapped")
    assert "none.pth" in said.sentence
