"""Class-token features: invariance and limits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenlens.analysis.metrics import features, gram, heatmap
from tokenlens.analysis.metrics.base import METRICS
from tokenlens.errors import BadInput

DISTANCES = (features.procrustes, features.cka, features.pwcca)
ALL = (*DISTANCES, features.mean_cca, features.mean_squared_cca)


def random_rotation(size: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def slow_cca(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of the principal angles between the spaces that the centred features span."""
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    return np.linalg.svd(np.linalg.qr(a.T)[0].T @ np.linalg.qr(b.T)[0], compute_uv=False)


@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 6), st.integers(12, 30))
def test_canonical_correlations_are_their_slow_twin(seed: int, width: int, other: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(width, images)), rng.normal(size=(other, images))
    assert features.canonical_correlations(a, b) == pytest.approx(slow_cca(a, b), abs=1e-9)


@pytest.mark.parametrize("measure", DISTANCES)
@pytest.mark.parametrize("seed", range(3))
def test_a_rotation_a_shift_and_a_scale_are_not_seen(measure: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 8, 60))
    turned = 3 * random_rotation(8, rng) @ a + rng.normal(size=(8, 1))
    assert measure(a, turned) == pytest.approx(0, abs=1e-9)
    if measure is not features.pwcca:
        assert measure(turned, b) == pytest.approx(measure(a, b), abs=1e-9)
    assert measure(a, b) > 0.1


def test_a_linear_map_is_seen_by_procrustes_and_not_by_cca() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 80))
    stretched = rng.normal(size=(6, 6)) @ a
    assert features.mean_cca(a, stretched) == pytest.approx(1)
    assert features.pwcca(a, stretched) == pytest.approx(0, abs=1e-9)
    assert features.procrustes(a, stretched) > 0.05
    assert features.mean_cca(stretched, b) == pytest.approx(features.mean_cca(a, b))


def centred(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x - x.mean(axis=-1, keepdims=True)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_sums_are_those_of_all_images_however_many_are_multiplied_at_a_time(kind: Any) -> None:
    images = 2 * gram.AT_ONCE + 7
    a, b = np.random.default_rng(0).normal(2, size=(2, 3, 4, images)).astype(kind)
    sums, x, y = gram.gram(a, b[:1]), centred(a), centred(b[:1])
    off = 1e-6 if kind == np.float32 else 1e-13
    assert sums.aa == pytest.approx(x @ x.mT, abs=off * images) and sums.ab == pytest.approx(x @ y.mT, abs=off * images)
    assert sums.norms is not None
    assert sums.norms[2] == pytest.approx(((x**2).sum(axis=-2) * (y**2).sum(axis=-2)).sum(axis=-1))


@pytest.mark.parametrize("least", [1.0, 1e-3, 0.0])
def test_the_rounding_of_single_precision_is_no_direction(least: float) -> None:
    """Where it would be seen, float32 features are multiplied in float64: sums are then exact but for its rounding."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 6, 4000)).astype(np.float32)
    a[5] = a[4] + np.float32(least) * a[5]
    sums, x = gram.gram(a, b), centred(a)
    exact = np.allclose(sums.aa, x @ x.T, rtol=1e-12, atol=1e-9)
    assert exact == (least < 1)
    assert sums.mean_cca() == pytest.approx(gram.gram(a.astype(np.float64), b).mean_cca(), abs=1e-7)
    assert int(sums.ranks[0]) == (5 if least == 0 else 6)


def test_a_mean_that_is_large_beside_the_spread_is_taken_off_exactly() -> None:
    a, b = (np.random.default_rng(2).normal(size=(2, 4, 2000)) + 1e5).astype(np.float32)
    x, y = centred(a), centred(b)
    assert gram.gram(a, b).ab == pytest.approx(x @ y.T, rel=1e-9)


def test_images_may_be_permuted_together_but_not_alone() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(5, 40))
    b = a + 0.1 * rng.normal(size=(5, 40))
    order = rng.permutation(40)
    for measure in ALL:
        assert measure(a[:, order], b[:, order]) == pytest.approx(measure(a, b), abs=1e-12)
        assert abs(measure(a[:, order], b) - measure(a, b)) > 0.1


def test_pwcca_has_a_direction() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 50)), rng.normal(size=(7, 50))
    assert features.pwcca(a, b) != pytest.approx(features.pwcca(b, a), abs=1e-3)
    assert features.pwcca(b[:4], a) != pytest.approx(features.pwcca(a, b[:4]), abs=1e-3)
    assert features.gram(a, b[:4]).pwcca(reverse=True) == pytest.approx(features.pwcca(b[:4], a), abs=1e-12)


def test_leading_axes_are_one_by_one() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 3, 5, 30))
    for measure in ALL:
        assert measure(a, b) == pytest.approx([float(measure(x, y)) for x, y in zip(a, b, strict=True)], abs=1e-12)


def test_features_that_never_vary_have_a_stated_value() -> None:
    flat, b = np.ones((4, 20)), np.random.default_rng(0).normal(size=(4, 20))
    assert features.cka(flat, b) == 1
    assert features.procrustes(flat, b) == pytest.approx(1)
    assert features.pwcca(flat, b) == 1
    assert features.mean_cca(flat, b) == 0


def test_single_precision_is_close() -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 8, 100))
    for measure in ALL:
        assert measure(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(float(measure(a, b)), abs=1e-5)


def test_other_images_are_refused() -> None:
    with pytest.raises(BadInput, match="not of the same images"):
        features.procrustes(np.ones((4, 20)), np.ones((4, 21)))


CANONICAL = (features.pwcca, features.mean_cca, features.mean_squared_cca)


def test_canonical_correlations_of_too_few_images_are_no_number() -> None:
    """17 directions in all: of 17 images at least one correlation is 1 for any features, of 18 none has to be."""
    a, b = np.random.default_rng(5).normal(size=(8, 18)), np.random.default_rng(6).normal(size=(9, 18))
    assert features.canonical_correlations(a[:, :17], b[:, :17])[0] == pytest.approx(1)
    assert features.canonical_correlations(a, b)[0] < 1 - 1e-6
    few = features.gram(a[:, :17], b[:, :17])
    for measure in CANONICAL:
        assert np.isnan(measure(a[:, :17], b[:, :17])) and np.isnan(METRICS[measure.__name__].expected(few))
        assert 0 < measure(a, b) < 1


def test_one_image_determines_nothing() -> None:
    a, b = np.random.default_rng(7).normal(size=(2, 5, 1))
    sums = features.gram(a, b)
    for measure in ALL:
        assert np.isnan(measure(a, b)) and np.isnan(METRICS[measure.__name__].expected(sums))


def test_directions_without_variance_count_as_nothing() -> None:
    """As published: of 12 channels 3 vary, so that even beside itself 9 of 12 correlations are 0."""
    low = np.concatenate([np.random.default_rng(8).normal(size=(3, 50))] * 4)
    for measure in (features.mean_cca, features.mean_squared_cca):
        assert measure(low, low) == pytest.approx(3 / 12)
    sums = features.gram(low, np.random.default_rng(9).normal(size=(12, 50)))
    assert sums.ranks.tolist() == [3, 12] and sums.expected_mean_squared_cca() == pytest.approx(3 * 12 / 49 / 12)


@pytest.mark.parametrize("images", [40, 16, 6])
def test_the_sums_give_what_shuffled_images_give_however_few_there_are(images: int) -> None:
    """What images do not determine is known of themselves: its mean over shuffles is the closed form."""
    random = np.random.default_rng(images)
    a, b = random.normal(size=(12, images)), random.normal(size=(8, images))
    shuffled = [features.gram(a, b[:, random.permutation(images)]).mean_squared_cca() for _ in range(200)]
    assert features.gram(a, b).expected_mean_squared_cca() == pytest.approx(np.mean(shuffled), abs=0.02)


def test_functions_that_went_say_what_takes_their_place() -> None:
    a, b = np.random.default_rng(10).normal(size=(2, 4, 30))
    with pytest.warns(DeprecationWarning, match="Gram.measures goes with the next release"):
        found = features.gram(a, b).measures()
    assert set(found) == {"procrustes", "cka", "pwcca", "pwcca_reverse", "mean_cca", "mean_squared_cca"}
    assert found["pwcca_reverse"] == features.pwcca_reverse(a, b)
    with pytest.warns(DeprecationWarning, match="heatmap.expected goes with the next release"):
        assert heatmap.expected("pcc", a**2, b**2).shape == () and heatmap.expected("js", a[0] ** 2, b[0] ** 2) > 0


def test_what_chance_gives_does_not_hang_on_signs_of_eigenvectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPACK chooses them, by the processor."""
    rng = np.random.default_rng(0)
    sums = gram.gram(rng.standard_normal((6, 50)), rng.standard_normal((8, 50)))
    expected = sums.turned(0).pwcca()
    eigh = np.linalg.eigh

    def flipped(symmetric: Any) -> Any:
        values, vectors = eigh(symmetric)
        return values, vectors * rng.choice([-1, 1], vectors.shape[-1])

    monkeypatch.setattr(np.linalg, "eigh", flipped)
    assert np.allclose(sums.turned(0).pwcca(), expected, rtol=1e-9)
