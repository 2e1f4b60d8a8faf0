"""From a data set in its own layout to tables: extract, go on, compare."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tokenlens.cli
from tokenlens.records import tables as table


@pytest.mark.parametrize(("kind", "measure"), [("coco", "mAP"), ("nuswide", "mAP"), ("nabirds", "top1")])
def test_extract_and_compare(kind: str, measure: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    root: Path = request.getfixturevalue(kind)

    def typed(*words: Any) -> str:
        done = CliRunner().invoke(tokenlens.cli.tokenlens, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    extract = ("extract", "--data", f"{kind}:{root}", "--weights", "random", "--out", tmp_path / "runs")
    first = typed(*extract, "--method", "topk,l2")
    again = typed(*extract, "--method", "topk,l2")
    assert first.count(measure) == again.count(measure) == 2 and again.count("already there") == 2
    typed("compare", tmp_path / "runs", "--out", tmp_path / "results", "--metric", "iou", "--resamples", 20)
    runs = table.read(tmp_path / "results", "runs")
    assert list(runs["measure"]) == [measure] * 2 and runs["accuracy"].between(0, 100).all()
    pairs = table.read(tmp_path / "results", "comparison")
    assert set(pairs["metric"]) == {"iou"} and (pairs["n"] == runs["images"].iloc[0]).all()
