"""Agglomerative clustering against scikit-learn and SciPy, with and without ties, and at its limits."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster
from scipy.cluster.hierarchy import linkage as scipy_linkage
from sklearn.cluster import AgglomerativeClustering

from tokenlens.clustering.agglomerative import Linkage, agglomerate
from tokenlens.clustering.distance import PANEL, cosine_distances, row_length

LINKAGES: list[Linkage] = ["single", "complete", "average"]
KINDS = ["random", "clustered", "quantised", "repeated"]

each_linkage = pytest.mark.parametrize("linkage", LINKAGES)


def draw(kind: str, images: int, tokens: int, seed: int = 0) -> NDArray[np.float32]:
    """Features (images, tokens, 16) float32; "quantised" and "repeated" are full of equal distances."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, tokens, 16))
    if kind == "clustered":
        x = 0.3 * x + rng.normal(size=(images, 8, 16))[:, rng.integers(0, 8, tokens)]
    elif kind == "quantised":
        x = np.sign(x) * (np.abs(x) > 0.5)
        x[:, :, 6:] = 0
    elif kind == "repeated":
        x = x[:, rng.integers(0, max(1, tokens // 2), tokens)]
    return x.astype(np.float32)


def distances(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix (N, N) float32 that our kernel clusters, with zeros on the diagonal as scikit-learn wants them."""
    tokens, channels = features.shape
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    rows = features / np.maximum(length, np.finfo(np.float32).tiny)
    width = row_length(tokens)
    out, sums = np.zeros((tokens, width), np.float32), np.empty(4 * PANEL, np.float32)
    cosine_distances(rows, np.empty((width // PANEL, channels * PANEL), np.float32), sums, out)
    np.fill_diagonal(out, 0)
    return out[:, :tokens]


def by_first_occurrence(labels: NDArray[np.signedinteger]) -> NDArray[np.int64]:
    """The same partition, numbered as tokens come."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[first.argsort()] = np.arange(len(first))
    return rank[inverse]


def published(features: NDArray[np.float32], clusters: int, linkage: Linkage) -> NDArray[np.int64]:
    """One scikit-learn fit an image, as in github.com/JoakimHaurum/ATC@227c94b, ATC_setup/models/atc.py."""
    fit = AgglomerativeClustering(n_clusters=clusters, metric="precomputed", linkage=linkage).fit
    return np.stack([by_first_occurrence(fit(distances(image)).labels_) for image in features])


@pytest.mark.parametrize(("images", "tokens"), [(12, 9), (4, 70), (2, 196)])
@pytest.mark.parametrize("kind", KINDS)
@each_linkage
def test_partitions_are_those_of_scikit_learn(linkage: Linkage, kind: str, images: int, tokens: int) -> None:
    features = draw(kind, images, tokens)
    for clusters in (2, tokens // 4, tokens // 2, tokens - 2):
        expected = published(features, clusters, linkage)
        np.testing.assert_array_equal(agglomerate(features, clusters, linkage), expected)


@each_linkage
def test_many_tokens_fall_as_in_scikit_learn(linkage: Linkage) -> None:
    features = draw("quantised", 1, 1024)
    np.testing.assert_array_equal(agglomerate(features, 300, linkage), published(features, 300, linkage))


@each_linkage
def test_without_ties_the_cut_is_that_of_scipy(linkage: Linkage) -> None:
    features = draw("random", 3, 60)
    condensed = [distances(image)[np.triu_indices(60, 1)] for image in features]
    expected = [by_first_occurrence(fcluster(scipy_linkage(d, linkage), 20, "maxclust")) for d in condensed]
    np.testing.assert_array_equal(agglomerate(features, 20, linkage), np.stack(expected))


@each_linkage
def test_the_order_of_tokens_does_not_matter_without_ties(linkage: Linkage) -> None:
    features, order = draw("clustered", 3, 50), np.random.default_rng(1).permutation(50)
    straight, permuted = agglomerate(features, 12, linkage), agglomerate(features[:, order], 12, linkage)
    np.testing.assert_array_equal([by_first_occurrence(labels[order]) for labels in straight], permuted)


@each_linkage
def test_neither_batch_nor_threads_nor_scale_change_a_partition(
    linkage: Linkage, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = draw("quantised", 11, 40)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = agglomerate(features, 9, linkage)
    alone = np.concatenate([agglomerate(image[None], 9, linkage) for image in features])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(agglomerate(4 * features, 9, linkage), alone)


@pytest.mark.parametrize("kind", KINDS)
@each_linkage
def test_there_are_always_exactly_as_many_clusters_as_asked(linkage: Linkage, kind: str) -> None:
    features = draw(kind, 2, 10)
    for clusters in range(1, 11):
        assert [len(set(labels)) for labels in agglomerate(features, clusters, linkage).tolist()] == [clusters] * 2
    assert agglomerate(features, 10, linkage).tolist() == [list(range(10))] * 2


@each_linkage
def test_tokens_without_length_and_odd_channels_and_empty_batches_are_no_trouble(linkage: Linkage) -> None:
    assert len(set(agglomerate(np.zeros((1, 7, 5), np.float32), 3, linkage)[0].tolist())) == 3
    assert agglomerate(np.ones((1, 1, 3), np.float32), 1, linkage).tolist() == [[0]]
    assert agglomerate(np.ones((0, 4, 3), np.float32), 2, linkage).shape == (0, 4)


@pytest.mark.parametrize(
    ("features", "clusters", "linkage", "message"),
    [
        (np.ones((1, 4, 2)), 0, "single", "4 tokens cannot form 0 clusters; ask for 1 to 4"),
        (np.ones((1, 4, 2)), 5, "single", "4 tokens cannot form 5 clusters; ask for 1 to 4"),
        (np.ones((4, 2)), 2, "single", r"shape \(4, 2\) and not .* add the missing axis"),
        (
            np.ones((1, 4, 2)),
            2,
            "ward",
            "'ward' is not a linkage that is known; choose one of single, complete, average",
        ),
        (np.full((1, 4, 2), np.nan), 2, "single", "not finite, or overflow"),
        (np.full((1, 4, 2), 1e30), 2, "single", "not finite, or overflow"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    features: NDArray[np.float64], clusters: int, linkage: Linkage, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        agglomerate(features.astype(np.float32), clusters, linkage)


@pytest.mark.parametrize("tokens", [1, 33, 512])
def test_distances_are_cosine_distances_and_symmetric_to_the_bit(tokens: int) -> None:
    features = draw("random", 1, tokens)[0]
    ours, exact = distances(features), features.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=-1, keepdims=True)
    np.testing.assert_allclose(ours, 1 - exact @ exact.T, atol=1e-6)
    np.testing.assert_array_equal(ours, ours.T)
