"""Overlap: slow twins, invariance and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenlens.analysis.metrics import foreground, overlap
from tokenlens.errors import BadInput


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    one, other = set(np.flatnonzero(a)), set(np.flatnonzero(b))
    return len(one & other) / len(one | other) if one | other else 1.0


def slow_ioa(a: np.ndarray, b: np.ndarray) -> float:
    one, other = set(np.flatnonzero(a)), set(np.flatnonzero(b))
    return len(one & other) / len(other) if other else 1.0


@st.composite
def two_patterns(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, patches = draw(st.integers(0, 4)), draw(st.integers(0, 140))
    share, seed = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])), draw(st.integers(0, 99))
    a, b = np.random.default_rng(seed).random((2, n, patches)) < share
    return a, b


@given(two_patterns())
def test_kernels_are_their_slow_twins(patterns: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = patterns
    assert overlap.iou(a, b).tolist() == [slow_iou(x, y) for x, y in zip(a, b, strict=True)]
    assert overlap.ioa(a, b).tolist() == [slow_ioa(x, y) for x, y in zip(a, b, strict=True)]
    assert overlap.size(a).tolist() == a.sum(-1).tolist()
    assert overlap.iou(overlap.pack(a), overlap.pack(b)).tolist() == overlap.iou(a, b).tolist()


@given(two_patterns())
def test_bits_are_packed_little_end_first(patterns: tuple[np.ndarray, np.ndarray]) -> None:
    a, _ = patterns
    octets = overlap.pack(a).view(np.uint8)
    assert np.array_equal(np.unpackbits(octets, axis=-1, bitorder="little")[:, : a.shape[1]], a)


@given(two_patterns(), st.randoms(use_true_random=False))
def test_patches_and_images_may_be_permuted(patterns: tuple[np.ndarray, np.ndarray], random: object) -> None:
    a, b = patterns
    rng = np.random.default_rng(len(a))
    patch, image = rng.permutation(a.shape[1]), rng.permutation(len(a))
    assert overlap.iou(a[:, patch], b[:, patch]).tolist() == overlap.iou(a, b).tolist()
    assert overlap.iou(a[image], b[image]).tolist() == overlap.iou(a, b)[image].tolist()


def test_leading_axes_broadcast() -> None:
    a, b = np.random.default_rng(0).random((2, 5, 3, 20)) < 0.5
    assert overlap.iou(a, b).shape == (5, 3)
    assert np.array_equal(overlap.iou(a, b[0]), overlap.iou(a, np.broadcast_to(b[0], b.shape)))


def test_limits() -> None:
    full, empty = np.ones(70, bool), np.zeros(70, bool)
    half = np.arange(70) < 35
    assert overlap.iou(half, half) == overlap.iou(empty, empty) == overlap.iou(full, full) == 1
    assert overlap.iou(half, ~half) == overlap.iou(half, empty) == 0
    assert overlap.ioa(full, half) == 1
    assert overlap.ioa(half, full) == 0.5
    assert overlap.ioa(half, empty) == 1
    assert overlap.corrected_iou(full, full) == overlap.corrected_iou(half, half) == 1
    assert overlap.corrected_iou(half, ~half) < 0


@pytest.mark.parametrize(("size_a", "size_b"), [(98, 98), (49, 24), (3, 150)])
def test_random_patterns_meet_their_expectation(size_a: int, size_b: int) -> None:
    rng, n = np.random.default_rng(7), 4000
    a, b = (rng.random((n, 196)).argsort(1) < k for k in (size_a, size_b))
    value = overlap.iou(a, b)
    assert abs(value.mean() - overlap.expected_iou(size_a, size_b, 196)) < 3 * value.std() / np.sqrt(n)
    above = overlap.corrected_iou(a, b)
    assert abs(above.mean()) < 3 * above.std() / np.sqrt(n)


def test_expected_iou_is_the_mean_over_all_patterns() -> None:
    from itertools import combinations

    patches = 6
    for x in range(patches + 1):
        for y in range(patches + 1):
            one = set(range(x))
            all_values = [
                len(one & set(c)) / len(one | set(c)) if one | set(c) else 1.0 for c in combinations(range(patches), y)
            ]
            assert overlap.expected_iou(x, y, patches) == pytest.approx(np.mean(all_values), abs=1e-12)


def test_expected_iou_of_a_large_grid_is_not_remembered_but_the_same() -> None:
    assert overlap.expected_iou(1500, 1500, 3000) == pytest.approx(1 / 3, abs=1e-3)


def test_foreground() -> None:
    kept, objects = np.arange(10) < 4, (np.arange(10) >= 2) & (np.arange(10) < 7)
    assert foreground.foreground_recall(kept, objects) == 2 / 5
    assert foreground.foreground_precision(kept, objects) == 2 / 4
    assert np.isnan(foreground.foreground_recall(kept, np.zeros(10, bool)))
    assert np.isnan(foreground.foreground_precision(np.zeros(10, bool), objects))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BadInput, match="different grids"):
        overlap.iou(np.ones(10, bool), np.ones(11, bool))
    with pytest.raises(BadInput, match="between 0 and the 10 patches"):
        overlap.expected_iou(11, 2, 10)
    with pytest.raises(BadInput, match="pass patches="):
        overlap.corrected_iou(overlap.pack(np.ones(10, bool)), overlap.pack(np.ones(10, bool)))
