"""Merging: the kernel in Triton's interpreter beside its twin, and the twin beside a loop."""

import subprocess
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tokenlens.kernels.merge import merged

Interpreted = Callable[[str], subprocess.CompletedProcess[str]]


def drawn(images: int, tokens: int, count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(tokens)
    group = torch.randint(-1, count, (images, tokens), generator=rng)
    return torch.randn(images, tokens + 2, 5, generator=rng).to(dtype), torch.rand(images, tokens, generator=rng), group


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_each_new_token_is_the_sum_of_its_members(dtype: torch.dtype, prefix: int) -> None:
    x, share, group = drawn(3, 11, 6, dtype)
    x = x[:, : prefix + 11]
    found = merged(x, share, group, 6, prefix)
    assert found.dtype == dtype and found.shape == (3, prefix + 6, 5)
    assert torch.equal(found[:, :prefix], x[:, :prefix])
    for image in range(3):
        for new in range(6):
            members = [token for token in range(11) if group[image, token] == new]
            slow = sum((share[image, t].double() * x[image, prefix + t].double() for t in members), torch.zeros(5))
            assert found[image, prefix + new].tolist() == pytest.approx(
                slow.tolist(), abs=1e-2 if dtype == torch.float16 else 1e-5
            )


KERNEL = """
import torch
from tokenlens.kernels import triton_merge
from tokenlens.kernels.merge import plain
rng = torch.Generator().manual_seed(0)
for tokens, count, channels in ((1, 1, 3), (9, 4, 5), (30, 13, 40), (7, 1, 8)):
    for prefix in (0, 1, 5):
        for dtype in (torch.float32, torch.float16):
            whole = torch.randn(3, tokens + prefix + 2, channels, generator=rng).to(dtype)
            x = whole[:, 2:]  # not contiguous
            share = torch.rand(3, tokens, generator=rng)
            group = torch.randint(-1, count, (3, tokens), generator=rng)
            found, wanted = triton_merge.merged(x, share, group, count, prefix), plain(x, share, group, count, prefix)
            assert found.dtype == dtype and found.shape == wanted.shape
            assert (found.float() - wanted.float()).abs().max() < (4e-3 if dtype == torch.float16 else 1e-5)
            assert torch.equal(found[:, :prefix], x[:, :prefix])
print("all equal")
"""


def test_the_kernel_in_tritons_interpreter_is_its_twin(interpreted: Interpreted) -> None:
    done = interpreted(KERNEL)
    assert done.stdout.strip() == "all equal", done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel on a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_kernel_on_a_gpu_is_its_twin(dtype: torch.dtype) -> None:
    x, share, group = (part.cuda() for part in drawn(4, 196, 98, dtype))
    twin = merged(x.float()[:, 2:].double(), share.double(), group, 98)
    assert (merged(x[:, 2:], share, group, 98).double() - twin).abs().max() < (1e-5 if dtype == torch.float32 else 0.1)
