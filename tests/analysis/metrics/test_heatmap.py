"""Heat maps, ranks and distances from the centre: twins, invariance and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from tokenlens.analysis.metrics import heatmap, radial, ranks
from tokenlens.analysis.metrics.base import METRICS
from tokenlens.errors import BadInput

rng = np.random.default_rng(5)
A, B = rng.uniform(3, 12, (2, 4, 36))
SYMMETRIC = (heatmap.js, heatmap.js_published, heatmap.pcc, heatmap.scc, heatmap.sim, heatmap.emd)


def test_depth_is_the_block_that_dropped_the_patch() -> None:
    kept = np.array([[[True, True, False, True], [True, False, False, True]]])
    assert heatmap.depth(kept, [3, 6], 12).tolist() == [[12, 6, 3, 12]]
    assert heatmap.mean_depth(np.concatenate([kept, ~kept]), [3, 6], 12).tolist() == [7.5, 4.5, 7.5, 7.5]
    assert heatmap.depth(np.zeros((2, 0, 3), bool), [], 12).tolist() == [[12] * 3] * 2


@given(st.integers(0, 500), st.integers(1, 5), st.integers(1, 9))
def test_depth_is_its_slow_twin(seed: int, stages: int, patches: int) -> None:
    kept = np.random.default_rng(seed).random((3, stages, patches)) < 0.6
    blocks = list(range(2, 2 + stages))
    slow = [[next((b for s, b in enumerate(blocks) if not image[s, p]), 12) for p in range(patches)] for image in kept]
    assert heatmap.depth(kept, blocks, 12).tolist() == slow


def test_a_map_against_itself() -> None:
    for distance in (heatmap.kl, heatmap.js, heatmap.js_published, heatmap.emd):
        assert distance(A, A) == pytest.approx(np.zeros(4), abs=1e-12)
    for similarity in (heatmap.pcc, heatmap.scc, heatmap.sim):
        assert similarity(A, A) == pytest.approx(np.ones(4), abs=1e-12)


def test_what_is_symmetric_and_what_is_not() -> None:
    for measure in SYMMETRIC:
        assert measure(A, B) == pytest.approx(measure(B, A), abs=1e-9)
    assert np.all(np.abs(heatmap.kl(A, B) - heatmap.kl(B, A)) > 1e-6)


def test_moving_all_patches_alike_changes_only_the_transport() -> None:
    order = np.random.default_rng(0).permutation(36)
    for measure in (heatmap.kl, heatmap.js, heatmap.js_published, heatmap.pcc, heatmap.scc, heatmap.sim):
        assert measure(A[:, order], B[:, order]) == pytest.approx(measure(A, B), abs=1e-12)
    assert np.all(np.abs(heatmap.emd(A[:, order], B[:, order]) - heatmap.emd(A, B)) > 1e-6)


def test_other_implementations_agree() -> None:
    p, q = heatmap.distribution(A[0]), heatmap.distribution(B[0])
    assert heatmap.kl(A[0], B[0]) == pytest.approx(stats.entropy(q, p, base=2))
    assert heatmap.js(A[0], B[0]) == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    assert heatmap.js_published(A[0], B[0]) != pytest.approx(heatmap.js(A[0], B[0]), rel=1e-3)
    assert heatmap.entropy(A[0]) == pytest.approx(stats.entropy(p, base=2))
    line = [stats.wasserstein_distance(range(9), range(9), a, b) for a, b in zip(A[:, :9], B[:, :9], strict=True)]
    assert heatmap.emd(A[:, :9], B[:, :9], columns=9) == pytest.approx(line)


def test_one_patch_travels_its_distance() -> None:
    corner, across = np.eye(36)[[0, 35]]
    assert heatmap.emd(corner, across) == pytest.approx(5 * np.sqrt(2))


def test_potentials_are_the_slope_of_the_transport() -> None:
    p, q = heatmap.distribution(A[0]), heatmap.distribution(B[0])
    value, u, v = heatmap.transport(p, q)
    assert value == pytest.approx(u @ p + v @ q)
    step = 1e-5 * (heatmap.distribution(A[1]) - p)
    assert heatmap.emd(p + step, q) - value == pytest.approx(u @ step, rel=1e-3)
    assert heatmap.transport(p, p)[0] == 0


def test_maps_that_say_nothing_have_a_stated_value() -> None:
    flat, zero = np.full(36, 7.0), np.zeros(36)
    assert heatmap.pcc(flat, A[0]) == heatmap.scc(flat, A[0]) == heatmap.pcc(flat, flat) == 0
    assert heatmap.sim(flat, flat) == pytest.approx(1)
    assert heatmap.sim(flat, A[0]) == pytest.approx(heatmap.sim(zero, A[0]))
    assert heatmap.kl(zero, flat) == pytest.approx(0, abs=1e-12)
    assert heatmap.kl(np.eye(36)[0], flat) == np.inf


@pytest.mark.parametrize("name", ["kl", "js", "js_published", "sim", "pcc", "scc"])
def test_shuffled_maps_meet_their_expectation(name: str) -> None:
    a, b, n = A[0], B[0] ** 2, 3000
    shuffled = np.random.default_rng(2).permuted(np.tile(b, (n, 1)), axis=1)
    values = getattr(heatmap, name)(a, shuffled)
    assert abs(values.mean() - METRICS[name].expected(a, b)) < 3 * values.std() / np.sqrt(n)


def test_chance_of_the_transport_is_that_of_shuffled_maps() -> None:
    a, b = A[:, :18], B[:, :18] ** 2
    chance = heatmap.Transport(a, b, columns=3).chance()
    assert chance.shape == (4,)
    assert np.array_equal(chance, heatmap.Transport(a, b, columns=3).chance())  # seeded
    for one, other, level in zip(a, b, chance, strict=True):  # 16 shuffles alone are off by up to a tenth
        shuffled = np.random.default_rng(2).permuted(np.tile(other, (200, 1)), axis=1)
        assert level == pytest.approx(heatmap.emd(one, shuffled, columns=3).mean(), rel=0.05)
    assert heatmap.Transport(a[0], a[0], columns=3).chance() > 0
    assert heatmap.Transport(np.ones(18), np.ones(18), columns=3).chance() == pytest.approx(0, abs=1e-12)


def test_what_is_no_heat_map_is_refused() -> None:
    with pytest.raises(BadInput, match="negative number or NaN"):
        heatmap.kl(-A, B)
    with pytest.raises(BadInput, match="do not fill rows of 5"):
        heatmap.emd(A, B, columns=5)


@given(st.integers(0, 500), st.integers(2, 12), st.sampled_from([1, 2, 4, 50]))
def test_rank_correlations_are_their_slow_twins(seed: int, size: int, levels: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = draw.integers(-levels, levels + 1, (2, size))
    pairs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i in range(size) for j in range(i)]
    scale = np.sqrt(sum(x * x for x, _ in pairs) * sum(y * y for _, y in pairs))
    assert ranks.kendall(a, b) == pytest.approx(sum(x * y for x, y in pairs) / scale if scale else 0, abs=1e-12)
    varied = len(set(a)) > 1 and len(set(b)) > 1
    expected = np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1] if varied else 0
    assert ranks.spearman(a, b) == pytest.approx(expected, abs=1e-12)


def test_permutation_pvalue_is_exact_for_few_and_close_for_many() -> None:
    x = np.arange(5.0)
    assert ranks.permutation_pvalue(x, x) == pytest.approx(2 / 120)
    assert ranks.permutation_pvalue(x, np.zeros(5)) == 1
    y = np.random.default_rng(0).permutation(30)
    assert ranks.permutation_pvalue(np.arange(30), y) == pytest.approx(stats.spearmanr(range(30), y).pvalue, abs=0.02)
    assert ranks.permutation_pvalue(np.arange(30), np.arange(30)) == pytest.approx(1e-4)


def test_false_discovery_rate_is_scipys() -> None:
    p = np.random.default_rng(0).random(20) ** 3
    assert ranks.benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    with_gap = ranks.benjamini_hochberg([*p, np.nan])
    assert np.isnan(with_gap[-1])
    assert with_gap[:-1] == pytest.approx(ranks.benjamini_hochberg(p))


def test_a_central_pattern_follows_the_distance() -> None:
    row, column = np.divmod(np.arange(36), 6)
    for norm in radial.NORMS:
        away = radial.distance(row, column, norm)
        assert away.reshape(6, 6)[0, 0] == away.max()
        assert np.array_equal(away, away[::-1])  # a half turn
        assert radial.spearman(-away, away) == pytest.approx(-1)
        assert radial.kendall(-away, away) == pytest.approx(-1)
    second = {norm: radial.distance(row, column, norm)[1] for norm in radial.NORMS}  # 2.5 up, 1.5 to the left
    assert second == pytest.approx({"l1": 4, "l2": np.sqrt(8.5), "linf": 2.5})
