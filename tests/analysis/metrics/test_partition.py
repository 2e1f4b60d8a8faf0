"""Agreement of partitions: slow twins, invariance and limits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenlens.analysis.metrics import partition
from tokenlens.errors import BadInput


def slow_table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Contingency table of the patches that neither drops."""
    both = (a >= 0) & (b >= 0)
    a, b = a[both].astype(int), b[both].astype(int)
    return np.array([[np.sum((a == x) & (b == y)) for y in np.unique(b)] for x in np.unique(a)]).reshape(
        len(np.unique(a)), len(np.unique(b))
    )


def slow_information(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    p = slow_table(a, b) / max(slow_table(a, b).sum(), 1)
    rows, columns = p.sum(1), p.sum(0)
    mutual = sum(p[i, j] * np.log(p[i, j] / rows[i] / columns[j]) for i, j in zip(*np.nonzero(p), strict=True))
    return float(mutual), float(-(rows * np.log(rows)).sum()), float(-(columns * np.log(columns)).sum())


def slow_expected(a: np.ndarray, b: np.ndarray) -> float:
    """The definition of Vinh et al., in exact whole numbers."""
    table = slow_table(a, b)
    count = int(table.sum())
    total = 0.0
    for x in table.sum(1).tolist():
        for y in table.sum(0).tolist():
            for n in range(max(1, x + y - count), min(x, y) + 1):
                p = math.comb(x, n) * math.comb(count - x, y - n) / math.comb(count, y)
                total += n / count * math.log(count * n / (x * y)) * p
    return total


@st.composite
def two_partitions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Few groups, one group, all singletons, dropped patches, no patch left, labels at both ends of int16."""
    n, patches = draw(st.integers(1, 3)), draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    found = []
    for _ in range(2):
        kind = draw(st.sampled_from(["few", "one", "singletons", "dropped", "all dropped", "extremes"]))
        labels = rng.integers(0, 4, (n, patches))
        if kind == "one":
            labels[:] = 0
        elif kind == "singletons":
            labels = np.tile(rng.permutation(patches), (n, 1))
        elif kind == "dropped":
            labels[rng.random((n, patches)) < 0.4] = -1
        elif kind == "all dropped":
            labels[:] = -1
        elif kind == "extremes":
            labels = np.array([-32768, -1, 0, 32767])[labels]
        found.append(labels.reshape(n, patches).astype(np.int16))
    return found[0], found[1]


@given(two_partitions())
def test_kernels_are_their_slow_twins(partitions: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = partitions
    slow = np.array([slow_information(x, y) for x, y in zip(a, b, strict=True)]).T
    assert np.array(partition.information(a, b)) == pytest.approx(slow, abs=1e-12)
    expected = [slow_expected(x, y) for x, y in zip(a, b, strict=True)]
    assert partition.expected_mutual_information(a, b) == pytest.approx(expected, abs=1e-10)


@given(two_partitions())
def test_all_measures_are_scikit_learns_on_what_both_hold(partitions: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn import metrics

    for a, b in zip(*partitions, strict=True):
        both = (a >= 0) & (b >= 0)
        x, y = a[both].astype(int), b[both].astype(int)
        assert partition.homogeneity_completeness_vmeasure(a, b) == pytest.approx(
            metrics.homogeneity_completeness_v_measure(x, y), abs=1e-12
        )
        assert partition.adjusted_rand(a, b) == pytest.approx(metrics.adjusted_rand_score(x, y), abs=1e-12)
        assert partition.adjusted_mutual_information(a, b) == pytest.approx(
            metrics.adjusted_mutual_info_score(x, y), abs=1e-9
        )


@given(two_partitions())
def test_neither_names_nor_order_matter(partitions: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = partitions
    order = np.random.default_rng(1).permutation(a.shape[1])
    renamed = np.where(a >= 0, 30000 - (a % 16000), a).astype(np.int16) if a.size and a.max() < 16000 else a
    for measure in (partition.adjusted_mutual_information, partition.adjusted_rand):
        assert measure(renamed[:, order], b[:, order]) == pytest.approx(measure(a, b), abs=1e-10)
        assert measure(a, b) == pytest.approx(measure(b, a), abs=1e-10)
    ahead = partition.homogeneity_completeness_vmeasure(a, b)
    back = partition.homogeneity_completeness_vmeasure(b, a)
    assert ahead.homogeneity == pytest.approx(back.completeness, abs=1e-12)
    assert ahead.vmeasure == pytest.approx(back.vmeasure, abs=1e-12)


@given(two_partitions())
def test_a_partition_agrees_with_itself(partitions: tuple[np.ndarray, np.ndarray]) -> None:
    a, _ = partitions
    for value in partition.homogeneity_completeness_vmeasure(a, a):
        assert value == pytest.approx(np.ones(len(a)), abs=1e-12)
        assert value.max() <= 1
    assert partition.adjusted_rand(a, a).tolist() == [1.0] * len(a)
    assert partition.adjusted_mutual_information(a, a) == pytest.approx(np.ones(len(a)), abs=1e-9)


@pytest.mark.parametrize("groups", [2, 12, 98])
def test_random_partitions_meet_their_expectation(groups: int) -> None:
    rng, n = np.random.default_rng(3), 1500
    a, b = rng.integers(0, groups, (2, n, 196))
    found, chance = partition.homogeneity_completeness_vmeasure(a, b), partition.expected_agreement(a, b)
    for value, level in zip(found, chance, strict=True):
        assert abs((value - level).mean()) < 3 * (value - level).std() / np.sqrt(n)
    for measure in (partition.adjusted_mutual_information, partition.adjusted_rand):
        value = measure(a, b)
        assert abs(value.mean()) < 3 * value.std() / np.sqrt(n)


def test_a_finer_partition_is_homogeneous_and_not_complete() -> None:
    coarse = np.arange(24) // 6
    fine = np.arange(24) // 2
    homogeneity, completeness, _ = partition.homogeneity_completeness_vmeasure(coarse, fine)
    assert homogeneity == pytest.approx(1)
    assert completeness < 0.8


def test_leading_axes_broadcast_and_any_integers_will_do() -> None:
    a, b = np.random.default_rng(0).integers(0, 5, (2, 4, 3, 20))
    whole = partition.adjusted_rand(a, b)
    assert whole.shape == (4, 3)
    assert np.array_equal(partition.adjusted_rand(a * 1_000_003, b.astype(np.int8)), whole)
    assert partition.adjusted_rand(a, b[0]).shape == (4, 3)


def test_canonical_labels_count_from_the_first() -> None:
    assert partition.canonical([[7, 7, -3, 2, 7, 9]]).tolist() == [[0, 0, -1, 1, 0, 2]]


def test_different_grids_are_refused() -> None:
    with pytest.raises(BadInput, match="10 and 12 patches"):
        partition.adjusted_rand(np.zeros(10, int), np.zeros(12, int))


def test_shares_are_no_groups() -> None:
    with pytest.raises(BadInput, match="whole numbers"):
        partition.vmeasure(np.array([0.3, 0.5, 0.2]), np.array([0, 1, 1]))
    assert partition.vmeasure(np.array([0.0, 1.0, 1.0]), np.array([0, 1, 1])) == 1
