"""Values that are missing or mean something else: NaN comes out, or a sentence; never a number, never a crash."""

import math
from pathlib import Path

import numpy as np
import pytest

from tokenlens.analysis import accuracy_proxy
from tokenlens.analysis.metrics import overlap, radial, ranks
from tokenlens.errors import BadInput

ROW = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("missing", [0, 2])
def test_a_correlation_with_a_missing_value_is_missing(missing: int) -> None:
    broken = [math.nan if place == missing else value for place, value in enumerate(ROW)]
    assert np.isnan(ranks.kendall(broken, ROW)) and np.isnan(radial.kendall(broken, ROW))
    assert math.isnan(ranks.permutation_pvalue(broken, ROW, ranks.kendall))
    assert np.allclose(ranks.kendall([broken, ROW], ROW), [math.nan, 1.0], equal_nan=True)


@pytest.mark.parametrize("row", [[3, 5, 7], [0, 255, 0], [0.1, 0.9, 0.2], [math.nan, 1, 0]])
def test_what_is_no_mask_has_no_overlap(row: list[float]) -> None:
    for a, b in ((row, [0, 1, 0]), ([0, 1, 0], row)):
        with pytest.raises(BadInput, match="a pattern is a mask of 0 and 1"):
            overlap.iou(np.array(a), np.array(b))
    assert overlap.iou(np.array([0, 1, 1]), np.array([0.0, 1.0, 0.0])) == 0.5


@pytest.mark.parametrize("value", ["inf", "1e9", "-5", "100.01"])
def test_an_accuracy_is_percent(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.csv").write_text(f"run,accuracy\nx,100\ny,{value}\n")
    with pytest.raises(BadInput, match=r"gives run 'y' the accuracy .*; give percent, from 0 to 100"):
        accuracy_proxy.read(tmp_path / "a.csv")
