"""What a source has, and what it says of what it lacks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tokenlens.figures.source import Missing, Source
from tokenlens.records import tables as table

Tables = dict[str, pd.DataFrame]


def test_tables_are_read_once_from_their_folder(tmp_path: Path, make_tables: Callable[..., Tables]) -> None:
    made = make_tables(("a",), ("tiny",), ("topk", "l2"), (0.5,))
    table.write(made["runs"], tmp_path, "runs", csv=True)
    source = Source.open(tmp_path, None)
    assert list(source.table("runs")["run"]) == list(made["runs"]["run"])
    assert source.table("runs") is source.table("runs")


@pytest.mark.parametrize(("content", "fact"), [
    (None, r"holds no runs table; `tokenlens compare --out .*` writes one"),
    (b"no parquet", r"runs\.parquet cannot be read \(.*\); remove it and write it anew with `tokenlens compare`"),
    ("old", r"the runs table lacks .*gflops; write it anew with `tokenlens compare`"),
    ("empty", r"the runs table is empty; fill it as `tokenlens compare` does"),
])  # fmt: skip
def test_a_table_that_cannot_be_used_is_told(
    tmp_path: Path, tables: Tables, content: bytes | str | None, fact: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "runs.parquet").write_bytes(content)
    elif content:
        frame = tables["runs"].drop(columns="gflops") if content == "old" else tables["runs"].iloc[:0]
        frame.to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(Missing, match=fact):
        Source.open(tmp_path).table("runs")


@pytest.mark.parametrize(("name", "lack"), [
    ("comparison", "no two of the runs form a pair"),
    ("proxy", "it takes an anchor .* and three other methods .* with accuracies, at one keep rate"),
    ("heatmap", "none of the runs that were compared keeps patches"),
])  # fmt: skip
def test_what_compare_made_nothing_of_is_what_the_runs_lack(
    tmp_path: Path, tables: Tables, name: str, lack: str
) -> None:
    for written in (True, False):  # empty, or not written at all
        table.write(tables["runs"], tmp_path, "runs")
        if written:
            table.write(tables[name].iloc[:0], tmp_path, name)
        else:
            (tmp_path / f"{name}.parquet").unlink()
        with pytest.raises(Missing, match=rf"{lack}.*; make .* with `tokenlens extract --method"):
            Source.open(tmp_path).table(name)
    (tmp_path / "runs.parquet").unlink()
    with pytest.raises(Missing, match=f"holds no {name} table; `tokenlens compare"):
        Source.open(tmp_path).table(name)


def test_what_is_not_there_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    nowhere = Source.open(tmp_path / "results", tmp_path / "runs")
    with pytest.raises(Missing, match=r"no folder of tables .*results; `tokenlens bench` writes one"):
        nowhere.table("bench")
    with pytest.raises(Missing, match=r"no folder of runs .*runs; make runs with `tokenlens extract`"):
        _ = nowhere.runs
    (tmp_path / "runs").mkdir()
    with pytest.raises(Missing, match=r"there are no runs in .*runs; make some with `tokenlens extract`"):
        _ = nowhere.runs
    with pytest.raises(Missing, match="no runs table was given; `tokenlens compare` makes one"):
        Source().table("runs")


def test_the_first_row_that_gives_a_fact_counts_and_runs_add_what_the_table_lacks(make_run: Any) -> None:
    runs = [make_run("topk", 0.5), make_run("mine", 0.5, family="pruning", label="My own", color="#123456")]
    table = pd.DataFrame({"method": ["topk", "topk"], "label": ["", "First"], "family": "pruning"})
    source = Source(opened=runs, _read={"runs": table})
    assert {name: look.label for name, look in source.looks().items()} == {"topk": "First", "mine": "My own"}
    assert source.looks()["mine"].color == "#123456"
    assert list(source.looks(of_runs=False)) == ["topk"] and list(Source(opened=runs[1:]).looks(False)) == ["mine"]
    assert Source().looks() == {}
