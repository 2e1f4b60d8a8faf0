"""Random draws that belong to an image and not to its batch: they follow from its pixels.

Counter-based: a number follows from a key and its place alone, by the integer arithmetic of SplitMix64 (Steele, Lea &
Flood, OOPSLA 2014, doi:10.1145/2660193.2660195), which is the same on every device. So nothing passes through the host
computer, and an image draws the same numbers wherever it lies.

Shapes: B images, N tokens. Integers are int64 and wrap around.
"""

import torch
from torch import Tensor
from torch.nn import functional

GOLDEN = 0x9E3779B97F4A7C15  # the odd number nearest to 2**64 over the golden ratio: SplitMix64's step
_MIXING = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@torch.library.custom_op("tokenlens::content_hashes", mutates_args=())  # bits cannot be viewed in a jit trace
def content_hashes(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B,) int64 on their device: one number for each image, from its pixels as float32."""
    pixels = images.detach().float().flatten(1)
    if pixels.shape[1] % 2:
        pixels = functional.pad(pixels, (0, 1))
    bits = pixels.contiguous().view(torch.int64)  # two pixels a number
    # a sum of products with a number drawn for each place: it sees an exchange, and is the same in any order
    return mix((bits * mix(_counted(bits.shape[1], images.device))).sum(1))


@content_hashes.register_fake
def _(images: Tensor) -> Tensor:
    return images.new_empty(images.shape[0], dtype=torch.int64)


def keys(contents: Tensor, seed: int, block: int) -> Tensor:
    """(B,) int64: what the draws of each image at a block follow from."""
    return mix(mix(contents + _signed(seed)) + _signed(GOLDEN * (block + 1)))


def uniform(keys: Tensor, count: int) -> Tensor:
    """(B,) int64 -> (B, count) float32, uniform in [0, 1), multiples of 2**-24."""
    return _right(mix(keys.unsqueeze(1) + _counted(count, keys.device)), 40).float() * 2.0**-24


def mix(x: Tensor) -> Tensor:
    """SplitMix64's last step, a bijection of int64 of which every bit depends on every bit."""
    for shift, factor in zip((30, 27), _MIXING, strict=True):
        x = (x ^ _right(x, shift)) * _signed(factor)
    return x ^ _right(x, 31)


def _counted(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, device=device) * _signed(GOLDEN)


def _right(x: Tensor, by: int) -> Tensor:
    return (x >> by) & ((1 << (64 - by)) - 1)  # torch's own shift fills up with the sign


def _signed(number: int) -> int:
    """The int64 with the last 64 bits of a number."""
    return (number + 2**63) % 2**64 - 2**63
