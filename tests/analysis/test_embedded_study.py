"""The embedded study that lies in the repository: its tables are those of its runs."""

import re
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from tokenlens.commands.compare import compare
from tokenlens.records.tables import read
from tokenlens.workflows.study.matrix import read as read_study
from tokenlens.workflows.study.matrix import shipped

STUDY = Path(__file__).parents[2] / "analysis" / "embedded"
TABLES = ("comparison", "runs", "heatmap", "tokens", "proxy", "across", "accuracy", "findings", "truth")


def test_every_run_that_the_study_asks_for_is_there() -> None:
    asked = {(c.data, c.model, c.method, c.keep_rate, c.seed)
             for c in read_study(shipped("embedded")).cells}  # fmt: skip
    runs = read(STUDY / "results", "runs")
    there = set(runs[["dataset", "model", "method", "keep_rate", "seed"]].itertuples(index=False, name=None))
    assert there == asked and len(runs) == len(asked) and runs["complete"].all()


def test_what_is_written_of_it_says_the_numbers_of_its_tables() -> None:
    lines = STUDY.with_name("EMBEDDED.md").read_text().splitlines()
    for row in [*read(STUDY / "results", "findings").itertuples(), *read(STUDY / "results", "truth").itertuples()]:
        (line,) = (line for line in lines if line.startswith(f"| {row.finding} |"))
        interval = "" if pd.isna(row.low) else f" [{row.low:.3f}, {row.high:.3f}]"
        assert f"| {row.value:.3f}{interval} | {row.n} | {row.verdict} |" in line
        _, given, rest = row.sensitivity.partition("given the distance from the centre")
        assert not given or re.findall(r"\S+ \[.*?\]", rest)[-1] in "\n".join(lines)


def test_what_is_written_of_dynamicvit_holds_unit_by_unit_and_seed_by_seed() -> None:
    words = " ".join(STUDY.with_name("EMBEDDED.md").read_text().split())
    runs = read(STUDY / "results", "runs")
    runs = runs[runs["method"].isin(["none", "dynamicvit"]) & ~runs["dataset"].str.contains("bias")]
    unit = ["dataset", "capacity"]
    found = read(STUDY / "results", "comparison").query("metric == 'foreground_precision'")
    found = found.merge(runs[runs["method"] == "dynamicvit"], left_on="run_a", right_on="run")
    found = found.assign(above=(found["value"] - found["chance"]) / (1 - found["chance"]))
    above = found.groupby(unit)["above"].mean().to_dict()
    birds, shapes = "embedded:birds", "embedded:shapes"
    assert f"({above[birds, 'micro']:.2f} on birds, {above[shapes, 'micro']:.2f} on shapes)" in words
    assert f"({above[birds, 'nano']:.2f} and {above[shapes, 'nano']:.2f})" in words
    whole = runs[runs["method"] == "none"].set_index(unit)["accuracy"].rename("whole")
    cost = runs[runs["method"] == "dynamicvit"].join(whole, on=unit).eval("cost = whole - accuracy")
    first, worst = cost[cost["seed"] == 0]["cost"].max(), cost.sort_values("cost").iloc[-1]
    assert f"up to {first:.0f} points with seed 0, and {worst['cost']:.0f} with the worst seed" in words
    assert f"({worst['accuracy']:.1f} against {worst['whole']:.1f} on {worst['dataset'].split(':')[1]})" in words


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
