"""Accuracy and mean average precision: against the definition and three libraries, and where they part."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from timm.utils import accuracy

from tokenlens.extraction.batch import ranks as ranks_of
from tokenlens.records import accuracy as metrics

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def many() -> Arrays:
    """Distinct scores of 200 images and 7 classes, and labels that go with them; every class has positives."""
    rng = np.random.default_rng(0)
    score = rng.permuted(np.linspace(-5, 5, 1400)).reshape(200, 7)
    return score, rng.random((200, 7)) < 1 / (1 + np.exp(1 - score))


def by_definition(score: np.ndarray, label: np.ndarray) -> float:
    """One class, one step at a time; the later image goes first in ties."""
    right, found = 0, 0.0
    for place, index in enumerate(sorted(range(len(score)), key=lambda i: (-score[i], -i)), 1):
        if label[index]:
            right += 1
            found += right / place
    return found / (right + 1e-8)


def test_average_precision_is_its_definition(many: Arrays) -> None:
    score, label = many
    coarse = np.round(score)  # with ties
    for values in (score, coarse, coarse.astype(np.float32)):
        expected = [by_definition(values[:, c], label[:, c]) for c in range(7)]
        assert np.allclose(metrics.average_precision(values, label), expected, rtol=0, atol=1e-14)
        assert metrics.mean_average_precision(values, label) == pytest.approx(100 * np.mean(expected), abs=1e-12)


def test_without_ties_all_agree(many: Arrays) -> None:
    ours = metrics.mean_average_precision(*many)
    assert 20 < ours < 90
    assert ours == pytest.approx(100 * average_precision_score(many[1], many[0]), abs=1e-6)
    assert ours == pytest.approx(metrics.torchmetrics_map(*many), abs=1e-4)


def test_only_order_counts(many: Arrays) -> None:
    score, label = many
    assert metrics.mean_average_precision(3 * score + 1, label) == metrics.mean_average_precision(score, label)
    order = np.random.default_rng(1).permutation(len(score))
    assert metrics.mean_average_precision(score[order], label[order]) == metrics.mean_average_precision(score, label)


def test_in_ties_the_later_image_goes_first_and_torchmetrics_takes_one_step() -> None:
    score, label = np.array([[2.0], [1.0], [1.0], [0.0]]), np.array([[0], [1], [0], [0]], bool)
    assert metrics.mean_average_precision(score, label) == pytest.approx(100 / 3)
    assert metrics.mean_average_precision(score[[0, 2, 1, 3]], label[[0, 2, 1, 3]]) == pytest.approx(100 / 2)
    one_step = 100 * average_precision_score(label, score)
    assert metrics.torchmetrics_map(score, label) == pytest.approx(one_step) == pytest.approx(100 / 3)
    assert metrics.torchmetrics_map(score[[0, 2, 1, 3]], label[[0, 2, 1, 3]]) == pytest.approx(one_step)


def test_large_logits_tie_as_float32_sigmoids_and_not_here() -> None:
    score, label = np.array([[40.0], [30.0], [20.0], [-1.0]]), np.array([[1], [0], [0], [0]], bool)
    assert metrics.mean_average_precision(score, label) == pytest.approx(100)
    assert metrics.torchmetrics_map(score, label) == pytest.approx(100 / 3, abs=1e-4)


def test_a_class_without_positives_counts_as_zero(many: Arrays) -> None:
    score, label = many
    label = label.copy()
    label[:, 3] = False
    found = metrics.average_precision(score, label)
    assert found[3] == 0 and (np.delete(found, 3) > 0.1).all()
    assert metrics.mean_average_precision(score, label) == pytest.approx(
        metrics.torchmetrics_map(score, label), abs=1e-4
    )


def test_limits() -> None:
    label = np.random.default_rng(0).random((50, 4)) < 0.3
    assert metrics.mean_average_precision(label.astype(float), label) == pytest.approx(100)
    last = [label.sum(0)[c] for c in range(4)]
    worst = [np.mean([k / (50 - n + k) for k in range(1, n + 1)]) for n in last]
    assert metrics.mean_average_precision(-label.astype(float), label) == pytest.approx(100 * np.mean(worst))


def test_top_1_and_top_5_are_timms() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(300, 12), torch.randint(12, (300,))
    ranks = ranks_of(logits, labels)
    assert ranks.dtype == torch.int32
    expected = [float(value) for value in accuracy(logits, labels, (1, 5))]
    found = metrics.summary({"label": labels.numpy(), "rank": ranks.numpy()})
    assert list(found.values()) == pytest.approx(expected, abs=1e-4) and list(found) == ["top1", "top5"]


def test_labels_that_are_no_class_of_the_model_have_no_rank() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).repeat(4, 1)
    assert ranks_of(logits, torch.tensor([-1, 0, 2, 3])).tolist() == [-1, 2, 0, -1]
    assert ranks_of(logits[:, :0], torch.tensor([0, -1, 0, 0])).tolist() == [-1] * 4
    found = metrics.summary({"label": np.array([-1, 0, 2, 3]), "rank": np.array([-1, 2, 0, -1])})
    assert found == {"top1": 50.0, "top5": 100.0}
    assert metrics.summary({"label": np.array([-1]), "rank": np.array([-1])}) == {}


def test_torchmetrics_stands_beside_where_it_is_another_number(many: Arrays, monkeypatch: Any) -> None:
    score, label = many
    assert list(metrics.summary({"score": score, "label": label})) == ["mAP"]
    tied = metrics.summary({"score": np.round(score), "label": label})
    assert list(tied) == ["mAP", "mAP_torchmetrics"] and abs(tied["mAP"] - tied["mAP_torchmetrics"]) > 0.01
    assert metrics.summary({"label": label}) == {}  # of other classes than the model's
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.classification", None)
    assert metrics.torchmetrics_map(score, label) is None
    assert list(metrics.summary({"score": np.round(score), "label": label})) == ["mAP"]
