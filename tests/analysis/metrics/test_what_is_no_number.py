"""Values that are missing or mean something else: NaN comes out, or a sentence; never a number, never a crash."""

import math
from pathlib import Path

import numpy as np
import pytest

from tokenlens.analysis import accuracy_proxy
from tokenlens.analysis.metrics import heatmap, overlap, partition, radial, ranks
from tokenlens.errors import BadInput
from tokenlens.records import accuracy

ROW = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("missing", [0, 2])
def test_a_correlation_with_a_missing_value_is_missing(missing: int) -> None:
    broken = [math.nan if place == missing else value for place, value in enumerate(ROW)]
    assert np.isnan(ranks.kendall(broken, ROW)) and np.isnan(radial.kendall(broken, ROW))
    assert math.isnan(ranks.permutation_pvalue(broken, ROW, ranks.kendall))
    for correlate in (ranks.kendall, ranks.spearman, heatmap.pcc, heatmap.scc):
        assert np.allclose(correlate(np.array([broken, ROW]), ROW), [math.nan, 1.0], equal_nan=True)


def test_a_class_with_a_missing_score_has_no_precision() -> None:
    score = np.array([[0.9, math.nan], [0.2, 0.1]])
    found = accuracy.average_precision(score, np.array([[True, True], [False, False]]))
    assert found[0] == pytest.approx(1) and math.isnan(found[1])
    assert math.isnan(accuracy.mean_average_precision(score, score > 0))


def test_more_groups_than_sixteen_bits_can_number_are_all_told_apart() -> None:
    single, pairs = np.arange(40_000), np.arange(40_000) // 2
    assert partition.canonical(single).tolist() == single.tolist()
    found = partition.homogeneity_completeness_vmeasure(single, pairs)
    assert found.homogeneity == pytest.approx(math.log(20_000) / math.log(40_000)) and found.completeness == 1


def test_large_grids_are_counted_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(0).integers(-1, 9, (2, 5, 60))
    measures = (partition.adjusted_mutual_information, partition.adjusted_rand, partition.vmeasure)
    small = [measure(a, b) for measure in measures]
    monkeypatch.setattr(partition, "MOST_CELLS", 1)
    assert np.allclose([measure(a, b) for measure in measures], small)


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
