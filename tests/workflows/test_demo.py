"""The demo's table: each number comes from the right row of the comparison."""

from pathlib import Path

import pandas as pd
import pytest

from tokenlens.extraction.feed import Extracted
from tokenlens.figures.catalogue import entries
from tokenlens.records.run import Run
from tokenlens.workflows import demo as workflow
from tokenlens.workflows.demo import rows


def done(method: str, rate: float, top1: float, left: float) -> tuple[Run, Extracted]:
    run = Run("embedded:shapes", "test", 8, "", "nano", "", method, rate, (3, 6, 9), (98, 49, 24))
    return run, Extracted(Path(), {"top1": top1}, [98, 49, left], 0.1, 0.5, None)


def test_rows_read_the_last_stage_of_the_same_rate_in_either_order() -> None:
    runs = {run.name: (run, result) for run, result in (
        done("none", 1.0, 99, 196), done("topk", 0.5, 98, 24), done("topk", 0.9, 97, 142), done("l2", 0.5, 96, 24),
        done("random", 0.5, 95, 24))}  # fmt: skip
    names = {(run.method, run.keep_rate): name for name, (run, _) in runs.items()}
    topk, l2, random = names["topk", 0.5], names["l2", 0.5], names["random", 0.5]
    comparison = pd.DataFrame(
        [(topk, l2, 3, "iou", 0.9), (l2, topk, 9, "iou", 0.25), (topk, random, 9, "iou", 0.125),
         (topk, "object", 9, "foreground_recall", 0.75), (names["topk", 0.9], l2, 9, "iou", 0.99),
         (topk, l2, 11, "procrustes", 0.3)],
        columns=["run_a", "run_b", "stage", "metric", "value"],
    )  # fmt: skip
    lines = [line.split() for line in rows(runs, comparison)]
    assert lines[0][:3] == ["method", "rate", "top-1"]
    assert lines[1] == ["none", "1", "99.0", "196.0", "-", "-", "-"]
    assert lines[2] == ["topk", "0.5", "98.0", "24.0", "0.75", "0.25", "0.12"]
    assert lines[3] == ["topk", "0.9", "97.0", "142.0", "-", "-", "-"]
    assert lines[4][-2:] == ["-", "-"] and lines[4][0] == "l2"


@pytest.mark.long
def test_it_goes_from_images_to_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "RATES", (0.5,))
    monkeypatch.setattr(workflow, "METRICS", ("iou",))
    monkeypatch.setattr(workflow, "RESAMPLES", 10)
    monkeypatch.setattr(workflow, "entries", lambda: entries(["accuracy", "object"]))
    lines = list(workflow.demo(tmp_path / "demo", images=8, device="cpu", names=["mctf", "l2", "random"]))
    table = [line.split() for line in lines if line.startswith(("none ", "mctf ", "l2 ", "random "))]
    assert [row[0] for row in table] == ["none", "mctf", "l2", "random"] and all(len(row) == 7 for row in table)
    assert any("not enough runs" in line for line in lines)  # the findings are told
    made = {path.relative_to(tmp_path / "demo").as_posix() for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    assert {"report.html", "results/comparison.parquet", "results/findings.parquet"} < made
    assert {f"figures/{name}.{kind}" for name in ("accuracy", "object") for kind in ("png", "pdf")} < made
