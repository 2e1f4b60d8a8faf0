"""The embedded study that lies in the repository: its tables are those of its runs."""

import tarfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from tokenlens.analysis.cli import compare
from tokenlens.study.matrix import read as read_study
from tokenlens.table import read

STUDY = Path(__file__).parents[2] / "analysis" / "embedded"
TABLES = ("comparison", "runs", "heatmap", "proxy", "findings", "truth")


def test_every_run_that_the_study_asks_for_is_there() -> None:
    asked = {(c.data, c.model, c.method, c.keep_rate, c.seed)
             for c in read_study(STUDY.with_suffix(".yaml")).cells}  # fmt: skip
    runs = read(STUDY / "results", "runs")
    there = set(runs[["dataset", "model", "method", "keep_rate", "seed"]].itertuples(index=False, name=None))
    assert there == asked and len(runs) == len(asked) and runs["complete"].all()


def test_what_is_written_of_it_says_the_numbers_of_its_tables() -> None:
    lines = STUDY.with_name("EMBEDDED.md").read_text().splitlines()
    for row in [*read(STUDY / "results", "findings").itertuples(), *read(STUDY / "results", "truth").itertuples()]:
        (line,) = (line for line in lines if line.startswith(f"| {row.finding} |"))
        interval = "" if pd.isna(row.low) else f" [{row.low:.3f}, {row.high:.3f}]"
        assert f"| {row.value:.3f}{interval} | {row.n} | {row.verdict} |" in line


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_tables_come_from_the_runs(tmp_path: Path) -> None:
    with tarfile.open(STUDY / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    words = [str(tmp_path / "runs"), "--out", str(tmp_path / "results"), "--findings"]
    assert CliRunner().invoke(compare, words, catch_exceptions=False).exit_code == 0
    for name in TABLES:
        # to the bit on one machine; another processor sums in another order
        pd.testing.assert_frame_equal(read(tmp_path / "results", name), read(STUDY / "results", name), rtol=1e-6)
