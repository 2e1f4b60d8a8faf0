"""Tables: their columns, written whole, read back the same."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tokenlens import table
from tokenlens.errors import BadInput, UnknownName

ROWS = pd.DataFrame({
    "run_a": ["a", "1"], "run_b": ["b", "NA"], "axis": ["method", "seed"], "stage": [3, table.ALL_STAGES],
    "metric": ["iou", "scc"], "value": [0.1, np.nan], "std": [1e-17, 2.0], "n": [5, 50000], "chance": [1 / 3, np.nan],
    "low": [-1.0, 0.0], "high": [1.0, np.inf],
})  # fmt: skip


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


def test_columns_come_in_their_order_and_others_are_left_out() -> None:
    mixed = ROWS[ROWS.columns[::-1]].assign(note="x")
    assert list(table.conform(mixed, "comparison").columns) == list(table.COLUMNS["comparison"])
    with pytest.raises(BadInput, match="lacks chance, high"):
        table.conform(ROWS.drop(columns=["chance", "high"]), "comparison")


def test_a_failed_write_leaves_the_old_table_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table.write(ROWS, tmp_path, "comparison")
    before = (tmp_path / "comparison.parquet").read_bytes()

    def fail(self: pd.DataFrame, path: str, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail)
    with pytest.raises(OSError, match="no space"):
        table.write(ROWS, tmp_path, "comparison")
    assert [p.name for p in tmp_path.iterdir()] == ["comparison.parquet"]
    assert (tmp_path / "comparison.parquet").read_bytes() == before


def test_a_table_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no comparison table"):
        table.read(tmp_path, "comparison")
    with pytest.raises(BadInput, match="there is no table at"):
        table.read(tmp_path / "x.parquet", "comparison")
    with pytest.raises(UnknownName, match="did you mean comparison"):
        table.read(tmp_path, "comparisons")
