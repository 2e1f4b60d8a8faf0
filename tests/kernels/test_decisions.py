"""What reducers decide by: each kernel in Triton's interpreter beside its twin, and the twins beside loops."""

import subprocess
from collections.abc import Callable

import pytest
import torch

from tokenlens.kernels.match import matched
from tokenlens.kernels.tally import tallied

Interpreted = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_the_most_alike_pairs_become_one(prefix: int) -> None:
    keys = torch.randn(2, 3, 11, 4, generator=torch.Generator().manual_seed(prefix))
    group = matched(keys, prefix, 3)
    assert torch.equal(group, matched(keys.mean(1), prefix, 3))
    for image, mean in enumerate(keys.mean(1)):
        even, odd = ([t for t in range(11) if (t + prefix) % 2 == side] for side in (0, 1))
        alike = {t: [float(torch.cosine_similarity(mean[t], mean[o], dim=0)) for o in odd] for t in even}
        order = sorted(even, key=lambda t: -max(alike[t]))
        stays = sorted(order[3:]) if prefix else order[3:]
        expected = {t: place for place, t in enumerate([*stays, *odd])}
        expected |= {t: len(stays) + max(range(len(odd)), key=alike[t].__getitem__) for t in order[:3]}
        assert group[image].tolist() == [expected[t] for t in range(11)]


def test_a_tally_of_groups() -> None:
    group, size = torch.tensor([[0, 2, 0, 1, 2, 2]]), torch.tensor([[1.0, 1.0, 3.0, 2.0, 1.0, 2.0]])
    share, kept, new = tallied(group, 3, None, size, 0.0)
    assert share.tolist() == [[0.25, 0.25, 0.75, 1.0, 0.25, 0.5]] and kept.tolist() == [[-1, 3, -1]]
    assert new is not None and new.tolist() == [[4.0, 2.0, 4.0]]
    share, _, none = tallied(group, 3, size * 2, None, 2.0)
    assert none is None and share[0, :2].tolist() == pytest.approx([0.2, 0.2])


KERNELS = """
import torch
from tokenlens.kernels import attention, match, peaks, tally
from tokenlens.kernels import triton_attention, triton_match, triton_peaks, triton_tally
rng = torch.Generator().manual_seed(0)
for tokens, prefix, removed in ((2, 0, 1), (11, 1, 5), (18, 2, 0)):
    projected = torch.randn(2, prefix + tokens, 3, 2, 8, generator=rng).half()  # as a linear layer gives them
    queries, keys, _ = projected.permute(2, 0, 3, 1, 4)
    given, count = keys[:, :, prefix:], tokens - removed
    group = triton_match.matched(given, prefix, removed)
    assert torch.equal(group, match.plain(given, prefix, removed)), (tokens, prefix, removed)
    size, weight = torch.rand(2, tokens, generator=rng) + 0.5, torch.rand(2, tokens, generator=rng)
    for weight, size in ((None, None), (None, size), (weight, None), (weight, size)):
        made = triton_tally.tallied(group, count, weight, size, 1e-6)
        twin = tally.plain(group, count, weight, size, 1e-6)
        assert torch.equal(made[1], twin[1])
        torch.testing.assert_close(made[0], twin[0])
        if size is not None:
            torch.testing.assert_close(made[2], twin[2])
    mass = torch.rand(2, tokens, generator=rng) + 0.1
    mass[0, -1] = 0  # padding
    for given in (None, mass):
        for part, whole in ((triton_attention.first_row, attention.plain_first_row),
                            (triton_attention.received, attention.plain_received)):
            torch.testing.assert_close(part(queries, keys, given, 0.35), whole(queries, keys, given, 0.35),
                                       atol=1e-5, rtol=1e-4)
    x = torch.randn(2, tokens, 6, generator=rng)
    x[:, 1] = x[:, 0]  # ties
    (distance, near, far), twin = triton_peaks.neighbourhoods(x, min(5, tokens)), peaks.plain(x, min(5, tokens))
    for found, wanted in zip((distance, near, far.amax(1)), twin):
        torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-4)  # 0 by a product is not quite 0
    density = -near + torch.rand(2, tokens, generator=rng)
    wanted = peaks.plain_separation(distance, density, far.amax(1))
    assert torch.equal(triton_peaks.separation(distance, density, far.amax(1)), wanted)
ties = torch.ones(1, 1, 8, 4)
assert torch.equal(triton_match.matched(ties, 1, 2), match.plain(ties, 1, 2))
print("all equal")
"""


def test_the_kernels_in_tritons_interpreter_are_their_twins(interpreted: Interpreted) -> None:
    done = interpreted(KERNELS)
    assert done.stdout.strip() == "all equal", done.stderr
