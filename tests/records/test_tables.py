"""Tables: their columns, written whole, read back the same."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from tokenlens.core.families import UNORDERED
from tokenlens.errors import BadInput, UnknownName
from tokenlens.records import tables as table
from tokenlens.records.atomic import write
from tokenlens.records.columns import ALL_STAGES

ROWS = pd.DataFrame({
    "run_a": ["a", "1"], "run_b": ["b", "NA"], "axis": ["method", "seed"], "stage": [3, ALL_STAGES],
    "metric": ["iou", "scc"], "value": [0.1, np.nan], "std": [1e-17, 2.0], "n": [5, 50000], "chance": [1 / 3, np.nan],
    "low": [-1.0, 0.0], "high": [1.0, np.inf],
})  # fmt: skip


def names(folder: Path) -> list[str]:
    """What a person sees in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("csv", [False, True])
def test_what_is_written_is_read(tmp_path: Path, csv: bool) -> None:
    path = table.write(ROWS, tmp_path / "new", "comparison", csv)
    assert path.suffix == (".csv" if csv else ".parquet")
    for source in (path, path.parent):
        pd.testing.assert_frame_equal(table.read(source, "comparison"), table.conform(ROWS, "comparison"))


@pytest.mark.parametrize("csv", [False, True])
@pytest.mark.parametrize("name", table.COLUMNS)
def test_empty_tables_keep_their_columns(tmp_path: Path, name: str, csv: bool) -> None:
    found = table.read(table.write(pd.DataFrame(), tmp_path, name, csv), name)
    assert len(found) == 0
    assert list(found.columns) == list(table.COLUMNS[name])
    pd.testing.assert_frame_equal(found, table.conform(pd.DataFrame(), name))


@pytest.mark.parametrize("csv", [False, True])
def test_a_folder_may_be_called_by_any_bytes(tmp_path: Path, csv: bool) -> None:
    table.write(ROWS, tmp_path / "of\udcff", "comparison", csv)
    assert len(table.read(tmp_path / "of\udcff", "comparison")) == 2
    assert write(tmp_path / "page", "of\udcff").read_bytes() == rb"of\udcff"


def test_columns_come_in_their_order_and_others_are_left_out() -> None:
    mixed = ROWS[ROWS.columns[::-1]].assign(note="x")
    assert list(table.conform(mixed, "comparison").columns) == list(table.COLUMNS["comparison"])
    with pytest.raises(BadInput, match="lacks chance, high"):
        table.conform(ROWS.drop(columns=["chance", "high"]), "comparison")


def test_a_table_of_runs_from_before_is_filled_in(tmp_path: Path) -> None:
    old = {name: [False] if kind == "bool" else ["1"] if kind == "str" else [1] for name, kind in
           table.COLUMNS["runs"].items() if name not in table.ADDED["runs"]}  # fmt: skip
    for family, keeps, merges in (("pruning", True, False), ("soft", False, True)):
        pd.DataFrame(old | {"method": ["mine"], "family": [family]}).to_parquet(tmp_path / "runs.parquet")
        (found,) = table.read(tmp_path, "runs").to_dict("records")
        assert (found["label"], found["color"], found["marker"], found["order"]) == ("mine", "", "", UNORDERED)
        assert (found["keeps"], found["merges"]) == (keeps, merges)
    with pytest.raises(BadInput, match="the runs table lacks method;"):
        table.conform(pd.DataFrame(old).drop(columns="method"), "runs")


@pytest.mark.parametrize(("number", "message"), [
    (errno.ENOSPC, "the disk is full while writing .*free some space"),
    (errno.EROFS, "cannot be written .*choose another folder with --out"),
])  # fmt: skip
def test_a_failed_write_leaves_the_old_table_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    table.write(ROWS, tmp_path, "comparison")
    before = (tmp_path / "comparison.parquet").read_bytes()

    def fail(_: object, file: BinaryIO, **__: object) -> None:
        file.write(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pyarrow.parquet, "write_table", fail)
    with pytest.raises(BadInput, match=message):
        table.write(ROWS, tmp_path, "comparison")
    assert names(tmp_path) == ["comparison.parquet", "manifest.json"]
    assert (tmp_path / "comparison.parquet").read_bytes() == before


def test_a_table_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no comparison table"):
        table.read(tmp_path, "comparison")
    with pytest.raises(BadInput, match="there is no table at"):
        table.read(tmp_path / "x.parquet", "comparison")
    with pytest.raises(UnknownName, match="did you mean comparison"):
        table.read(tmp_path, "comparisons")


@pytest.mark.parametrize("csv", [False, True])
def test_one_table_is_there_in_one_format(tmp_path: Path, csv: bool) -> None:
    table.write(ROWS, tmp_path, "comparison", csv)
    path = table.write(ROWS[:1], tmp_path, "comparison", not csv)
    assert names(tmp_path) == [path.name, "manifest.json"]
    assert len(table.read(tmp_path, "comparison")) == 1
    with table.writing(tmp_path) as results:
        assert results.put({}, without=["comparison"]) == []
    assert names(tmp_path) == ["manifest.json"] and not table.exists(tmp_path, "comparison")


def test_places_where_no_table_can_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match="file is a file, not a folder"):
            table.write(ROWS, place, "comparison")
    assert (tmp_path / "file").read_text() == "kept"
    table.check_out(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda *_: False)  # whoever runs the tests may write anywhere
    with pytest.raises(BadInput, match="read-only for you; choose another folder"):
        table.check_out(tmp_path / "new")


def test_importing_tables_is_light() -> None:
    code = "import sys, tokenlens.records.tables; assert not {'zarr', 'xarray', 'pandas', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
