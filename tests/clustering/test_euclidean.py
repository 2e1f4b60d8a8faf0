"""Euclidean distances of batches, by the compiled kernel and in torch, against differences in float64."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tokenlens.clustering import euclidean
from tokenlens.clustering.euclidean import from_product


def draw(images: int, tokens: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(images, tokens, channels, generator=torch.Generator().manual_seed(tokens), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("tokens", "channels"), [(1, 3), (16, 16), (33, 40), (196, 384)])
def test_distances_are_those_of_the_differences(tokens: int, channels: int, dtype: torch.dtype) -> None:
    x = draw(2, tokens, channels, dtype)
    exact = (x.double().unsqueeze(2) - x.double().unsqueeze(1)).norm(dim=-1)
    for ours in (euclidean(x), from_product(x)):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)


def test_equal_tokens_tie_to_the_bit_and_are_nowhere_from_themselves() -> None:
    x = draw(2, 70, 24)
    x[:, 40] = x[:, 3]
    found = euclidean(x)
    assert torch.equal(found, found.mT)
    assert torch.equal(found[:, 40], found[:, 3])
    assert not found.diagonal(dim1=1, dim2=2).any()


def test_neither_batch_nor_threads_nor_strides_change_a_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(11, 40, 24)
    alone = torch.cat([euclidean(image[None]) for image in x])
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(euclidean(x), alone)
    assert torch.equal(euclidean(x.mT.contiguous().mT), alone)


def test_what_is_not_a_number_stays_with_its_token_and_empty_batches_are_no_trouble() -> None:
    x = draw(2, 20, 8)
    x[0, 5, 2] = torch.nan
    found = euclidean(x)
    assert found[0, 5].isnan().sum() == found.isnan()[:, :, 5].sum() == 20
    assert found[1].isfinite().all()
    assert euclidean(x[:0]).shape == (0, 20, 20)


def test_the_counter_sees_a_product() -> None:
    with FlopCounterMode(display=False) as counter:
        euclidean(draw(2, 20, 8))
    assert counter.get_total_flops() == 2 * 2 * 20 * 20 * 8
