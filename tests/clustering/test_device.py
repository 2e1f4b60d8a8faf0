"""What runs on accelerators, held on the CPU against what runs there."""

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tokenlens.clustering import Linkage, agglomerative, device

Interpreted = Callable[[str], subprocess.CompletedProcess[str]]
LINKAGES: list[Linkage] = ["single", "complete", "average"]


def draw(tokens: int, dtype: Any = torch.float64) -> Tensor:
    x = np.random.default_rng(tokens).normal(size=(7, tokens, 8))
    x[3:, 1:] += x[3:, :-1]
    return torch.from_numpy(x).to(dtype)


@pytest.mark.parametrize("tokens", [1, 2, 3, 16, 50, 196])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_rounds_in_torch_find_the_same_partitions(linkage: Linkage, tokens: int) -> None:
    counts = torch.tensor([1, 2, tokens // 4, tokens // 3, tokens // 2, tokens - 1, tokens]).clamp(1, tokens)
    x = draw(tokens)
    found = device.cluster(x, tokens - counts, linkage, False)
    assert torch.equal(found, agglomerative(x, counts, linkage))
    given = (1 - torch.nn.functional.normalize(x, dim=-1) @ torch.nn.functional.normalize(x, dim=-1).mT).triu(1)
    assert torch.equal(device.cluster(given, tokens - counts, linkage, True), found)


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
from tokenlens.clustering import agglomerative, device, triton_kernels
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
        tree = triton_kernels.tree(device.distances(x, linkage, True), linkage)
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
