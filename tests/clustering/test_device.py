"""What runs on accelerators, held on the CPU against what runs there."""

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tokenlens.clustering import Linkage, agglomerative, device, rounds
from tokenlens.clustering.tree import cut

Interpreted = Callable[[str], subprocess.CompletedProcess[str]]
LINKAGES: list[Linkage] = ["single", "complete", "average"]


def draw(tokens: int, dtype: Any = torch.float64) -> Tensor:
    x = np.random.default_rng(tokens).normal(size=(7, tokens, 8))
    x[3:, 1:] += x[3:, :-1]
    return torch.from_numpy(x).to(dtype)


@pytest.mark.parametrize("tokens", [1, 2, 3, 16, 50, 300])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_rounds_in_torch_find_the_same_partitions(linkage: Linkage, tokens: int) -> None:
    counts = torch.tensor([1, 2, tokens // 4, tokens // 3, tokens // 2, tokens - 1, tokens]).clamp(1, tokens)
    x = draw(tokens)
    found = device.cluster(x, tokens - counts, linkage, False)
    assert torch.equal(found, agglomerative(x, counts, linkage))
    given = (1 - torch.nn.functional.normalize(x, dim=-1) @ torch.nn.functional.normalize(x, dim=-1).mT).triu(1)
    assert torch.equal(device.cluster(given, tokens - counts, linkage, True), found)


def test_rounds_settle_ties_as_the_cpu_does_where_no_two_equals_lie_on_both_sides_of_the_cut() -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 90, (6, 40, 40))).float()
    tree = rounds.tree(device.distances(x, "complete", True), "complete")
    height = tree.height.sort(1).values
    cuts = ((height[:, 1:] > height[:, :-1]).all(0).nonzero() + 1).flatten().tolist()
    assert len(cuts) > 3 and any(len(row.unique()) < 30 for row in height)
    for merges in cuts:
        expected = agglomerative(x, 40 - merges, "complete", "precomputed")
        assert torch.equal(cut(tree, torch.full((6,), merges)), expected)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_rounds_give_exactly_as_many_clusters_even_if_all_tokens_are_equal(linkage: Linkage) -> None:
    labels = device.cluster(torch.ones(9, 9, 4), torch.arange(9), linkage, False)
    assert [len(set(row)) for row in labels.tolist()] == list(range(9, 0, -1))
    assert all(row == sorted(row) or len(set(row)) > 1 for row in labels.tolist())


@pytest.mark.parametrize("linkage", LINKAGES)
def test_distances_are_float32_even_under_autocast(linkage: Linkage) -> None:
    x = draw(20, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        dist = device.distances(x, linkage, False)
    assert torch.equal(dist, device.distances(x, linkage, False))
    assert dist.dtype == (torch.float64 if linkage == "average" else torch.float32)
    assert torch.equal(dist, dist.mT) and dist.diagonal(dim1=1, dim2=2).isinf().all()


KERNEL = """
import numpy as np, torch
from tokenlens.clustering import agglomerative, device, triton_kernels, triton_rounds
from tokenlens.clustering.tree import cut
rng = np.random.default_rng(0)
for tokens, ties in ((1, False), (2, True), (8, False), (9, True), (35, True)):  # 35: tiles beside and below each other
    x = rng.integers(0, 4, (2, tokens, tokens)).astype(np.float32) if ties else rng.normal(size=(2, tokens, tokens))
    features = np.sign(rng.normal(size=(2, tokens, 4))) if ties else rng.normal(size=(2, tokens, 21))
    x, features = torch.from_numpy(x), torch.from_numpy(features).float()
    counts = torch.tensor([tokens // 3, 1]).clamp(min=1)
    merges = tokens - counts
    for linkage in ("single", "complete", "average") if tokens < 10 else ("single",):
        expected = agglomerative(x, counts, linkage, "precomputed")
        if linkage == "single":
            tree = triton_rounds.tree(device.distances(x, linkage, True), merges, linkage)
            assert torch.equal(cut(tree, merges), expected), (tokens, ties, linkage)
        found = triton_kernels.labels(x, merges, linkage, True)
        assert torch.equal(found, expected), (tokens, ties, linkage, "given, in one kernel")
        found = triton_kernels.labels(features.mT.contiguous().mT, merges, linkage, False)
        expected = agglomerative(features, counts, linkage)
        assert torch.equal(found, expected), (tokens, ties, linkage, "features, in one kernel")
print("all equal")
"""


def test_the_kernels_in_tritons_interpreter_settle_ties_as_the_cpu_does(interpreted: Interpreted) -> None:
    done = interpreted(KERNEL)
    assert done.stdout.strip() == "all equal", done.stderr


class Launched:
    """In place of a kernel: counts how often it is launched."""

    def __init__(self) -> None:
        self.times = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        self.times += 1
        return lambda *arguments, **options: None


@pytest.mark.parametrize(("linkage", "launched"), [("single", [0, 0, 1]), ("average", [49, 48, 2])])
def test_many_tokens_are_clustered_without_asking_the_host(
    linkage: Linkage, launched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device `meta` no value can be asked for."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from tokenlens.clustering import triton_rounds, triton_walk

    kernels = [Launched() for _ in launched]
    monkeypatch.setattr(triton_rounds, "_carry", kernels[0])
    monkeypatch.setattr(triton_rounds, "_pair", kernels[1])
    monkeypatch.setattr(triton_walk, "_walk", kernels[2])
    dist, merges = torch.empty(2, 300, 300, device="meta"), torch.empty(2, dtype=torch.int64, device="meta")
    assert cut(triton_rounds.tree(dist, merges, linkage), merges).shape == (2, 300)
    assert [kernel.times for kernel in kernels] == launched


ROUNDS = """
import numpy as np, sys, torch
from scipy.cluster.hierarchy import linkage as of_scipy
from tokenlens.clustering import agglomerative, device, rounds, triton_rounds
from tokenlens.clustering.tree import cut
tokens, *turns = map(int, sys.argv[1:])
rng, walk, seen = np.random.default_rng(1), triton_rounds.walk, []
def watched(dist, linkage, state, **rest):
    seen.append(((state.mate >= 0).sum(1) if rest else state.doubt).tolist())
    walk(dist, linkage, state, **rest)
triton_rounds.walk, triton_rounds.PART, triton_rounds.PROGRAMS = watched, 2 ** (tokens.bit_length() - 1), 6
drawn = rng.normal(size=(tokens, 9))
images = [drawn, np.round(drawn[:, :3])]  # the other one is full of ties
dist = 1 - np.stack([np.dot(x, x.T) / np.outer(*[np.linalg.norm(x, axis=1).clip(1e-9)] * 2) for x in images])
dist = torch.from_numpy(dist.astype(np.float32))
counts = torch.tensor([tokens // 3, tokens // 2])
for linkage, triton_rounds.ROUNDS in zip(("complete", "average"), turns):
    expected, symmetric = agglomerative(dist, counts, linkage, "precomputed"), device.distances(dist, linkage, True)
    twin = rounds.tree(symmetric, linkage)
    tree = triton_rounds.tree(symmetric.clone(), tokens - counts, linkage)
    assert torch.equal(cut(tree, tokens - counts), expected), linkage
    assert torch.equal(tree.into[0], twin.into[0]) and torch.equal(tree.height[0], twin.height[0]), "not the twin"
    upper = np.triu_indices(tokens, 1)
    heights = np.sort(of_scipy(symmetric[0].double().numpy()[upper], linkage)[:, 2])
    assert np.allclose(np.sort(tree.height[0])[:-1], heights, rtol=1e-12)
left, doubt = seen[::2], seen[1::2]
assert left[0][0] > 1 and left[1][0] == 1 and all(some > 1 for _, some in left) and doubt == [[0, 1], [0, 1]], seen
"""


@pytest.mark.parametrize(("tokens", "few", "many"), [(13, 2, 9), pytest.param(150, 1, 40, marks=pytest.mark.long)])
def test_merging_at_once_is_what_the_cpu_does_one_by_one(
    interpreted: Interpreted, tokens: int, few: int, many: int
) -> None:
    done = interpreted(f"import sys; sys.argv[1:] = map(str, {(tokens, few, many)})\n{ROUNDS}")
    assert not done.returncode, done.stderr
