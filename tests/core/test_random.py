"""Draws: uniform, each image's own, told apart by seed and block, blind to the batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from tokenlens.core.random import content_hashes, keys, mix, uniform


def test_the_mixing_is_splitmix64s() -> None:
    """The first outputs of SplitMix64 from state 1234567, as its published test vectors have them."""
    golden = 0x9E3779B97F4A7C15
    states = torch.tensor([(1234567 + golden * k + 2**63) % 2**64 - 2**63 for k in (1, 2, 3)])
    assert [int(x) % 2**64 for x in mix(states)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("side", [4, 5])  # an even and an odd number of pixels
def test_a_hash_is_of_the_pixels_alone(dtype: torch.dtype, side: int) -> None:
    images = torch.rand(6, 3, side, side).to(dtype)
    hashes = content_hashes(images)
    assert len(hashes.unique()) == 6
    assert torch.equal(content_hashes(images[2:4]), hashes[2:4])
    assert torch.equal(content_hashes(images.float()), hashes)
    assert torch.equal(content_hashes(images.to(memory_format=torch.channels_last)), hashes)
    changed = images.clone()
    changed[0] = changed[0].flip(-1)
    changed[1, 0, 0, 0] *= 1.01
    assert (content_hashes(changed) != hashes).tolist() == [True, True, False, False, False, False]


def test_draws_are_uniform_and_independent() -> None:
    draws = uniform(keys(content_hashes(torch.rand(2000, 3, 4, 4)), 0, 3), 64)
    assert draws.dtype == torch.float32 and draws.min() >= 0 and draws.max() < 1
    assert stats.kstest(draws.flatten().numpy(), "uniform").pvalue > 1e-4
    between = np.corrcoef(draws.numpy(), rowvar=False) - np.eye(64)
    assert np.abs(between).max() < 5 / np.sqrt(2000)
    along = np.corrcoef(draws[:300].numpy()) - np.eye(300)
    assert np.abs(along).max() < 6 / np.sqrt(64)


def test_seed_block_and_image_each_draw_anew() -> None:
    contents = content_hashes(torch.rand(2, 3, 8, 8))
    drawn = [
        uniform(keys(contents, seed, block), 50)[i] for seed in (0, 1, 2**63 - 1) for block in (0, 1) for i in (0, 1)
    ]
    for i, one in enumerate(drawn):
        assert all(abs(np.corrcoef(one, other)[0, 1]) < 0.6 for other in drawn[:i])
    assert torch.equal(uniform(keys(contents, 1, 1), 50)[:, :20], uniform(keys(contents, 1, 1), 20))
