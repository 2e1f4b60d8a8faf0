"""Agglomerative clustering against scikit-learn and SciPy, with and without ties, and at its limits."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster
from scipy.cluster.hierarchy import linkage as scipy_linkage
from sklearn.cluster import AgglomerativeClustering

from tokenlens.clustering import Linkage, agglomerative, host
from tokenlens.clustering.distance import cosine, matrix_shape
from tokenlens.clustering.vector_instructions import LANES
from tokenlens.errors import BadInput

LINKAGES: list[Linkage] = ["single", "complete", "average"]
KINDS = ["random", "clustered", "spatial", "quantised", "repeated"]

each_linkage = pytest.mark.parametrize("linkage", LINKAGES)


def draw(kind: str, images: int, tokens: int, seed: int = 0, dtype: Any = np.float32) -> NDArray[Any]:
    """Features (images, tokens, 16); "quantised" and "repeated" are full of equal distances."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, tokens, 16))
    if kind == "clustered":
        x = 0.3 * x + rng.normal(size=(images, 8, 16))[:, rng.integers(0, 8, tokens)]
    elif kind == "spatial":  # on a grid of some columns, each token like its neighbours
        columns = int(np.ceil(tokens**0.5))
        x = 0.3 * x + sum(np.roll(x, shift, axis=1) for shift in (0, 1, 2, columns, columns + 1, 2 * columns))
    elif kind == "quantised":
        x = np.sign(x) * (np.abs(x) > 0.5)
        x[:, :, 6:] = 0
    elif kind == "repeated":
        x = x[:, rng.integers(0, max(1, tokens // 2), tokens)]
    return np.ascontiguousarray(x, dtype)


def distances(features: NDArray[Any]) -> NDArray[Any]:
    """The matrix (N, N) that our kernel clusters, with zeros on the diagonal as scikit-learn wants them."""
    tokens, channels = features.shape
    out = np.zeros(matrix_shape(tokens), features.dtype)
    cosine(features, np.empty((len(out) // LANES, channels * LANES), features.dtype), out)
    np.fill_diagonal(out, 0)
    return out[:tokens, :tokens]


def by_first_member(labels: NDArray[np.signedinteger]) -> NDArray[np.int64]:
    """The same partition, numbered as tokens come."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[first.argsort()] = np.arange(len(first))
    return rank[inverse]


def published(matrices: list[NDArray[Any]], clusters: int, linkage: Linkage) -> NDArray[np.int64]:
    """One scikit-learn fit an image, as in github.com/JoakimHaurum/ATC@227c94b, ATC_setup/models/atc.py."""
    fit = AgglomerativeClustering(n_clusters=clusters, metric="precomputed", linkage=linkage).fit
    return np.stack([by_first_member(fit(matrix).labels_) for matrix in matrices])


def fits(features: NDArray[Any], clusters: int, linkage: Linkage) -> NDArray[np.int64]:
    return published([distances(image) for image in features], clusters, linkage)


@pytest.mark.parametrize(("images", "tokens"), [(12, 9), (4, 70), (2, 196)])
@pytest.mark.parametrize("kind", KINDS)
@each_linkage
def test_partitions_are_those_of_scikit_learn(linkage: Linkage, kind: str, images: int, tokens: int) -> None:
    features = draw(kind, images, tokens)
    for clusters in (2, tokens // 4, tokens // 2, tokens - 2):
        np.testing.assert_array_equal(agglomerative(features, clusters, linkage), fits(features, clusters, linkage))


@each_linkage
def test_hundreds_of_batches_are_as_in_scikit_learn(linkage: Linkage) -> None:
    """Of 2 to 60 tokens, of both types and all kinds, each image with a count of its own."""
    rng = np.random.default_rng(5)
    for seed in range(300):
        tokens = int(rng.integers(2, 61))
        features = draw(KINDS[seed % 5], 2, tokens, seed, (np.float32, np.float64)[seed % 2])
        counts = rng.integers(1, tokens + 1, 2)
        expected = [fits(image[None], count, linkage)[0] for image, count in zip(features, counts, strict=True)]
        np.testing.assert_array_equal(agglomerative(features, counts, linkage), expected)


@pytest.mark.parametrize(("kind", "tokens"), [("quantised", host.MANY), ("spatial", 1023), ("random", 513)])
@each_linkage
def test_many_tokens_fall_as_in_scikit_learn(linkage: Linkage, kind: str, tokens: int) -> None:
    features = draw(kind, 1, tokens)
    np.testing.assert_array_equal(agglomerative(features, 300, linkage), fits(features, 300, linkage))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("linkage", ["complete", "average"])
def test_columns_that_wait_change_no_merge(
    linkage: Linkage, kind: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of so many tokens that rows catch up with few merges and with many, and get shorter in between; and of few."""
    batches = [draw(kind, 6, tokens, dtype=dtype) for tokens in (300, 9, 2, 1)]
    counts = [[min(count, batch.shape[1]) for count in (1, 2, 30, 100, 200, 298)] for batch in batches]
    at_once = [agglomerative(*given, linkage) for given in zip(batches, counts, strict=True)]
    monkeypatch.setattr("tokenlens.clustering.host.MANY", 1)
    for batch, count, expected in zip(batches, counts, at_once, strict=True):
        np.testing.assert_array_equal(agglomerative(batch, count, linkage), expected)


@each_linkage
def test_without_ties_the_cut_is_that_of_scipy(linkage: Linkage) -> None:
    features = draw("random", 3, 60)
    condensed = [distances(image)[np.triu_indices(60, 1)] for image in features]
    expected = [by_first_member(fcluster(scipy_linkage(d, linkage), 20, "maxclust")) for d in condensed]
    np.testing.assert_array_equal(agglomerative(features, 20, linkage), np.stack(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_linkage
def test_given_distances_are_read_above_the_diagonal(linkage: Linkage, dtype: Any) -> None:
    """Of any sign, with both zeros, whatever stands elsewhere."""
    rng = np.random.default_rng(0)
    upper = np.triu(np.round(rng.normal(size=(6, 41, 41)), 1), 1).astype(dtype)
    assert (np.signbit(upper) & (upper == 0)).any()
    matrices = upper + upper.transpose(0, 2, 1)
    for clusters in (2, 12, 30):
        expected = published(list(matrices), clusters, linkage)
        full = upper + np.tril(np.full(upper.shape, np.nan, dtype))
        np.testing.assert_array_equal(agglomerative(full, clusters, linkage, "precomputed"), expected)


@each_linkage
def test_the_order_of_tokens_does_not_matter_without_ties(linkage: Linkage) -> None:
    features, order = draw("clustered", 3, 50), np.random.default_rng(1).permutation(50)
    straight, permuted = agglomerative(features, 12, linkage), agglomerative(features[:, order], 12, linkage)
    np.testing.assert_array_equal([by_first_member(labels[order]) for labels in straight], permuted)


@each_linkage
def test_neither_batch_nor_threads_nor_scale_change_a_partition(
    linkage: Linkage, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = draw("quantised", 11, 40)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = agglomerative(features, 9, linkage)
    alone = np.concatenate([agglomerative(image[None], 9, linkage) for image in features])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(agglomerative(4 * features, 9, linkage), alone)


def test_memory_serves_call_after_call_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = draw("random", 1, 20), draw("random", 1, 90)
    expected = agglomerative(small, 5)
    monkeypatch.setattr("tokenlens.clustering.host._spare", spare := [])
    agglomerative(large, 5)
    (used,) = spare
    np.testing.assert_array_equal(agglomerative(small, 5), expected)
    assert len(spare) == 1 and spare[0] is used
    monkeypatch.setattr("tokenlens.clustering.host.KEPT", used.nbytes - 1)
    agglomerative(small, 5)
    assert not spare


@pytest.mark.parametrize("kind", KINDS)
@each_linkage
def test_there_are_always_exactly_as_many_clusters_as_asked(linkage: Linkage, kind: str) -> None:
    features = draw(kind, 10, 10)
    labels = agglomerative(features, list(range(1, 11)), linkage)
    assert [len(set(row)) for row in labels.tolist()] == list(range(1, 11))
    assert labels[9].tolist() == list(range(10))


@each_linkage
def test_what_comes_out_is_of_the_kind_that_went_in(linkage: Linkage) -> None:
    features = draw("random", 3, 20)
    expected = agglomerative(features, 5, linkage)
    assert isinstance(expected, np.ndarray) and expected.dtype == np.int64
    tensor = torch.from_numpy(features).requires_grad_()
    assert torch.equal(agglomerative(tensor, 5, linkage), torch.from_numpy(expected))
    assert torch.equal(
        agglomerative(tensor.mT.contiguous().mT, torch.tensor([5, 5, 5]), linkage), torch.from_numpy(expected)
    )
    half = tensor.detach().bfloat16()
    assert torch.equal(agglomerative(half, 5, linkage), agglomerative(half.float(), 5, linkage))
    features.flags.writeable = False
    for same in (
        features,
        features[:, ::-1][:, ::-1].astype(features.dtype),
        features.astype(">f4"),
        torch._neg_view(-tensor),
    ):
        np.testing.assert_array_equal(np.asarray(agglomerative(same, 5, linkage)), expected)
    backwards = features[:, :, ::-1]
    np.testing.assert_array_equal(agglomerative(backwards, 5, linkage), agglomerative(backwards.copy(), 5, linkage))


@each_linkage
def test_tokens_without_length_and_odd_channels_and_empty_batches_are_no_trouble(linkage: Linkage) -> None:
    assert len(set(agglomerative(np.zeros((1, 7, 5), np.float32), 3, linkage)[0].tolist())) == 3
    assert agglomerative(np.ones((1, 1, 3), np.float32), 1, linkage).tolist() == [[0]]
    for count in (2, []):
        assert agglomerative(np.ones((0, 4, 3), np.float32), count, linkage).shape == (0, 4)


@pytest.mark.parametrize(
    ("x", "clusters", "words", "message"),
    [
        (np.ones((1, 4, 2)), 0, {}, "4 tokens cannot form 0 clusters; ask for 1 to 4"),
        (np.ones((2, 4, 2)), [4, 5], {}, "4 tokens cannot form 5 clusters; ask for 1 to 4"),
        (np.ones((2, 4, 2)), [1, 2, 3], {}, r"shape \(3,\); give one integer, or one for each of 2 images"),
        (np.ones((2, 4, 2)), 0.5, {}, "n_clusters is float64"),
        (np.ones((4, 2)), 2, {}, r"shape \(4, 2\) and not .* add the missing axis"),
        (np.ones((1, 4, 2)), 2, {"metric": "precomputed"}, r"\(1, 4, 2\) and not \(images, tokens, tokens\)"),
        (np.ones((2, 4, 2)), [[1], [2, 3]], {}, r"n_clusters is \[\[1\], \[2, 3\]\]; give one integer"),
        (np.ones((1, 4, 2), int), 2, {}, r"torch.int64 \(torch.strided\) and not dense floating-point numbers"),
        (torch.ones(1, 4, 2).to_sparse(), 2, {}, "and not dense floating-point numbers; convert it to float32"),
        (torch.ones(1, 4, 2).to(torch.float8_e4m3fn), 2, {}, "torch.float8_e4m3fn .* and not dense"),
        (np.ones((1, 4, 2), np.longdouble), 2, {}, "x cannot be taken as a dense tensor .* convert it to an array of"),
        ("words", 2, {}, "x cannot be taken as a dense tensor"),
        (np.ones((1, 4, 2)), 2, {"linkage": "ward"}, "'ward' is not a linkage that is known; choose one of single, co"),
        (np.ones((1, 4, 2)), 2, {"metric": "l1"}, "'l1' is not a metric that is known; choose one of cosine, pre"),
        (np.full((1, 4, 2), np.nan), 2, {}, "features hold values that are not finite, or overflow"),
        (np.full((1, 4, 2), 1e30, np.float32), 2, {}, "features hold values that are not finite, or overflow"),
        (np.full((1, 4, 4), np.inf), 2, {"metric": "precomputed"}, "distances hold values that are not finite"),
    ],
)
def test_what_cannot_be_clustered_is_refused(x: Any, clusters: Any, words: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        agglomerative(x, clusters, **words)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tokens", [1, 33, 512])
def test_distances_are_cosine_distances_and_symmetric_to_the_bit(tokens: int, dtype: Any) -> None:
    features = draw("random", 1, tokens, dtype=dtype)[0]
    ours, exact = distances(features), features.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=-1, keepdims=True)
    np.testing.assert_allclose(ours, 1 - exact @ exact.T, atol=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_array_equal(ours, ours.T)
