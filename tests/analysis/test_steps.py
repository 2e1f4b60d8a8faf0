"""Runs with steps are compared step by step, and beside the others."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tokenlens.analysis.compare_folder import compare_folder
from tokenlens.analysis.steps import along_steps, split
from tokenlens.errors import BadInput
from tokenlens.records import tables
from tokenlens.records.run import Run
from tokenlens.records.store import open_runs
from tokenlens.records.writer import RunWriter

BRANCHES = ["unconditional", "conditional"]


def written(out: Path, method: str, seed: int, steps: list[int]) -> None:
    """A run of three pictures, 4 x 4 patches in up to four groups; at step 0 all methods merge alike."""
    run = Run("prompts:p", "2 each", 3, "c", "nano", "w", method, 0.5, (0, 2), (4, 4))
    attributes = {"grid": [4, 4], "family": "merging", "keeps": False, "merges": True, "adaptive": False,
                  "steps": steps, "branches": BRANCHES}  # fmt: skip
    writer = RunWriter(out, run, attributes, ["p/0_0", "p/0_1", "p/1_0"], 1, 1)
    for image in range(3):
        shape = (1, 1, 2, 2, 16)
        group = [
            np.random.default_rng([image, step, seed if step else 0]).integers(0, 4, shape, dtype=np.int16)
            for step in steps
        ]
        found = np.concatenate(group, 1)
        left = np.full(found.shape[:-1], 4, np.int16)
        writer.add({"kept": np.zeros(found.shape, bool), "group": found, "tokens_left": left})
    writer.finish({})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, method in enumerate(("one", "two")):
        written(tmp_path / "runs", method, seed, [0, 3])
    return tmp_path / "runs"


def test_alike_where_they_merge_alike(folder: Path) -> None:
    runs = open_runs(folder)
    assert runs[0]["group"].dims == ("image", "step", "branch", "stage", "patch")
    found = along_steps(runs, metrics=["vmeasure"], resamples=20).set_index(["step", "branch", "stage"])["value"]
    assert np.allclose(found.loc[0], 1)
    assert (found.loc[3] < 0.9).all() and len(found) == 8


def test_compare_writes_a_table_of_its_own(folder: Path, tmp_path: Path) -> None:
    lines = list(compare_folder(folder, tmp_path / "results", resamples=20))
    frame = tables.read(tmp_path / "results", "steps")
    assert "steps" in lines[0] and set(frame["step"]) == {0, 3} and set(frame["branch"]) == set(BRANCHES)


def test_no_step_in_common(tmp_path: Path) -> None:
    written(tmp_path, "one", 0, [0])
    written(tmp_path, "two", 1, [1])
    with pytest.raises(BadInput, match="no step in common"):
        along_steps(open_runs(tmp_path))
    assert [len(part) for part in split([xr.Dataset(), *open_runs(tmp_path)])] == [2, 1]
