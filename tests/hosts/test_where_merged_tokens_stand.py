"""The table of docs/models.md: it is what was measured, and is measured again."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

import tokenlens

HERE = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("positions", HERE / "benchmarks" / "positions.py")
assert SPEC is not None and SPEC.loader is not None
positions: ModuleType = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(positions)
ROWS = json.loads(positions.NUMBERS.read_text())


def test_the_page_shows_what_was_measured() -> None:
    assert positions.table(ROWS) in (HERE.parent / "docs" / "models.md").read_text()
    assert {len(values) for row in ROWS.values() for values in row.values()} == {len(positions.SEEDS)}


@pytest.mark.long
@torch.no_grad()
def test_it_is_measured_again() -> None:
    """With the weights of the first seed; another machine may round a picture or two across."""
    vit = positions.opened(positions.WEIGHTS)
    whole, right = positions.predicted(vit)
    off = 100 * 3 / positions.PICTURES
    assert positions.percent(whole == right) == pytest.approx(ROWS["none"]["top1"][0], abs=off)
    for rule in positions.RULES:
        model = tokenlens.reduce(vit, "tome", 0.5, positions.BLOCKS, position=rule)
        said, _ = positions.predicted(model)
        there = ROWS[f"tome 0.5 {rule}"]
        assert positions.percent(said == right) == pytest.approx(there["top1"][0], abs=off)
        assert positions.percent(said == whole) == pytest.approx(there["agreement"][0], abs=off)
