"""Runs on an object store are those on disk, bit for bit, and are gone on with, compared and refused as these are."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from tokenlens.analysis.compare_folder import compare_folder
from tokenlens.cli import tokenlens
from tokenlens.errors import BadInput
from tokenlens.extraction.feed import Feed
from tokenlens.records import store, tables, writer
from tokenlens.records.leases import LEASES
from tokenlens.records.place import place

SETTINGS: dict[str, Any] = {"methods": ["topk", "l2"], "batch_size": 2, "limit": 6}


def assert_same_runs(one: Any, other: Any) -> None:
    pairs = list(zip(store.open_runs(one, check=None), store.open_runs(other, check=None), strict=True))
    assert pairs
    for a, b in pairs:
        xr.testing.assert_identical(a.drop_attrs(), b.drop_attrs())
        assert {**a.attrs, "digest": ""} == {**b.attrs, "digest": ""} and a.attrs["complete"]
        assert store.content(a) == store.content(b)


def test_a_run_in_memory_is_the_one_on_disk_also_when_it_was_stopped(
    run_job: Any, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK", 2)
    run_job(tmp_path / "runs", **SETTINGS)
    put, puts = Feed.put, list[int]()

    def stopped(self: Feed, first: int) -> None:
        puts.append(first)
        if len(puts) == 4:
            raise KeyboardInterrupt
        put(self, first)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(Feed, "put", stopped)
        run_job(f"{memory}/runs", **SETTINGS)
    assert sorted(run.attrs["written"] for run in store.open_runs(f"{memory}/runs")) == [2, 4]
    folders = run_job(f"{memory}/runs", **SETTINGS)
    assert [str(folder).startswith(f"{memory}/runs/shapes_") for folder in folders] == [True, True]
    assert not (place(memory) / "runs" / LEASES).exists()
    assert_same_runs(tmp_path / "runs", f"{memory}/runs")

    for runs, out in ((tmp_path / "runs", tmp_path / "results"), (f"{memory}/runs", f"{memory}/results")):
        assert f"{out}/comparison.parquet: 3 rows" in compare_folder(
            runs, out, axes=["method"], metrics=["iou"], resamples=10
        )
    for name in ("comparison", "runs", "tokens"):
        pd.testing.assert_frame_equal(tables.read(tmp_path / "results", name), tables.read(f"{memory}/results", name))
    assert {path.name for path in (place(memory) / "results").iterdir()} >= {"manifest.json", "comparison.parquet"}

    damaged = folders[0] / "kept" / "c" / "0" / "0" / "0"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    with pytest.raises(BadInput, match="kept/c/0/0/0 is damaged"):
        store.open_run(folders[0], check=None)
    damaged.unlink()
    with pytest.raises(BadInput, match="it has lost kept/c/0/0/0"):
        store.open_run(folders[0])


@pytest.mark.parametrize("parts", [1, 5, 40])
def test_a_run_that_has_come_in_part_hinders_nobody(parts: int, run_job: Any, memory: str, tmp_path: Path) -> None:
    """What a process finds while another puts a new run there, or where one was killed at that."""
    (made,) = run_job(tmp_path / "runs", **{**SETTINGS, "methods": ["topk"]})
    files = sorted((path for path in made.rglob("*") if path.is_file()), key=lambda path: -len(path.parts))
    patterns = {"kept", "group", "tokens_left", "label", "prediction", "rank", "object", "score"}
    arriving = [path for path in files if path.parent == made or not ({*path.parts} & patterns and "c" in path.parts)]
    assert len(arriving) > 10
    for path in arriving[: min(parts, len(arriving) - 1)]:
        (place(memory) / "runs" / path.relative_to(made.parent).as_posix()).write_bytes(path.read_bytes())
    run_job(f"{memory}/runs", **{**SETTINGS, "methods": ["topk"]})
    assert_same_runs(tmp_path / "runs", f"{memory}/runs")


def test_a_run_there_that_lost_its_description_is_told(run_job: Any, memory: str) -> None:
    (made,) = run_job(f"{memory}/runs", **{**SETTINGS, "methods": ["topk"]})
    (made / "zarr.json").unlink()
    with pytest.raises(BadInput, match=r"is a run that has lost its zarr\.json; move it away"):
        run_job(f"{memory}/runs", **{**SETTINGS, "methods": ["l2"]})


def test_many_chunks_become_few_objects(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenlens.records.run import Run

    run = Run("simulated", "val", 40, "c", "m", "w", "topk", 0.5, (1,), (2,))
    facts = {"capacity": "tiny", "family": "pruning", "adaptive": False, "depth": 2, "grid": [2, 2]}
    made = writer.RunWriter(place(memory), run, facts, [f"{index}" for index in range(40)], 2, 2)
    rng = np.random.default_rng(0)
    kept = rng.random((40, 1, 4)) < 0.5
    for first in range(0, 40, 2):
        some = kept[first : first + 2]
        made.add({"kept": some, "group": np.where(some, 0, -1).astype(np.int16), "tokens_left": some.sum(-1)})
    before = len([*made.folder.rglob("0*"), *made.folder.rglob("c*")])
    made.finish({})
    files = [str(path) for path in made.folder.rglob("*")]
    assert before >= 60 and sum("/kept/" in file for file in files) == 2
    (there,) = store.open_runs(memory, check=None)
    assert np.array_equal(there["kept"], kept) and len(store.content(there)) == 16


@pytest.mark.parametrize("words", [
    "segment --method topk --limit 1 --train-limit 8", "swap --method topk --limit 2", "detect --method none --limit 1",
])  # fmt: skip
def test_every_command_that_writes_runs_writes_them_there(words: str, memory: str, tmp_path: Path) -> None:
    for out in (f"{memory}/there", str(tmp_path / "here")):
        done = CliRunner().invoke(tokenlens, [*words.split(), "--out", out])
        assert done.exit_code == 0 and f"-> {out}/" in done.output, done.output
    assert_same_runs(tmp_path / "here", f"{memory}/there")


def test_measured_speeds_lie_there_too(memory: str) -> None:
    words = "bench --method topk --batch-size 1 --repeats 1 --warmup 1 --out".split()
    for method in ("topk", "l2"):  # the second joins the first
        words[2] = method
        assert CliRunner().invoke(tokenlens, [*words, f"{memory}/results"]).exit_code == 0
    assert {"topk", "l2"} <= set(tables.read(f"{memory}/results", "bench")["method"])
